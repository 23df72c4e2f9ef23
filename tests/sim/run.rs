//! One run: the source, the network and the clocks of a plan, driven through pacer and timeline, with every output checked.

use crate::check::{Check, Grant};
use crate::cmaf::Cmaf;
use crate::isobmff;
use crate::plan::{Event, Network, Plan};
use crate::rng::Rng;
use crate::source::{Emitted, Kind, SECOND, Sample, Source, Stream};
use bytes::Bytes;
use millrace::es::{AudioParams, AudioRole, Codec, Key, Params, Track, TrackId, TrackKind, TsStream, VideoParams};
use millrace::time::{MediaTime, Now, Ts33, ticks_from_us};
use millrace::timeline::pacer::{Pacer, PacerConfig};
use millrace::timeline::{DropReason, Epoch, Numbers, RawTiming, Timeline, TimelineConfig};

/// An offset from content time to time stamps, and from which mux time on the PCR and each stream use it.
struct Base {
    offset: i64,
    pcr_from: i64,
    stream_from: Vec<(u16, i64)>,
}

/// Stretches of mux time in which something is amiss.
#[derive(Clone, Copy, Default)]
struct Until {
    lost: i64,
    no_pcr: i64,
    no_keys: i64,
    no_video: i64,
    no_stamps: i64,
    /// Output may be late until here: the stall is not known for one yet.
    late: i64,
    /// Drops are no fault until here.
    drops: i64,
}

pub struct Run {
    plan: Plan,
    rng: Rng,
    source: Source,
    bases: Vec<Base>,
    until: Until,
    timeline: Timeline,
    pacer: Pacer,
    pub check: Check,
    /// The CMAF packager behind it, when it takes part.
    pub cmaf: Option<Cmaf>,
    opened: bool,
    wild: Option<bool>,
    announce: bool,
    // Clocks, microseconds.
    mono_start_us: u64,
    unix_offset_us: i64,
    anchor_step_us: i64,
    kept_us: u64,
    connect_us: u64,
    hold_us: u64,
    arrival_us: u64,
    now_us: u64,
    lead_max: i64,
    pub breaks_max: u64,
    pub breaks_min: u64,
    height: u32,
    start: i64,
}

const UNIX_START_US: i64 = 1_800_000_000_000_000;

impl Run {
    pub fn new(seed: u64) -> Run {
        let mut rng = Rng::new(seed);
        let start = rng.range(0, 100_000) * SECOND;
        let plan = Plan::random(&mut rng, start);
        Run::with_plan(plan, start, rng)
    }

    pub fn with_plan(plan: Plan, start: i64, mut rng: Rng) -> Run {
        let source = Source::random(&mut rng, start, plan.audio_only, plan.gop_max_ms);
        let frame_ticks = source.streams[0].frame_ticks();
        let config = TimelineConfig { segment_target_ms: plan.target_ms, segment_max_ms: plan.max_ms };
        let mono_us = rng.below(1 << 40);
        let now = Now { mono_us, unix_us: UNIX_START_US as u64 };
        let epoch = Epoch::begin(None, now);
        // Every other run meets a 33-bit wrap within two minutes.
        let near_wrap = (1_i64 << 33) - start - rng.range(0, 120) * SECOND;
        let offset = if rng.percent(50) { near_wrap } else { rng.range(0, 1 << 33) };
        let everywhere = source.streams.iter().map(|stream| (stream.id, i64::MIN)).collect();
        let mut timeline = Timeline::new(config, epoch, now);
        timeline.set_tracks(&tracks(&source, 720));
        let check = Check::new(epoch, timeline.target_duration_s(), frame_ticks.max(3_600));
        let mut run = Run {
            pacer: Pacer::new(PacerConfig { pace: plan.pace, ..PacerConfig::default() }),
            bases: vec![Base { offset, pcr_from: i64::MIN, stream_from: everywhere }],
            until: Until::default(),
            cmaf: None,
            opened: false,
            wild: None,
            announce: false,
            mono_start_us: mono_us,
            unix_offset_us: UNIX_START_US - mono_us as i64,
            anchor_step_us: 0,
            kept_us: 0,
            connect_us: 0,
            hold_us: 0,
            arrival_us: 0,
            now_us: mono_us,
            lead_max: 0,
            breaks_max: 0,
            breaks_min: 0,
            height: 720,
            plan,
            rng,
            source,
            timeline,
            check,
            start,
        };
        run.connect_us = run.ideal_us(start + run.plan.burst);
        run.breaks_max = run.evening();
        run.lead_max = run.plan.burst + run.network_slack();
        run
    }

