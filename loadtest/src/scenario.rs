//! What a load test does, as written in a TOML file of `loadtest/scenarios/` or built from command-line options.
//!
//! What it deliberately does not do: know addresses of the machine; `target` is overridden on the command line.

use crate::proxy::Faults;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A whole run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What the report calls it.
    pub name: String,
    /// Base of what viewers ask for, for example `http://127.0.0.1:8080`.
    #[serde(default)]
    pub target: String,
    /// How long viewers arrive and watch, seconds.
    pub duration_s: u64,
    /// From the start, seconds that count for no figure; arrivals of a ramp may lie in them.
    #[serde(default)]
    pub warmup_s: u64,
    /// All random choices follow from it.
    #[serde(default = "one")]
    pub seed: u64,
    /// Source addresses that connections are spread over, from 127.0.0.1 on; 1 to 250.
    #[serde(default = "one")]
    pub source_addresses: u64,
    /// What must hold for the run to pass.
    #[serde(default)]
    pub slo: Slo,
    /// Faults on the way of the groups that go through the proxy, which runs in a thread of the harness. All its connections to the target
    /// come from one address, so there are some 28,000 at most.
    pub proxy: Option<Faults>,
    /// Viewers, by what they do alike.
    pub group: Vec<Group>,
}

/// Viewers that do alike.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    pub kind: Kind,
    /// Viewers in all.
    pub viewers: u32,
    /// Path below the target, with `{n}` for a channel's number; for `playlist` and `object` what is fetched again and again.
    pub path: String,
    /// Channels `1..=channels` that the viewers choose from.
    #[serde(default = "one")]
    pub channels: u64,
    /// How channels are chosen: evenly, or by Zipf's law with this exponent (0: evenly).
    #[serde(default)]
    pub zipf: f64,
    #[serde(default)]
    pub arrivals: Arrivals,
    /// Mean time on a channel before the viewer zaps to another, seconds; 0: never.
    #[serde(default)]
    pub zap_s: f64,
    /// Share of viewers whose content is checked in full, 0 to 1; at least one viewer of a group is, where it is above 0.
    #[serde(default = "checked")]
    pub checked: f64,
    /// Media rate of unchecked continuous viewers' buffer model, kb/s; 0: as measured on a checked one.
    #[serde(default)]
    pub kbps: u64,
    #[serde(default)]
    pub reading: Reading,
    #[serde(default)]
    pub through: Through,
}

/// Which way viewers go to the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Through {
    #[default]
    Direct,
    /// [`Scenario::proxy`].
    Proxy,
}

/// What viewers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Continuous MPEG-TS.
    Ts,
    /// HLS, of whichever segments the playlists name.
    Hls,
    Dash,
    /// One object over keep-alive, again as soon as it is there: throughput.
    Object,
    /// The same of a playlist; counted as requests.
    Playlist,
    /// Connects, sends nothing, and stays.
    Idle,
}

/// When viewers arrive: open loop, whatever the server does.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "shape", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Arrivals {
    /// All within `over_s`, evenly.
    Ramp { over_s: f64 },
    /// A Poisson process of this many a second, until all are there.
    Poisson { per_s: f64 },
    /// All at once, `at_s` after the start.
    Flash { at_s: f64 },
}

/// How a viewer reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Reading {
    /// Whatever is there.
    #[default]
    Eager,
    /// At most so much, kb/s.
    Slow { kbps: u64 },
    /// Stops reading for good after so many seconds.
    Stops { after_s: f64 },
    /// Stops for `for_s` every `every_s`.
    Stalls { every_s: f64, for_s: f64 },
}

/// Bounds; what is `None` is not judged.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Slo {
    /// Rebuffers of all viewers together.
    pub rebuffers_max: Option<u64>,
    pub startup_p95_ms: Option<f64>,
    pub playlist_p99_ms: Option<f64>,
    /// From the intended time to the first byte.
    pub segment_first_byte_p99_ms: Option<f64>,
    /// Failed requests of all requests.
    pub errors_share_max: Option<f64>,
}

impl Scenario {
    /// With a file's defaults for the rest.
    pub fn new(name: &str, duration_s: u64, group: Vec<Group>) -> Scenario {
        Scenario {
            name: name.into(),
            target: String::new(),
            duration_s,
            warmup_s: 0,
            seed: one(),
            source_addresses: one(),
            slo: Slo::default(),
            proxy: None,
            group,
        }
    }
}

impl Group {
    /// With a file's defaults for the rest.
    pub fn new(name: &str, kind: Kind, viewers: u32, path: &str) -> Group {
        Group {
            name: name.into(),
            kind,
            viewers,
            path: path.into(),
            channels: one(),
            zipf: 0.0,
            arrivals: Arrivals::default(),
            zap_s: 0.0,
            checked: checked(),
            kbps: 0,
            reading: Reading::default(),
            through: Through::default(),
        }
    }
}

impl Kind {
    /// As in a file and on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

impl Default for Arrivals {
    fn default() -> Self {
        Arrivals::Ramp { over_s: 0.0 }
    }
}

fn one<T: From<u8>>() -> T {
    T::from(1)
}

fn checked() -> f64 {
    0.01
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_beside_the_crate_are_read_and_differ_in_name() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
        let mut names = Vec::new();
        for entry in std::fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("it can be listed").path();
            let text = std::fs::read_to_string(&path).expect("it can be read");
            let scenario: Scenario = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(scenario.duration_s > scenario.warmup_s, "{}", path.display());
            assert!(scenario.group.iter().all(|group| group.viewers > 0 && group.path.starts_with('/')));
            names.push(scenario.name);
        }
        names.sort();
        names.dedup();
        assert_eq!(names.len(), 8);
    }

    #[test]
    fn what_is_made_has_a_files_defaults() {
        let text = "name = \"a\"\nduration_s = 1\n[[group]]\nname = \"g\"\nkind = \"hls\"\nviewers = 2\npath = \"/\"\n";
        let of_file: Scenario = toml::from_str(text).expect("it is one");
        assert_eq!(of_file, Scenario::new("a", 1, vec![Group::new("g", Kind::Hls, 2, "/")]));
        assert_eq!(Kind::Hls.name(), "hls");
    }

    #[test]
    fn a_misspelt_key_is_an_error() {
        let text = "name = \"a\"\nduration_s = 1\n[[group]]\nname = \"g\"\nkind = \"ts\"\nviewers = 1\npath = \"/\"\nviewer = 2\n";
        assert!(toml::from_str::<Scenario>(text).is_err());
    }
}
