//! The ExoPlayer project's dumps of what its own extractor reads: per track the samples' time in microseconds, flags and size.

use super::{OurTrack, Unit};
use std::collections::BTreeMap;
use std::path::Path;

type Tracks = BTreeMap<u16, Vec<Unit>>;

/// The dump beside a file, by PID; `None` when there is none.
pub fn read(path: &Path) -> Option<Tracks> {
    let file = path.file_name()?.to_str()?;
    let text =
        std::fs::read_to_string(path.parent()?.join("dumps").join(format!("{file}.unknown_length.dump"))).ok()?;
    let mut tracks = Tracks::new();
    let mut units = None;
    let mut in_sample = false;
    for line in text.lines().map(str::trim) {
        if let Some(pid) = line.strip_prefix("track ").and_then(|l| l.trim_end_matches(':').parse().ok()) {
            units = Some(tracks.entry(pid).or_default());
            in_sample = false;
        } else if line.starts_with("sample ") && line.ends_with(':') {
            units.as_mut()?.push(Unit { pts: None, dts: None, size: 0, header_len: 0, key: false });
            in_sample = true;
        } else if let (true, Some(unit)) = (in_sample, units.as_mut().and_then(|u| u.last_mut())) {
            read_field(unit, line);
        }
    }
    Some(tracks)
}

fn read_field(unit: &mut Unit, line: &str) {
    if let Some(time) = line.strip_prefix("time = ") {
        unit.pts = time.parse().ok();
    } else if let Some(flags) = line.strip_prefix("flags = ") {
        unit.key = flags.parse().is_ok_and(|f: u32| f & 1 != 0);
    } else if let Some(data) = line.strip_prefix("data = length ") {
        unit.size = data.split(',').next().and_then(|n| n.parse().ok()).unwrap_or(0);
    }
}

/// Our units as the dump tells them: microseconds from the dump's zero, no DTS, no ADTS headers. A time within a
/// 90 kHz tick of one in the dump counts as that one.
pub fn on_their_clock(ours: BTreeMap<u16, OurTrack>, dump: &Tracks) -> Tracks {
    // Their zero is the first time stamp that their reader met: found from the first unit of any track that both have.
    let zero = dump.iter().find_map(|(pid, theirs)| {
        let first = ours.get(pid)?.units.first()?.pts? as i64;
        Some(first - theirs.first()?.pts? as i64 * 9 / 100)
    });
    let convert = |pid: u16, unit: Unit| {
        let us = unit.pts.map(|pts| (pts as i64 - zero.unwrap_or(0)).rem_euclid(1 << 33) as u64 * 100 / 9);
        let near = |us: u64| dump.get(&pid)?.iter().filter_map(|u| u.pts).find(|t| t.abs_diff(us) <= 12);
        let pts = us.map(|us| near(us).unwrap_or(us));
        Unit { pts, dts: None, size: unit.size - unit.header_len, ..unit }
    };
    ours.into_iter().map(|(pid, track)| (pid, track.units.into_iter().map(|u| convert(pid, u)).collect())).collect()
}