    /// The same, with the CMAF packager behind it.
    pub fn with_cmaf(seed: u64) -> Run {
        Run::new(seed).followed_by_cmaf(seed)
    }

    pub fn followed_by_cmaf(self, seed: u64) -> Run {
        let mut run = self;
        let target_duration_s = run.timeline.target_duration_s();
        run.cmaf = Some(Cmaf::new(seed, run.timeline.epoch(), target_duration_s, &tracks(&run.source, run.height)));
        run
    }

    /// A pacer that begins to even out batches makes output later, which is made up for by a break; it may do so in two steps.
    fn evening(&self) -> u64 {
        if self.plan.pace && matches!(self.plan.network, Network::Batches(_)) { 2 } else { 0 }
    }

    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    pub fn reference(&self) -> &Stream {
        &self.source.streams[0]
    }

    /// Runs it all. Err: what does not hold, and where.
    pub fn run(&mut self) -> Result<(), String> {
        let mut events = self.plan.events.clone().into_iter().peekable();
        loop {
            let emitted = self.source.emit();
            let mux = emitted.mux();
            if mux > self.start + self.plan.length {
                return self.finish();
            }
            if let Some((_, event)) = events.next_if(|(at, _)| *at <= mux) {
                self.begin(event, mux);
                self.tell_cmaf(event)?;
                if matches!(event, Event::Reconnect { .. }) {
                    continue;
                }
            }
            if mux < self.until.lost {
                continue;
            }
            self.arrive(mux);
            let result = match emitted {
                Emitted::Pcr { mux } => {
                    self.pcr(mux);
                    Ok(())
                }
                Emitted::Sample(sample) => self.sample(&sample),
            };
            result.map_err(|why| format!("at {:.3} s: {why}", (mux - self.start) as f64 / SECOND as f64))?;
        }
    }

