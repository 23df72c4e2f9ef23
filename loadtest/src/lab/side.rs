//! A server that is measured: one that runs already, by its URL, or a peer that is started for it.

use super::peer::{Peer, PeerSettings, Preset};
use crate::engine::args::{is_stdout, write_json};
use crate::scenario::{Group, Scenario};
use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;

/// Begins the name of a peer where a URL could stand.
const PEER: &str = "peer:";

/// What `ab` and `capacity` are told alike.
#[derive(Args)]
pub struct BenchArgs {
    /// CPU of the viewers; repeated: a thread each.
    #[arg(long = "core")]
    cores: Vec<usize>,
    #[command(flatten)]
    pub peers: PeerSettings,
    /// Where to write what was measured as JSON, - for standard output.
    #[arg(long)]
    json: Option<PathBuf>,
}

impl BenchArgs {
    /// As asked for; else, with peers, apart from their core.
    pub fn viewers_cores(&self, with_peer: bool) -> Vec<usize> {
        if self.cores.is_empty() && with_peer { vec![self.peers.feed_core] } else { self.cores.clone() }
    }

    /// Prints a line; beside JSON on standard output, as an error.
    pub fn say(&self, line: impl fmt::Display) {
        if is_stdout(self.json.as_deref()) { eprintln!("{line}") } else { println!("{line}") }
    }

    /// Writes the document where it was asked for.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_json(&self, document: &impl Serialize) -> Result<()> {
        self.json.as_ref().map_or(Ok(()), |path| write_json(path, document))
    }
}

/// The server, with what differs for it in a scenario.
pub struct Side {
    /// As it was given.
    name: String,
    target: String,
    pid: Option<u32>,
    /// For all groups, or each; empty: as the peer or the scenario says.
    paths: Vec<String>,
    peer: Option<Peer>,
}

impl Side {
    /// `what` is `http://HOST:PORT` or `peer:NAME`; a peer gets as many channels as the scenario has.
    ///
    /// # Errors
    /// No URL, no peer of that name, a pid for a peer, paths that do not fit the groups, or a peer that does not start.
    pub fn start(
        what: &str,
        pid: Option<u32>,
        paths: &[String],
        scenario: &Scenario,
        settings: &PeerSettings,
    ) -> Result<Side> {
        let groups = scenario.group.len();
        ensure!(
            paths.len() <= 1 || paths.len() == groups,
            "{what}: {} paths for {groups} groups: give one, or one for each",
            paths.len()
        );
        let (target, pid, peer) = match what.strip_prefix(PEER) {
            Some(name) => {
                let preset = Preset::from_str(name, false).map_err(|_| anyhow::anyhow!("{}", unknown(name)))?;
                ensure!(pid.is_none(), "{what}: the pid of a peer is known");
                eprintln!("starting {name}");
                let channels = scenario.group.iter().map(|group| group.channels).max().unwrap_or(1);
                let peer = preset.start(settings, u32::try_from(channels)?).with_context(|| format!("peer {name}"))?;
                (peer.target(), Some(peer.pid()), Some(peer))
            }
            None if what.starts_with("http://") => (what.to_owned(), pid, None),
            None => bail!("{what} is neither http://HOST:PORT nor {PEER}NAME"),
        };
        Ok(Side { name: what.to_owned(), target, pid, paths: paths.to_vec(), peer })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where known.
    pub fn pid(&self) -> Option<u32> {
        self.pid
    }

    pub fn is_peer(&self) -> bool {
        self.peer.is_some()
    }

    /// The scenario as it is run against this server.
    ///
    /// # Errors
    /// A group that has no path here, and a peer that has ended.
    pub fn scenario(&mut self, base: &Scenario) -> Result<Scenario> {
        if let Some(peer) = &mut self.peer {
            peer.ensure_lives()?;
        }
        let mut scenario = base.clone();
        scenario.target = self.target.clone();
        for (index, group) in scenario.group.iter_mut().enumerate() {
            group.path = self.path(index, group)?;
        }
        Ok(scenario)
    }

    fn path(&self, index: usize, group: &Group) -> Result<String> {
        if let Some(path) = self.paths.get(index).or(self.paths.first()) {
            return Ok(path.clone());
        }
        if let Some(peer) = &self.peer {
            let path = peer.path(group.kind).map(str::to_owned);
            return path.with_context(|| {
                format!("{} serves no viewers of kind {} (group {})", self.name, group.kind.name(), group.name)
            });
        }
        ensure!(!group.path.is_empty(), "{}: --kind needs a path for it", self.name);
        Ok(group.path.clone())
    }
}

impl fmt::Display for Side {
    /// `peer:nginx http://127.0.0.1:8080, process 77`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&self.name)?;
        if self.is_peer() {
            write!(f, " {}", self.target)?;
        }
        self.pid.map_or(Ok(()), |pid| write!(f, ", process {pid}"))
    }
}

fn unknown(name: &str) -> String {
    let known: Vec<String> = Preset::value_variants().iter().map(|preset| preset.name()).collect();
    format!("there is no peer {name}; there are {}", known.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::args::quick;
    use crate::scenario::Kind;
    use clap::Parser;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        settings: PeerSettings,
    }

    fn start(what: &str, paths: &[&str], scenario: &Scenario) -> Result<Side> {
        let paths: Vec<String> = paths.iter().map(|path| path.to_string()).collect();
        Side::start(what, None, &paths, scenario, &Cli::parse_from(["test"]).settings)
    }

    #[test]
    fn a_path_is_the_sides_own_or_the_scenarios() {
        let mut base = quick(Kind::Hls, "/of-scenario");
        base.group.push(base.group[0].clone());
        let paths = |sides: &[&str]| {
            let scenario = start("http://a:1", sides, &base).unwrap().scenario(&base).unwrap();
            assert_eq!(scenario.target, "http://a:1");
            scenario.group.into_iter().map(|group| group.path).collect::<Vec<_>>()
        };
        assert_eq!(paths(&[]), ["/of-scenario", "/of-scenario"]);
        assert_eq!(paths(&["/one"]), ["/one", "/one"]);
        assert_eq!(paths(&["/one", "/two"]), ["/one", "/two"]);
        assert!(start("http://a:1", &["/1", "/2", "/3"], &base).is_err());
    }

    #[test]
    fn what_cannot_be_measured_is_said() {
        let base = quick(Kind::Hls, "");
        let words = |what: &str| start(what, &[], &base).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(words("peer:lighttpd").contains("nginx-rtmp"));
        assert!(words("ftp://a").contains("neither"));
        assert!(start("http://a:1", &[], &base).unwrap().scenario(&base).is_err());
    }
}
