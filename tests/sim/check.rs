//! What must hold of the output, judged from the truth of the source model and nothing that the timeline says of itself.

use crate::source::{Kind, SECOND, Sample};
use millrace::es::Key;
use millrace::time::MediaTime;
use millrace::timeline::{Cut, Epoch, Placed};
use std::collections::HashMap;

/// The last placed sample of a track.
#[derive(Clone, Copy)]
struct Last {
    out_dts: i64,
    content_dts: i64,
    inexact: bool,
}

/// What the run grants at the moment of a sample.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Index of the base that the sample's stamp counts in.
    pub base: usize,
    /// The sample's stamps are missing or wild: its place is a guess.
    pub inexact: bool,
    /// Output time of the moment at which it would have come over an ideal network.
    pub ideal: MediaTime,
    /// Most that output may be ahead of and behind `ideal`, ticks.
    pub lead_max: i64,
    pub late_max: i64,
}

pub struct Check {
    target_duration_s: i64,
    last: HashMap<u16, Last>,
    /// Output less content time of the reference's newest sample, by base.
    reference_offset: HashMap<usize, i64>,
    frame_ticks: i64,
    cut: Option<Cut>,
    frames_since_cut: i64,
    epoch: Epoch,
    pub cuts: u64,
    pub cuts_off_key: u64,
    pub discontinuities: u64,
    pub flagged: u64,
    pub placed: u64,
    pub dropped: u64,
    /// Largest distance from `ideal` seen, ticks.
    pub off_max: i64,
}

macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

impl Check {
    pub fn new(epoch: Epoch, target_duration_s: u64, frame_ticks: i64) -> Self {
        Check {
            target_duration_s: target_duration_s as i64,
            last: HashMap::new(),
            reference_offset: HashMap::new(),
            frame_ticks,
            cut: None,
            frames_since_cut: 0,
            epoch,
            cuts: 0,
            cuts_off_key: 0,
            discontinuities: 0,
            flagged: 0,
            placed: 0,
            dropped: 0,
            off_max: 0,
        }
    }

    /// The newest cut, which holds the highest numbers used.
    pub fn last_cut(&self) -> Option<Cut> {
        self.cut
    }

    pub fn placed(&mut self, sample: &Sample, placed: &Placed, is_reference: bool, grant: Grant) -> Result<(), String> {
        self.placed += 1;
        self.order(sample, placed, grant)?;
        self.sync(sample, placed, is_reference, grant)?;
        if is_reference && !grant.inexact {
            self.wall(placed, grant)?;
        }
        self.goes_on(sample, placed, is_reference)?;
        if let Some(cut) = placed.cut {
            ensure!(sample.kind != Kind::Data, "a data track cuts");
            self.cuts_off_key += u64::from(placed.meta.key == Key::None);
            self.cut(cut, placed)?;
        }
        Ok(())
    }

    /// DTS grows on each track; PTS is never before it; where nothing is flagged, output moved exactly as the content did, but for the slew.
    fn order(&mut self, sample: &Sample, placed: &Placed, grant: Grant) -> Result<(), String> {
        let meta = placed.meta;
        ensure!(meta.pts >= meta.dts, "PTS before DTS: {meta:?}");
        if !grant.inexact {
            let (reorder, truth) = (meta.pts - meta.dts, sample.pts - sample.dts);
            ensure!((reorder - truth).abs() <= 2, "PTS - DTS is {reorder}, of the source {truth}");
        }
        let this = Last { out_dts: meta.dts.0, content_dts: sample.dts, inexact: grant.inexact };
        let Some(last) = self.last.insert(sample.id, this) else {
            ensure!(!meta.discontinuity, "the first sample of a track is flagged");
            return Ok(());
        };
        ensure!(this.out_dts > last.out_dts, "DTS goes from {} back to {}", last.out_dts, this.out_dts);
        if meta.discontinuity {
            self.flagged += 1;
            return Ok(());
        }
        let (moved, truth) = (this.out_dts - last.out_dts, this.content_dts - last.content_dts);
        let slack = 20 + truth.abs() * 6 / 10_000 + if this.inexact || last.inexact { 600 } else { 0 };
        ensure!((moved - truth).abs() <= slack, "unflagged step of {moved}, of the source {truth}");
        Ok(())
    }

