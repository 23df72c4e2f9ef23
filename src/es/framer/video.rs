//! Start-code streams (H.264, H.265, MPEG-2 video) into samples: what the codecs share. A codec says what each unit means
//! for the boundary of access units; this module finds the units, keeps what spans PES packets and emits.
//!
//! Each byte is searched once. An access unit that lies in one PES payload is emitted as a slice of it; only what spans
//! payloads is put together in a buffer, which is bounded by [`PES_BYTES_MAX`] and reused.
//!
//! What it deliberately does not do: read more of a picture than its header.

use super::stamps::{Clock, Stamp, Stamps};
use super::{Frame, FramerStats, PesPayload};
use crate::es::nal::{self, StartCodes};
use crate::es::{Codec, Key, Params, VideoParams};
use crate::limits::PES_BYTES_MAX;

/// Bytes behind a start code that a codec gets to see when a unit begins: enough for every slice header field that tells pictures apart.
pub const PREFIX_BYTES: usize = 36;

/// What a unit means for the boundary of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Goes with whatever is there.
    Within,
    /// Goes with the picture that follows, which has yet to say whether it begins a sample.
    Lead,
    /// A [`Role::Lead`] that is the point in the access unit that PES time stamps refer to.
    LeadPicture,
    /// The picture begun here, with the leads before it, is a new sample.
    NewSample,
    /// The picture in progress goes on, or its second field begins: leads before it belong to the same sample.
    Continues,
}

/// What a codec knows. Calls come in the order `begin`, (`end`), and after [`Role::NewSample`] `open`.
pub trait AccessUnits {
    const CODEC: Codec;
    /// A zero byte right before a start code belongs to the unit that it begins (zero_byte of Annex B). MPEG-2 has none: all
    /// zeros before a start code end the unit before it (next_start_code, ISO/IEC 13818-2 5.2.3).
    const ZERO_BYTE: bool;
    /// A unit begins with these bytes (behind the start code): [`PREFIX_BYTES`], or all it has.
    fn begin(&mut self, prefix: &[u8]) -> Role;
    /// Whether a unit that begins with these bytes can only belong to the next picture, given that the one in progress has slices.
    fn starts(&self, unit: &[u8]) -> bool;
    /// The unit begun last is whole. Trailing zeros may be there. `corrupt`: it may have lost bytes, so that a parameter set
    /// must not replace one that is known.
    fn end(&mut self, unit: &[u8], corrupt: bool);
    /// The sample that [`Role::NewSample`] announced is now the current one; parameters may change here only.
    fn open(&mut self);
    /// Kind of entry point of the current sample.
    fn key(&self) -> Key;
    /// False while a second field may follow.
    fn complete(&self) -> bool;
    fn params(&self) -> Option<&Params>;
    fn params_version(&self) -> u32;
    /// End of stream or a break: parameter sets stay, the picture in progress is forgotten.
    fn reset(&mut self);
}

/// PES payloads in a row that must begin with an access unit before the end of one is taken for the end of its last access unit: so
/// many where they say so (data_alignment_indicator), else a group of pictures or two. Only for PES packets of known length: else the
/// start of the next one tells.
const ALIGNED_AFTER: u8 = 8;
const ALIGNED_AFTER_UNSAID: u8 = 50;
/// Payloads of this size may be full 16-bit PES packets, which another one goes on: their end says nothing.
const FULL_PES_BYTES: std::ops::RangeInclusive<usize> = 60_000..=65_535;

/// How PES packets and access units lie to each other, learned from the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cadence {
    /// This many payloads in a row began with an access unit.
    Learning(u8),
    /// Samples are emitted at the end of their PES.
    Aligned,
    /// An access unit once went on in the next PES: from then on a sample ends where the next one is seen to begin.
    Spanning,
}

/// A start-code unit that is being received. Offsets are into the framer's buffer.
#[derive(Clone, Copy, Debug)]
struct Unit {
    /// First byte of the start code, with its zero_byte.
    start: usize,
    /// First byte behind the start code.
    header: usize,
    /// The codec has seen the prefix.
    begun: bool,
}

/// Units that go with a picture which has not yet said whether it begins a sample.
#[derive(Clone, Copy, Debug)]
struct Lead {
    start: usize,
    /// Where the access unit commences as far as time stamps go.
    stamped_at: usize,
}

