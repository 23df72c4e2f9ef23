//! Our samples of every real stream of `../shared/media` against two others' reading of it: `ffprobe -show_packets` (count, PTS, DTS,
//! size and key flag of every packet of every PID of every programme) and the reference dumps of the ExoPlayer project.
//!
//! Where they differ, [`deviations`] says by how much exactly and why. A track that differs otherwise fails, and so does an entry
//! that is no longer true. Skipped with a printed line when the media or ffprobe is not there.

mod align;
mod deviations;
mod exo;
mod ffprobe;
mod tables;

use align::Difference;
use deviations::Deviation;
use millrace::es::{Codec, Key, Track, TrackKind};
use millrace::mpegts::demux::{DemuxConfig, Demuxer, Flow, RawSample, Sink};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What both sides say of one access unit; time stamps are 33 bits wide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unit {
    pub pts: Option<u64>,
    pub dts: Option<u64>,
    pub size: usize,
    /// ADTS header, which some oracles leave out.
    pub header_len: usize,
    pub key: bool,
}

/// One PID as we read it.
#[derive(Default)]
pub struct OurTrack {
    pub codec: Option<Codec>,
    pub units: Vec<Unit>,
}

impl OurTrack {
    fn is_data(&self) -> bool {
        self.codec.is_some_and(|codec| codec.kind() == TrackKind::Data)
    }
}

/// Collects samples by PID.
#[derive(Default)]
struct ByPid {
    tracks: Vec<Track>,
    pids: BTreeMap<u16, OurTrack>,
}

impl Sink for ByPid {
    fn tracks(&mut self, tracks: &[Track]) {
        self.tracks = tracks.to_vec();
        for track in tracks {
            self.pids.entry(track.ts.pid).or_default().codec = Some(track.codec);
        }
    }
    fn pcr(&mut self, _pcr_27m: u64, _discontinuity: bool) -> Flow {
        Flow::Continue
    }
    fn sample(&mut self, sample: RawSample<'_>) {
        let track = self.tracks.iter().find(|t| t.id == sample.track).expect("an announced track");
        self.pids.entry(track.ts.pid).or_default().units.push(Unit {
            pts: sample.pts.map(|t| t.ticks()),
            dts: sample.dts.map(|t| t.ticks()),
            size: sample.data.len(),
            header_len: sample.header_len as usize,
            key: sample.key != Key::None,
        });
    }
}

fn ours(bytes: &[u8], program: Option<u16>) -> BTreeMap<u16, OurTrack> {
    let mut sink = ByPid::default();
    let mut demuxer = Demuxer::new(DemuxConfig { program });
    for piece in bytes.chunks(10_000) {
        assert_eq!(demuxer.push(piece, &mut sink), piece.len());
    }
    demuxer.end(&mut sink);
    sink.pids
}

#[test]
fn samples_agree_with_ffprobe() {
    let mut verdicts = Verdicts::new(deviations::FFPROBE);
    for path in media(&["ts", "exo-ts"]) {
        let Some(probe) = ffprobe::read(&path) else { return };
        let file = path.file_name().unwrap().to_str().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for program in probe.programs {
            // libavformat reads the tables first and then starts over; a live stream cannot. So ours gets them in front.
            let ours = ours(&tables::in_front(&bytes, program), Some(program));
            for (pid, theirs) in probe.pids.iter().filter(|(_, t)| t.programs.contains(&program)) {
                let none = OurTrack::default();
                let track = ours.get(pid).unwrap_or(&none);
                let theirs = if track.is_data() { &theirs.payloads } else { &theirs.units };
                let difference = align::compare(&track.units, theirs);
                verdicts.judge(file, *pid, &difference, || align::show(&track.units, theirs));
            }
        }
    }
    verdicts.finish();
}

#[test]
fn samples_agree_with_exoplayer() {
    let mut verdicts = Verdicts::new(deviations::EXOPLAYER);
    for path in media(&["exo-ts"]) {
        let file = path.file_name().unwrap().to_str().unwrap();
        let Some(dump) = exo::read(&path) else { continue };
        let bytes = std::fs::read(&path).unwrap();
        let ours = exo::on_their_clock(ours(&bytes, tables::first_program(&bytes)), &dump);
        for (pid, theirs) in &dump {
            let none = Vec::new();
            let track = ours.get(pid).unwrap_or(&none);
            let difference = align::compare(track, theirs);
            verdicts.judge(file, *pid, &difference, || align::show(track, theirs));
        }
    }
    verdicts.finish();
}

/// Holds differences against the table.
struct Verdicts {
    /// (file, PID, stated difference, met) of every entry.
    stated: Vec<(&'static str, u16, Difference, bool)>,
    tracks: usize,
    agreed: usize,
    failures: Vec<String>,
}

impl Verdicts {
    fn new(table: &'static [Deviation]) -> Self {
        let entries = table.iter().flat_map(|d| d.pids.iter().map(|&pid| (d.file, pid, d.difference, false)));
        Verdicts { stated: entries.collect(), tracks: 0, agreed: 0, failures: Vec::new() }
    }

    fn judge(&mut self, file: &str, pid: u16, difference: &Difference, show: impl FnOnce() -> String) {
        self.tracks += 1;
        self.agreed += usize::from(*difference == Difference::default());
        let entry = self.stated.iter_mut().find(|e| (e.0, e.1) == (file, pid));
        let stated = entry.map_or(Difference::default(), |entry| {
            entry.3 = true;
            entry.2
        });
        if *difference != stated {
            self.failures.push(format!("{file} {pid:#x}: {difference:?}, stated {stated:?}\n{}", show()));
        }
    }

    fn finish(mut self) {
        if self.tracks == 0 {
            return;
        }
        println!("{} tracks, {} agree, {} differ", self.tracks, self.agreed, self.tracks - self.agreed);
        let unmet = self.stated.iter().filter(|e| !e.3);
        self.failures.extend(unmet.map(|e| format!("{} {:#x}: no such track, its entry is stale", e.0, e.1)));
        assert!(self.failures.is_empty(), "{} failures:\n{}", self.failures.len(), self.failures.join("\n"));
    }
}

/// Transport streams below these folders; none, and a printed line, when they are not there.
fn media(folders: &[&str]) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let mut files: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(root.join(folder)).into_iter().flatten();
        files.extend(
            entries.map(|e| e.unwrap().path()).filter(|p| p.extension().is_some_and(|e| e == "ts" || e == "m2ts")),
        );
    }
    files.sort();
    if files.is_empty() {
        println!("skipped: ../shared/media is not there");
    }
    files
}