    /// Audio keeps its distance to the reference.
    fn sync(&mut self, sample: &Sample, placed: &Placed, is_reference: bool, grant: Grant) -> Result<(), String> {
        if grant.inexact {
            return Ok(());
        }
        let offset = placed.meta.dts.0 - sample.dts;
        if is_reference {
            self.reference_offset.insert(grant.base, offset);
        } else if let Some(reference) = self.reference_offset.get(&grant.base) {
            let off = offset - reference;
            ensure!(
                off.abs() <= self.frame_ticks,
                "track {} is {off} ticks off the reference in base {}",
                sample.id,
                grant.base
            );
        }
        Ok(())
    }

    /// Playlists go on even while the reference is silent: the first audio track never sends much more than the longest segment without a cut.
    fn goes_on(&mut self, sample: &Sample, placed: &Placed, is_reference: bool) -> Result<(), String> {
        if sample.id == 1 && !is_reference {
            self.frames_since_cut += 1;
        }
        if placed.cut.is_some() {
            self.frames_since_cut = 0;
        }
        // A frame of audio is at least 1,024 samples of 48 kHz; 5 s for the reference to count as silent, and for its lead over audio.
        let frames_max = (self.target_duration_s + 5) * 48_000 / 1_024;
        ensure!(self.frames_since_cut <= frames_max, "{} frames of audio without a cut", self.frames_since_cut);
        Ok(())
    }

    /// The stretch's offset is void: another connection or session began.
    pub fn forget_sync(&mut self) {
        self.reference_offset.clear();
    }

    fn wall(&mut self, placed: &Placed, grant: Grant) -> Result<(), String> {
        let off = placed.meta.dts - grant.ideal;
        self.off_max = self.off_max.max(off.abs());
        let (late, lead) = (grant.late_max, grant.lead_max);
        ensure!((-late..=lead).contains(&off), "output is {off} ticks off the wall clock, allowed -{late}..{lead}");
        Ok(())
    }

    fn cut(&mut self, cut: Cut, placed: &Placed) -> Result<(), String> {
        ensure!(cut.start == placed.meta.pts, "a cut starts at {:?}, its sample at {:?}", cut.start, placed.meta.pts);
        ensure!(cut.program_date_time_us == cut.start.unix_us(), "program date time");
        ensure!(!cut.independent || placed.meta.key == Key::Idr, "independent without an IDR");
        self.cuts += 1;
        self.discontinuities += u64::from(cut.discontinuity);
        let Some(last) = self.cut.replace(cut) else {
            let numbers = (cut.segment, cut.discontinuity_sequence);
            ensure!(numbers == (self.epoch.id, self.epoch.discontinuity_sequence), "first numbers: {cut:?}");
            ensure!(!cut.discontinuity && cut.previous_duration == 0, "first cut: {cut:?}");
            return Ok(());
        };
        ensure!(cut.segment == last.segment + 1, "segment {} after {}", cut.segment, last.segment);
        let grown = cut.discontinuity_sequence - last.discontinuity_sequence;
        ensure!(grown == u64::from(cut.discontinuity), "discontinuity sequence grows by {grown}: {cut:?}");
        ensure!(cut.start > last.start, "starts go back: {last:?}, {cut:?}");
        let duration = cut.previous_duration;
        ensure!(duration > 0, "a segment of no length: {cut:?}");
        let rounded = (duration + SECOND / 2) / SECOND;
        ensure!(rounded <= self.target_duration_s, "a segment of {duration} ticks over {} s", self.target_duration_s);
        let apart = cut.start - last.start;
        ensure!(cut.discontinuity || duration == apart, "a segment of {duration} ticks, starts {apart} apart");
        Ok(())
    }
}