/// The sample in progress.
#[derive(Clone, Copy, Debug)]
struct Open {
    start: usize,
    given: Stamp,
    corrupt: bool,
}

/// The payload that is being taken in.
#[derive(Clone, Copy, Debug)]
struct Input<'a> {
    /// Its offset in the buffer.
    start: usize,
    corrupt: bool,
    aligned: bool,
    /// First bytes of the payload behind it, where they are known already.
    next: Option<&'a [u8]>,
}

/// Cuts one video track.
#[derive(Debug)]
pub struct VideoFramer<C> {
    codec: C,
    codes: StartCodes,
    /// Bytes of earlier payloads that belong to the sample in progress.
    carry: Vec<u8>,
    /// `carry` holds bytes of a payload that lost some.
    carry_corrupt: bool,
    /// The buffer is searched up to here.
    searched: usize,
    /// Bytes before this one were emitted or counted as skipped.
    settled: usize,
    unit: Option<Unit>,
    lead: Option<Lead>,
    open: Option<Open>,
    stamps: Stamps,
    clock: Clock,
    cadence: Cadence,
    /// Zeros that the next payload begins with and that were taken as the end of the one before.
    zeros_taken: usize,
    /// The payload in hand began with an access unit.
    led_at_start: bool,
    stats: FramerStats,
}

impl<C: AccessUnits> VideoFramer<C> {
    pub fn new(codec: C) -> Self {
        VideoFramer {
            codec,
            codes: StartCodes::new(),
            carry: Vec::new(),
            carry_corrupt: false,
            searched: 0,
            settled: 0,
            unit: None,
            lead: None,
            open: None,
            stamps: Stamps::default(),
            clock: Clock::default(),
            cadence: Cadence::Learning(0),
            zeros_taken: 0,
            led_at_start: false,
            stats: FramerStats::default(),
        }
    }

    pub fn params(&self) -> Option<&Params> {
        self.codec.params()
    }

    pub fn params_version(&self) -> u32 {
        self.codec.params_version()
    }

    pub fn stats(&self) -> FramerStats {
        self.stats
    }

    pub fn memory_bytes(&self) -> usize {
        self.carry.capacity()
    }