    fn tell_cmaf(&mut self, event: Event) -> Result<(), String> {
        let Some(cmaf) = &mut self.cmaf else { return Ok(()) };
        let tracks = tracks(&self.source, self.height);
        match event {
            Event::Reconnect { .. } => cmaf.source_break(),
            Event::Resize => cmaf.tracks(&tracks),
            Event::Restart => cmaf.restart(self.timeline.epoch(), self.timeline.target_duration_s(), &tracks)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), String> {
        if let Some(cmaf) = &mut self.cmaf {
            cmaf.finish()?;
        }
        let (found, min, max) = (self.check.discontinuities, self.breaks_min, self.breaks_max);
        if !(min..=max).contains(&found) {
            return Err(format!("{found} discontinuities, expected {min}..={max}"));
        }
        if self.check.cuts == 0 {
            return Err("no cut".into());
        }
        Ok(())
    }

    // ---- events

    fn begin(&mut self, event: Event, mux: i64) {
        let (min, max) = match event {
            Event::Jump { .. } => (1, 1),
            Event::Reconnect { .. } => (0, 1),
            Event::Loss(_) | Event::Stall { .. } => (0, 1),
            Event::VideoSilent(_) => (0, 1),
            Event::WildStamp { .. } => (0, 2),
            Event::Resize if !self.plan.audio_only => (1, 1),
            _ => (0, 0),
        };
        self.breaks_min += min;
        self.breaks_max += max + self.evening();
        match event {
            Event::Jump { by, pause, flagged, clean } => self.jump(mux, by, pause, flagged, clean),
            Event::PcrGap(length) => self.until.no_pcr = mux + length,
            Event::Loss(length) => self.until.lost = mux + length,
            Event::Stall { length, kept } => self.stall(mux, length, kept),
            Event::MissingKeys(length) => self.until.no_keys = mux + length,
            Event::VideoSilent(length) => self.until.no_video = mux + length,
            Event::Reconnect { outage, burst, other } => self.reconnect(mux, outage, burst, other),
            Event::Restart => self.restart(mux),
            Event::ClockStep(us) => self.unix_offset_us += us,
            Event::Resize => self.resize(),
            Event::WildStamp { noticed } => {
                self.wild = Some(noticed);
                self.until.drops = mux + 2 * SECOND;
            }
            Event::MissingStamps(length) => self.until.no_stamps = mux + length,
        }
    }

    fn jump(&mut self, mux: i64, by: i64, pause: i64, flagged: bool, clean: bool) {
        let offset = self.bases.last().expect("a base").offset + by;
        let from = mux + pause;
        let lead_max = self.source.streams.iter().map(|stream| stream.lead).max().unwrap_or(0);
        let at = |stream: &Stream| (stream.id, if clean { from } else { from + lead_max - stream.lead });
        let stream_from: Vec<_> = self.source.streams.iter().map(at).collect();
        let pcr_from = if clean { from } else { from + self.rng.range(0, 9_000) };
        self.bases.push(Base { offset, pcr_from, stream_from });
        self.until.lost = from;
        self.announce = flagged;
        if pause > 0 {
            // A pause within the network's usual unevenness is seen for one only when output turns out to be late.
            self.until.late = from + self.settle_ticks();
            self.breaks_max += 1;
        }
    }

    fn stall(&mut self, mux: i64, length: i64, kept: bool) {
        self.hold_us = self.ideal_us(mux + length);
        self.until.late = mux + length + self.settle_ticks();
        if kept {
            self.kept_us += us(length);
        }
    }

    fn reconnect(&mut self, mux: i64, outage: i64, burst: i64, other: bool) {
        self.timeline.source_break(self.now());
        self.pacer.restart();
        self.source.seek((mux + outage - burst).max(self.start));
        self.until = Until { drops: mux + outage + 25 * SECOND, late: self.until.late, ..Until::default() };
        self.connect_us = self.ideal_us(mux + outage);
        self.lead_max += burst;
        self.opened = false;
        self.check.forget_sync();
        if other {
            let offset = self.rng.range(0, 1 << 33);
            let stream_from = self.source.streams.iter().map(|stream| (stream.id, i64::MIN)).collect();
            self.bases.push(Base { offset, pcr_from: i64::MIN, stream_from });
        }
        // The wall clock may be read anew here, if the new connection does not go on where the old one ended.
        let step_us = self.unix_offset_us + self.mono_start_us as i64 - UNIX_START_US - self.anchor_step_us;
        self.lead_max += ticks_from_us(step_us.max(0) as u64);
    }

    fn restart(&mut self, mux: i64) {
        let stepped_back = self.unix_offset_us + (self.mono_start_us as i64) < UNIX_START_US;
        let last = self.check.last_cut();
        let number = |cut: millrace::timeline::Cut| Numbers {
            segment: cut.segment,
            discontinuity_sequence: cut.discontinuity_sequence,
        };
        let known = if stepped_back || self.rng.percent(50) { last.map(number) } else { None };
        let config = TimelineConfig { segment_target_ms: self.plan.target_ms, segment_max_ms: self.plan.max_ms };
        self.until.lost = mux + 2 * SECOND;
        self.connect_us = self.ideal_us(mux + 2 * SECOND);
        let now = Now { mono_us: self.now_us + 2_000_000, ..self.now() };
        let now = Now { unix_us: now.unix_us + 2_000_000, ..now };
        let epoch = Epoch::begin(known, now);
        assert!(last.is_none_or(|last| epoch.id > last.segment), "the epoch {epoch:?} goes back");
        let sequence = epoch.discontinuity_sequence;
        let follows = |last: millrace::timeline::Cut| sequence > last.discontinuity_sequence;
        assert!(known.is_none() || last.is_none_or(follows), "the discontinuity sequence {sequence} goes back");
        self.timeline = Timeline::new(config, epoch, now);
        self.timeline.set_tracks(&tracks(&self.source, self.height));
        self.pacer.restart();
        let frame_ticks = self.source.streams[0].frame_ticks().max(3_600);
        let before =
            std::mem::replace(&mut self.check, Check::new(epoch, self.timeline.target_duration_s(), frame_ticks));
        self.check.discontinuities = before.discontinuities;
        self.opened = false;
        self.anchor_step_us = self.unix_offset_us + self.mono_start_us as i64 - UNIX_START_US;
        self.until.late = self.until.late.max(0);
    }

    fn resize(&mut self) {
        self.height = if self.height == 720 { 1_080 } else { 720 };
        self.timeline.set_tracks(&tracks(&self.source, self.height));
    }

    // ---- clocks

    /// When a byte at `mux` comes over an ideal network, monotonic microseconds.
    fn ideal_us(&self, mux: i64) -> u64 {
        let since = us(mux - self.start) as i64;
        (self.mono_start_us as i64 + 1_000_000 + since + since / 1_000_000 * self.plan.drift_ppm) as u64 + self.kept_us
    }

    fn arrive(&mut self, mux: i64) {
        let ideal_us = self.ideal_us(mux);
        let travelled_us = match self.plan.network {
            Network::Even => ideal_us,
            Network::Jitter(most_us) => ideal_us + self.rng.below(most_us),
            Network::Batches(period_us) => ideal_us.div_ceil(period_us) * period_us,
        };
        self.arrival_us = self.arrival_us.max(travelled_us).max(self.connect_us).max(self.hold_us);
        self.now_us = self.now_us.max(self.arrival_us);
    }

    fn now(&self) -> Now {
        Now { mono_us: self.now_us, unix_us: (self.now_us as i64 + self.unix_offset_us) as u64 }
    }

    fn network_slack(&self) -> i64 {
        match self.plan.network {
            Network::Even => SECOND / 20,
            Network::Jitter(us) => ticks_from_us(us) + SECOND / 20,
            Network::Batches(us) => ticks_from_us(2 * us),
        }
    }

    /// How long it may take until a stall that is never caught up is told from one that is: three windows and a cut.
    fn settle_ticks(&self) -> i64 {
        45 * SECOND
            + self.plan.max_ms as i64 * 90
            + self.reference().gop * self.reference().frame_ticks()
            + self.network_slack()
    }

    // ---- what is emitted

    fn stamp(&self, id: u16, mux: i64, content: i64) -> (usize, u64) {
        let uses = |base: &Base| base.stream_from.iter().any(|(stream, from)| *stream == id && *from <= mux);
        let index = self.bases.iter().rposition(uses).expect("the first base is everywhere");
        (index, (content + self.bases[index].offset).rem_euclid(1 << 33) as u64)
    }

    fn pcr(&mut self, mux: i64) {
        if mux < self.until.no_pcr {
            return;
        }
        let base = self.bases.iter().rfind(|base| base.pcr_from <= mux).expect("the first base is everywhere");
        let pcr_27m = (mux + base.offset).rem_euclid(1 << 33) as u64 * 300;
        let announced = base.pcr_from > i64::MIN && std::mem::take(&mut self.announce);
        let now = self.now();
        self.timeline.pcr(pcr_27m, announced, now);
        if let Some(until_us) = self.pacer.on_pcr(pcr_27m, announced, now) {
            assert!(self.plan.pace && until_us > now.mono_us);
            self.now_us = until_us;
        }
    }

    fn sample(&mut self, sample: &Sample) -> Result<(), String> {
        if sample.kind == Kind::Video && sample.mux < self.until.no_video {
            return Ok(());
        }
        let (base, dts) = self.stamp(sample.id, sample.mux, sample.dts);
        let mut raw = self.raw(sample, dts);
        let missing = sample.mux < self.until.no_stamps && !sample.key;
        if missing {
            (raw.pts, raw.dts) = (None, None);
        }
        let mut wild = false;
        if let (Kind::Video, Some(noticed)) = (sample.kind, self.wild) {
            self.wild = None;
            wild = true;
            raw.dts = Some(Ts33::new(self.rng.next()));
            (raw.pts, raw.corrupt) = (raw.dts, noticed);
        }
        let is_reference = sample.id == self.reference().id;
        let now = self.now();
        match self.timeline.place(&raw, now) {
            Ok(placed) => {
                self.opened |= is_reference;
                let counted =
                    sample.mux < self.until.no_stamps + SECOND && sample.mux > self.until.no_stamps - 12 * SECOND;
                let grant = self.grant(sample, base, missing || wild || counted);
                self.check.placed(sample, &placed, is_reference, grant)?;
                match &mut self.cmaf {
                    Some(cmaf) => cmaf.placed(raw.track, raw.kind, &placed, now).map_err(|why| format!("CMAF: {why}")),
                    None => Ok(()),
                }
            }
            Err(why) => self.dropped(sample, why),
        }
    }

    fn raw(&mut self, sample: &Sample, dts: u64) -> RawTiming {
        let reorder = (sample.pts - sample.dts) as u64;
        let key = match sample.kind {
            Kind::Video if !sample.key || sample.mux < self.until.no_keys => Key::None,
            Kind::Video if sample.open_gop => Key::RecoveryPoint,
            _ => Key::Idr,
        };
        let kind = match sample.kind {
            Kind::Video => TrackKind::Video,
            Kind::Audio => TrackKind::Audio,
            Kind::Data => TrackKind::Data,
        };
        // As in a PES header: DTS only where it differs.
        let (pts, dts) = (Some(Ts33::new(dts + reorder)), (reorder > 0).then(|| Ts33::new(dts)));
        RawTiming { track: TrackId(sample.id), kind, pts, dts, key, header_len: 0, corrupt: false }
    }

    fn grant(&self, sample: &Sample, base: usize, inexact: bool) -> Grant {
        let unix_us =
            self.ideal_us(sample.mux) as i64 + UNIX_START_US - self.mono_start_us as i64 + self.anchor_step_us;
        let late = if sample.mux < self.until.late { 30 * SECOND } else { 0 };
        Grant {
            base,
            inexact,
            ideal: MediaTime::from_unix_us(unix_us as u64),
            lead_max: self.lead_max + SECOND / 2,
            late_max: late + SECOND / 2 + self.network_slack(),
        }
    }

    fn dropped(&mut self, sample: &Sample, why: DropReason) -> Result<(), String> {
        self.check.dropped += 1;
        // A data sample may be the first to cross, and does not announce a jump.
        let excused = sample.kind == Kind::Data
            || !self.opened
            || sample.mux < self.until.drops
            || why == DropReason::BeforeFirstKey;
        if excused { Ok(()) } else { Err(format!("{sample:?} dropped: {why:?}")) }
    }
}

fn us(ticks: i64) -> u64 {
    (ticks.max(0) as i128 * 100 / 9) as u64
}

fn tracks(source: &Source, height: u32) -> Vec<Track> {
    source.streams.iter().map(|stream| track(stream, height)).collect()
}

fn track(stream: &Stream, height: u32) -> Track {
    let (codec, params) = match stream.kind {
        Kind::Video => (Codec::H264, Some(picture(height))),
        Kind::Audio => (sound_codec(stream), Some(sound(stream))),
        Kind::Data => (Codec::Teletext, None),
    };
    Track { id: TrackId(stream.id), codec, language: None, role: AudioRole::Main, ts: TsStream::default(), params }
}

/// By the samples of a frame.
fn sound_codec(stream: &Stream) -> Codec {
    match stream.den {
        1_024 => Codec::Aac,
        1_152 => Codec::Mp3,
        _ => Codec::Ac3,
    }
}

fn picture(height: u32) -> Params {
    Params::Video(VideoParams {
        width: height * 16 / 9,
        height,
        sar: (1, 1),
        frame_rate: None,
        interlaced: false,
        rfc6381: "avc1.42c01e".into(),
        parameter_sets: isobmff::h264_sets(height / 9, height / 16),
    })
}

fn sound(stream: &Stream) -> Params {
    let sample_rate = stream.num as u32;
    let (rfc6381, config) = match sound_codec(stream) {
        Codec::Aac => ("mp4a.40.2", isobmff::aac_config(sample_rate, 2)),
        Codec::Mp3 => ("mp4a.40.34", Bytes::new()),
        _ => ("ac-3", Bytes::from_static(&[0x10, 0x11, 0x40])),
    };
    let frame_samples = stream.den as u32;
    Params::Audio(AudioParams { sample_rate, channels: 2, frame_samples, rfc6381: rfc6381.into(), config })
}
