//! What ffprobe says of a file.

use super::Unit;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// One PID as ffprobe reads it.
#[derive(Default)]
pub struct Pid {
    /// program_numbers that have it.
    pub programs: Vec<u16>,
    /// Access units, as its parsers cut them.
    pub units: Vec<Unit>,
    /// PES payloads, parsers off.
    pub payloads: Vec<Unit>,
}

pub struct Probe {
    pub programs: Vec<u16>,
    pub pids: BTreeMap<u16, Pid>,
}

/// Runs ffprobe twice; `None`, and a printed line, when it is not there.
pub fn read(path: &Path) -> Option<Probe> {
    let json = run(path, &[])?;
    let mut probe = Probe { programs: Vec::new(), pids: BTreeMap::new() };
    for program in list(&json, "programs") {
        let number = program["program_id"].as_u64().unwrap_or(0) as u16;
        probe.programs.push(number);
        for pid in list(program, "streams").iter().filter_map(pid_of) {
            probe.pids.entry(pid).or_default().programs.push(number);
        }
    }
    for_each_unit(&json, |pid, unit| probe.pids.entry(pid).or_default().units.push(unit));
    let raw = run(path, &["-fflags", "+noparse"])?;
    for_each_unit(&raw, |pid, unit| probe.pids.entry(pid).or_default().payloads.push(unit));
    Some(probe)
}

fn run(path: &Path, options: &[&str]) -> Option<Value> {
    let entries = "packet=stream_index,pts,dts,size,flags:stream=index,id:program=program_id";
    let output = Command::new("ffprobe")
        .args(["-v", "quiet", "-of", "json", "-show_packets", "-show_programs", "-show_streams"])
        // Teletext keeps the time stamps of its PES headers, as ours does.
        .args(["-show_entries", entries, "-fix_teletext_pts", "0"])
        .args(options)
        .arg(path)
        .output();
    let Ok(output) = output else {
        println!("skipped: ffprobe is not there");
        return None;
    };
    Some(serde_json::from_slice(&output.stdout).expect("ffprobe's JSON"))
}

fn for_each_unit(json: &Value, mut each: impl FnMut(u16, Unit)) {
    let pids: Vec<Option<u16>> = list(json, "streams").iter().map(pid_of).collect();
    for packet in list(json, "packets") {
        let stream = packet["stream_index"].as_u64().unwrap_or(0) as usize;
        if let Some(pid) = pids.get(stream).copied().flatten() {
            each(pid, unit(packet));
        }
    }
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn pid_of(stream: &Value) -> Option<u16> {
    u16::from_str_radix(stream["id"].as_str()?.trim_start_matches("0x"), 16).ok()
}

fn unit(packet: &Value) -> Unit {
    // libavformat unwraps time stamps: back to 33 bits.
    let stamp = |name: &str| packet[name].as_i64().map(|t| t.rem_euclid(1 << 33) as u64);
    let size = packet["size"].as_str().and_then(|s| s.parse().ok()).unwrap_or(0);
    let key = packet["flags"].as_str().is_some_and(|f| f.starts_with('K'));
    Unit { pts: stamp("pts"), dts: stamp("dts"), size, header_len: 0, key }
}