    pub fn push(&mut self, pes: PesPayload<'_>, next: Option<&[u8]>, emit: &mut dyn FnMut(Frame<'_>)) {
        let mut carry = std::mem::take(&mut self.carry);
        let input = Input { start: carry.len(), corrupt: pes.corrupt, aligned: pes.aligned, next };
        self.stamps.push(input.start, &pes);
        let data = &pes.data[self.zeros_taken.min(trailing_zeros::<C>(pes.data))..];
        self.zeros_taken = next.map_or(0, trailing_zeros::<C>);
        if carry.is_empty() && self.zeros_taken == 0 {
            let keep = self.take_in(data, input, emit);
            carry.extend_from_slice(&data[keep..]);
        } else {
            carry.extend_from_slice(data);
            carry.resize(carry.len() + self.zeros_taken, 0);
            let keep = self.take_in(&carry, input, emit);
            carry.drain(..keep);
        }
        super::give_back(&mut carry);
        self.carry = carry;
        if self.carry.len() > PES_BYTES_MAX {
            self.drop_oversized();
        }
    }

    pub fn flush(&mut self, emit: &mut dyn FnMut(Frame<'_>)) {
        let mut carry = std::mem::take(&mut self.carry);
        let input = Input { start: carry.len(), corrupt: false, aligned: false, next: None };
        self.end_unit(&carry, carry.len(), input, emit);
        let end = self.lead.map_or(carry.len(), |lead| lead.start);
        self.close(&carry, end, input, emit);
        self.forget();
        self.clock.reset();
        self.cadence = Cadence::Learning(0);
        self.zeros_taken = 0;
        self.codec.reset();
        carry.clear();
        super::give_back(&mut carry);
        self.carry = carry;
    }

    /// Searches what is new in `buffer` and emits what is complete. Answers the offset of the first byte still needed.
    fn take_in(&mut self, buffer: &[u8], input: Input<'_>, emit: &mut dyn FnMut(Frame<'_>)) -> usize {
        self.led_at_start = false;
        while let Some(code) = self.codes.find(buffer, self.searched) {
            let start = self.start_of_code(buffer, code, input.start);
            self.end_unit(buffer, start, input, emit);
            self.unit = Some(Unit { start, header: code + 3, begun: false });
            self.searched = code + 3;
        }
        self.searched = self.searched.max(buffer.len().saturating_sub(2));
        if self.unit.is_some_and(|unit| buffer.len() >= unit.header + PREFIX_BYTES) {
            self.begin_unit(buffer, buffer.len(), input, emit);
        }
        self.end_pes(buffer, input, emit);
        if let Some(open) = &mut self.open {
            open.corrupt |= input.corrupt;
        }
        let keep = self.discard_before_keep();
        self.carry_corrupt = input.corrupt || keep < input.start && self.carry_corrupt;
        keep
    }

    /// Where the start code at `code` begins: with its zero_byte, where the codec has one, unless that is in an earlier payload, as
    /// an access unit at the start of a PES commences in it. What ends in zeros before it keeps them. When all before was
    /// emitted, the zeros are the new unit's, so that no byte is lost.
    fn start_of_code(&self, buffer: &[u8], code: usize, payload_start: usize) -> usize {
        let floor = self.unit.map_or(self.settled, |unit| unit.header);
        let border = if code >= payload_start { floor.max(payload_start) } else { floor };
        let between_samples = self.open.is_none() && self.lead.is_none();
        if between_samples && buffer[border.min(code)..code].iter().all(|&byte| byte == 0) {
            return border.min(code);
        }
        let has_zero_byte = C::ZERO_BYTE && code > border && buffer[code - 1] == 0;
        code - has_zero_byte as usize
    }

    /// Shows the codec the prefix of the unit in hand, if it has not seen it, and cuts where it says so.
    fn begin_unit(&mut self, buffer: &[u8], end: usize, input: Input<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        let Some(unit) = self.unit.as_mut().filter(|unit| !unit.begun) else { return };
        unit.begun = true;
        let unit = *unit;
        let prefix = &buffer[unit.header..end.min(unit.header + PREFIX_BYTES)];
        let role = if prefix.is_empty() { Role::Within } else { self.codec.begin(prefix) };
        match role {
            Role::Within => return,
            Role::Lead => self.lead_at(unit.start),
            Role::LeadPicture => {
                self.lead_at(unit.start);
                if let Some(lead) = &mut self.lead {
                    lead.stamped_at = unit.start;
                }
            }
            Role::NewSample => {
                let lead = self.lead.take().unwrap_or(Lead { start: unit.start, stamped_at: unit.start });
                self.close(buffer, lead.start, input, emit);
                self.codec.open();
                let given = self.stamps.take(lead.stamped_at);
                self.stats.skipped_bytes += lead.start.saturating_sub(self.settled) as u64;
                self.settled = lead.start;
                let corrupt = lead.start < input.start && self.carry_corrupt;
                self.open = Some(Open { start: lead.start, given, corrupt });
            }
            Role::Continues => self.lead = None,
        }
        let padding = input.start..unit.start.max(input.start);
        self.led_at_start |=
            role != Role::Continues && unit.start >= input.start && buffer[padding].iter().all(|&byte| byte == 0);
    }

    fn lead_at(&mut self, start: usize) {
        self.lead.get_or_insert(Lead { start, stamped_at: start });
    }

    /// The unit in hand ends at `end`.
    fn end_unit(&mut self, buffer: &[u8], end: usize, input: Input<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        self.begin_unit(buffer, end, input, emit);
        if let Some(unit) = self.unit.take() {
            let corrupt = input.corrupt || self.carry_corrupt && unit.start < input.start;
            self.codec.end(&buffer[unit.header.min(end)..end], corrupt);
        }
    }

    /// Emits the sample in progress, which ends at `end`.
    fn close(&mut self, buffer: &[u8], end: usize, input: Input<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        let Some(open) = self.open.take() else {
            return;
        };
        let (duration, rate) = match self.codec.params() {
            Some(Params::Video(params)) => {
                params.frame_rate.map_or((1, 0), |(frames, seconds)| (seconds as u64, frames as u64))
            }
            _ => (1, 0),
        };
        let stamp = self.clock.stamp(open.given, duration, rate);
        self.settled = end;
        emit(Frame {
            data: &buffer[open.start..end],
            pts: stamp.pts,
            dts: stamp.dts,
            key: self.codec.key(),
            header_len: 0,
            // What was lost directly before a payload may be the end of the sample before it.
            corrupt: open.corrupt || input.corrupt && end >= input.start,
            codec: C::CODEC,
            params: self.codec.params(),
            params_version: self.codec.params_version(),
        });
    }

    /// Emits the sample in progress at the end of its PES, when that is known to be its end too.
    fn end_pes(&mut self, buffer: &[u8], input: Input<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        self.learn(buffer.len() - input.start, input);
        let ends = match input.next {
            Some(head) => first_unit(head).is_some_and(|unit| self.codec.starts(unit)),
            None => self.cadence == Cadence::Aligned && !FULL_PES_BYTES.contains(&(buffer.len() - input.start)),
        };
        if !ends {
            return;
        }
        self.end_unit(buffer, buffer.len(), input, emit);
        if self.lead.is_none() && self.codec.complete() {
            self.close(buffer, buffer.len(), input, emit);
            self.searched = buffer.len();
        }
    }

    /// Notes whether the payload began with an access unit.
    fn learn(&mut self, bytes: usize, input: Input<'_>) {
        if input.corrupt || bytes == 0 {
            return;
        }
        let enough = if input.aligned { ALIGNED_AFTER } else { ALIGNED_AFTER_UNSAID };
        self.cadence = match (self.cadence, self.led_at_start) {
            (Cadence::Learning(seen), true) if seen + 1 >= enough => Cadence::Aligned,
            (Cadence::Learning(seen), true) => Cadence::Learning(seen + 1),
            (Cadence::Learning(_), false) => Cadence::Learning(0),
            (Cadence::Aligned, true) => Cadence::Aligned,
            (Cadence::Aligned | Cadence::Spanning, _) => Cadence::Spanning,
        };
    }

    /// Moves all offsets so that the first byte still needed is the first of the buffer; answers where it was.
    fn discard_before_keep(&mut self) -> usize {
        let unfinished = self.unit.filter(|unit| !unit.begun).map(|unit| unit.start);
        let held = self.open.map(|open| open.start).or(self.lead.map(|lead| lead.start)).or(unfinished);
        // Between samples the last two bytes may begin a start code, and the one before them be its zero_byte.
        let keep = held.unwrap_or(self.searched.saturating_sub(1).max(self.settled));
        if held.is_none() {
            // What goes on between samples is of no use to the codec.
            self.unit = None;
        }
        self.stats.skipped_bytes += keep.saturating_sub(self.settled) as u64;
        self.settled = self.settled.saturating_sub(keep);
        self.searched -= keep;
        self.stamps.rebase(keep);
        if let Some(open) = &mut self.open {
            open.start -= keep;
        }
        if let Some(lead) = &mut self.lead {
            lead.start -= keep;
            lead.stamped_at -= keep;
        }
        if let Some(unit) = &mut self.unit {
            unit.start -= keep;
            unit.header -= keep;
        }
        keep
    }

    fn drop_oversized(&mut self) {
        self.stats.oversized += 1;
        self.carry = Vec::new();
        self.forget();
    }

    /// Forgets what the buffer held.
    fn forget(&mut self) {
        (self.searched, self.settled, self.carry_corrupt) = (0, 0, false);
        (self.unit, self.lead, self.open) = (None, None, None);
        self.stamps.clear();
    }
}

/// How many of the zeros that `head`, the start of a payload, begins with end the unit before it: all but those of its first
/// start code.
fn trailing_zeros<C: AccessUnits>(head: &[u8]) -> usize {
    let of_code = 2 + C::ZERO_BYTE as usize;
    if !head.starts_with(&[0, 0, 0]) || first_unit(head).is_none() {
        return 0;
    }
    head.iter().take_while(|&&byte| byte == 0).count().saturating_sub(of_code)
}

/// What follows the start code that `head`, the start of a payload, begins with (after any zeros).
fn first_unit(head: &[u8]) -> Option<&[u8]> {
    let zeros = head.iter().position(|&byte| byte != 0)?;
    (zeros >= 2 && head[zeros] == 1).then(|| &head[zeros + 1..])
}

/// Runs a codec over the units of one access unit.
pub(super) fn params_of<C: AccessUnits>(mut codec: C, access_unit: &[u8]) -> Option<VideoParams> {
    for unit in nal::units(access_unit) {
        if codec.begin(&unit[..unit.len().min(PREFIX_BYTES)]) == Role::NewSample {
            codec.open();
        }
        codec.end(unit, false);
    }
    match codec.params() {
        Some(Params::Video(video)) => Some(video.clone()),
        _ => None,
    }
}
