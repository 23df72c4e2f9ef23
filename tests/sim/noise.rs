//! A source that makes no sense at all: random time stamps, clocks, breaks, tracks and keys. Only what players rely on is checked.

use crate::cmaf::Cmaf;
use crate::isobmff;
use crate::rng::Rng;
use millrace::es::{AudioParams, AudioRole, Codec, Key, Params, Track, TrackId, TrackKind, TsStream, VideoParams};
use millrace::limits::TRACKS_MAX;
use millrace::time::{Now, Ts33};
use millrace::timeline::{Cut, Epoch, RawTiming, Timeline, TimelineConfig};
use std::collections::HashMap;

const CONFIG: TimelineConfig = TimelineConfig { segment_target_ms: 2_000, segment_max_ms: 4_000 };

struct Noise {
    rng: Rng,
    now: Now,
    timeline: Timeline,
    last_dts: HashMap<u16, i64>,
    cut: Option<Cut>,
    cmaf: Cmaf,
}

/// Says how many segments the CMAF packager listed.
pub fn run(seed: u64) -> Result<u64, String> {
    let mut rng = Rng::new(seed ^ 0x006e_6f69_7365);
    let now = Now { mono_us: rng.below(1 << 40), unix_us: 1_800_000_000_000_000 };
    let timeline = Timeline::new(CONFIG, Epoch::begin(None, now), now);
    let cmaf = Cmaf::noise(seed, timeline.epoch(), timeline.target_duration_s(), &described(45));
    let mut noise = Noise { rng, now, timeline, last_dts: HashMap::new(), cut: None, cmaf };
    noise.timeline.set_tracks(&tracks(&[(0, Codec::H264), (1, Codec::Aac)]));
    let mut clock = noise.rng.below(1 << 33);
    for _ in 0..20_000 {
        noise.now = noise.now.plus_us(noise.rng.below(40_000));
        clock = noise.step(clock)?;
    }
    let states = noise.last_dts.len();
    if states > 2 * TRACKS_MAX { Err(format!("{states} tracks are remembered")) } else { Ok(noise.cmaf.segments) }
}

impl Noise {
    /// Mostly time moves on; now and then it is anywhere.
    fn step(&mut self, clock: u64) -> Result<u64, String> {
        let rng = &mut self.rng;
        let clock = if rng.percent(1) { rng.next() } else { clock + rng.below(4_000) };
        match rng.below(1_000) {
            0 => {
                self.timeline.source_break(self.now);
                self.cmaf.source_break();
            }
            1 => {
                let tracks = tracks(&[(rng.below(3) as u16, Codec::H265), (7, Codec::Mp2)]);
                self.timeline.set_tracks(&tracks);
                self.cmaf.tracks(&tracks);
                self.cmaf.tracks(&described(30 + (clock % 30) as u32));
            }
            2 => self.now.unix_us = rng.below(1 << 51),
            3..=300 => {
                let pcr = if rng.percent(5) { rng.next() } else { clock.wrapping_sub(rng.below(90_000)) };
                let discontinuity = rng.percent(2);
                self.timeline.pcr((pcr % (1 << 33)) * 300, discontinuity, self.now);
            }
            _ => self.sample(clock)?,
        }
        Ok(clock)
    }

    fn sample(&mut self, clock: u64) -> Result<(), String> {
        let raw = self.raw(clock);
        let Ok(placed) = self.timeline.place(&raw, self.now) else { return Ok(()) };
        let (pts, dts) = (placed.meta.pts.0, placed.meta.dts.0);
        let last = self.last_dts.insert(raw.track.0, dts);
        if pts < dts || last.is_some_and(|last| dts <= last) {
            return Err(format!("{raw:?} at PTS {pts}, DTS {dts} after {last:?}"));
        }
        let kind = if raw.track.0 == 0 { TrackKind::Video } else { raw.kind };
        self.cmaf.placed(raw.track, kind, &placed, self.now).map_err(|why| format!("CMAF: {why}"))?;
        let Some(cut) = placed.cut else { return Ok(()) };
        match self.cut.replace(cut) {
            Some(last) if !follows(&last, &cut) => Err(format!("{cut:?} after {last:?}")),
            _ => Ok(()),
        }
    }

    fn raw(&mut self, clock: u64) -> RawTiming {
        let rng = &mut self.rng;
        let track = if rng.percent(1) { rng.below(500) as u16 } else { rng.pick(&[0, 0, 1, 1, 2, 7]) };
        let dts = if rng.percent(3) { rng.next() } else { clock.wrapping_add(rng.below(30_000)) };
        let kind = if track == 0 {
            TrackKind::Video
        } else {
            rng.pick(&[TrackKind::Audio, TrackKind::Audio, TrackKind::Data])
        };
        RawTiming {
            track: TrackId(track),
            kind,
            pts: (!rng.percent(5)).then(|| Ts33::new(dts.wrapping_add(rng.below(20_000)))),
            dts: rng.percent(50).then(|| Ts33::new(dts)),
            key: rng.pick(&[Key::None, Key::None, Key::RecoveryPoint, Key::Idr]),
            header_len: 0,
            corrupt: rng.percent(3),
        }
    }
}

fn follows(last: &Cut, cut: &Cut) -> bool {
    let rounded_s = (cut.previous_duration + 45_000) / 90_000;
    cut.segment == last.segment + 1
        && cut.discontinuity_sequence == last.discontinuity_sequence + u64::from(cut.discontinuity)
        && cut.start > last.start
        && cut.previous_duration > 0
        && rounded_s <= 4
}

fn tracks(of: &[(u16, Codec)]) -> Vec<Track> {
    let track = |&(id, codec): &(u16, Codec)| Track {
        id: TrackId(id),
        codec,
        language: None,
        role: AudioRole::Main,
        ts: TsStream::default(),
        params: None,
    };
    of.iter().map(track).collect()
}

/// A picture of this many macroblocks' height, and sound at two rates.
fn described(height_mbs: u32) -> Vec<Track> {
    let picture = VideoParams {
        width: 1_280,
        height: 720,
        sar: (1, 1),
        frame_rate: None,
        interlaced: false,
        rfc6381: "avc1.42c01e".into(),
        parameter_sets: isobmff::h264_sets(80, height_mbs),
    };
    let sound = |sample_rate| {
        let config = isobmff::aac_config(sample_rate, 2);
        let rfc6381 = "mp4a.40.2".into();
        Params::Audio(AudioParams { sample_rate, channels: 2, frame_samples: 1_024, rfc6381, config })
    };
    let mut tracks = tracks(&[(0, Codec::H264), (1, Codec::Aac), (2, Codec::Aac), (7, Codec::Aac)]);
    let params = [Params::Video(picture), sound(48_000), sound(44_100), sound(48_000)];
    tracks.iter_mut().zip(params).for_each(|(track, params)| track.params = Some(params));
    tracks
}
