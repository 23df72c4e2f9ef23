//! Self-framing audio (ADTS, LATM, MPEG audio, AC-3, E-AC-3, Opus with its control headers) into samples: what the codecs share.
//!
//! The framer locks on two consecutive headers of one kind; from then on a frame is emitted as soon as it is whole, without
//! waiting for what follows. Where bytes were lost it searches again. How the stream is cut into PES packets makes no
//! difference to the frames.
//!
//! What it deliberately does not do: trust the PMT about which of the codecs it is (broadcasters declare AAC as MPEG audio).

use super::stamps::{Clock, Stamp, Stamps};
use super::{Frame, FramerStats, PesPayload};
use crate::es::latm::Latm;
use crate::es::opus::{self, ChannelMapping};
use crate::es::{AudioParams, Codec, Key, Params, aac, ac3, latm, mpegaudio};
use crate::limits::PES_BYTES_MAX;

/// What a header says of its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncFrame {
    pub codec: Codec,
    /// Bytes of the whole frame, header included.
    pub len: usize,
    /// See [`Frame::header_len`].
    pub header_len: u8,
    /// PCM samples of the frame at `sample_rate`; both 0 where only the payload tells.
    pub samples: u32,
    pub sample_rate: u32,
    /// Equal in two frames that vouch for each other.
    pub tag: u32,
    /// Differs when the parameters do.
    pub config: u64,
    /// Belongs to the sample of the frame before it.
    pub extends: bool,
}

/// What stands at some offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    /// Too few bytes to tell.
    Short,
    /// No header.
    Bad,
    Frame(SyncFrame),
}

/// Codecs that are told apart by their headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// ADTS, MPEG audio and LATM.
    Mpeg,
    /// AC-3 and E-AC-3.
    Ac3,
    /// Opus.
    Opus,
}

impl Family {
    fn probe(self, data: &[u8]) -> Probe {
        match (self, data) {
            (_, []) => Probe::Short,
            (Family::Mpeg, [0xff]) => Probe::Short,
            // Layer 0 is ADTS.
            (Family::Mpeg, [0xff, second, ..]) if second & 6 == 0 => aac::probe(data),
            (Family::Mpeg, [0xff, ..]) => mpegaudio::probe(data),
            (Family::Mpeg, [0x56, ..]) => latm::probe(data),
            (Family::Ac3, [0x0b, ..]) => ac3::probe(data),
            (Family::Opus, [0x7f, ..]) => opus::probe(data),
            _ => Probe::Bad,
        }
    }

    /// Offset of the next byte at or after `from` that a header may begin with.
    fn next_sync(self, data: &[u8], from: usize) -> Option<usize> {
        let rest = data.get(from..)?;
        let found = match self {
            Family::Mpeg => memchr::memchr2(0xff, 0x56, rest),
            Family::Ac3 => memchr::memchr(0x0b, rest),
            Family::Opus => memchr::memchr(0x7f, rest),
        };
        Some(from + found?)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lock {
    /// Two headers in a row are looked for.
    Searching,
    /// The next header, of this [`SyncFrame::tag`], stands right behind the last frame.
    Locked(u32),
}

/// A sample that further frames may belong to. Offsets are into the framer's buffer.
#[derive(Clone, Copy, Debug)]
struct Group {
    head: SyncFrame,
    start: usize,
    end: usize,
    /// Frames that extend it.
    extensions: u32,
}

/// The payload that is being taken in.
#[derive(Clone, Copy, Debug)]
struct Input {
    /// Its offset in the buffer.
    start: usize,
    corrupt: bool,
}

/// Cuts one audio track.
#[derive(Debug)]
pub struct AudioFramer {
    family: Family,
    codec: Codec,
    lock: Lock,
    /// Bytes of earlier payloads that no complete sample took.
    carry: Vec<u8>,
    carry_corrupt: bool,
    group: Option<Group>,
    /// Extensions of each sample as the stream has shown them; `None`: the next header must be seen first.
    extensions: Option<u32>,
    stamps: Stamps,
    clock: Clock,
    latm: Latm,
    /// What the PMT says of Opus channels; `None`: nothing that is understood.
    opus_mapping: Option<ChannelMapping>,
    /// ADTS frames rewritten from LATM.
    rewritten: Vec<u8>,
    /// [`SyncFrame::config`] and extensions that `params` was made of.
    config: Option<(Codec, u64, u32)>,
    params: Option<Params>,
    params_version: u32,
    stats: FramerStats,
}

impl AudioFramer {
    /// `declared` is what the source says, in force until frames show another.
    pub fn new(family: Family, declared: Codec) -> Self {
        AudioFramer {
            family,
            codec: declared,
            lock: Lock::Searching,
            carry: Vec::new(),
            carry_corrupt: false,
            group: None,
            extensions: (family != Family::Ac3).then_some(0),
            stamps: Stamps::default(),
            clock: Clock::default(),
            latm: Latm::default(),
            opus_mapping: Some(ChannelMapping::default()),
            rewritten: Vec::new(),
            config: None,
            params: None,
            params_version: 0,
            stats: FramerStats::default(),
        }
    }

    /// How the streams of Opus packets become channels, in force from the next sample on.
    pub fn set_opus_mapping(&mut self, mapping: Option<ChannelMapping>) {
        if mapping != self.opus_mapping {
            self.opus_mapping = mapping;
            self.config = None;
        }
    }

    pub fn codec(&self) -> Codec {
        self.codec
    }

    pub fn params(&self) -> Option<&Params> {
        self.params.as_ref()
    }

    pub fn params_version(&self) -> u32 {
        self.params_version
    }

    pub fn stats(&self) -> FramerStats {
        self.stats
    }

    pub fn memory_bytes(&self) -> usize {
        self.carry.capacity()
    }

    pub fn push(&mut self, pes: PesPayload<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        let mut carry = std::mem::take(&mut self.carry);
        let input = Input { start: carry.len(), corrupt: pes.corrupt };
        self.stamps.push(input.start, &pes);
        let keep;
        if carry.is_empty() {
            keep = self.take_in(pes.data, input, emit);
            carry.extend_from_slice(&pes.data[keep..]);
        } else {
            carry.extend_from_slice(pes.data);
            keep = self.take_in(&carry, input, emit);
            carry.drain(..keep);
        }
        self.carry_corrupt = !carry.is_empty() && (pes.corrupt || keep < input.start && self.carry_corrupt);
        super::give_back(&mut carry);
        self.carry = carry;
        if self.carry.len() > PES_BYTES_MAX {
            self.stats.oversized += 1;
            self.forget();
        }
    }

    pub fn flush(&mut self, emit: &mut dyn FnMut(Frame<'_>)) {
        let carry = std::mem::take(&mut self.carry);
        let input = Input { start: carry.len(), corrupt: false };
        if self.lock == Lock::Searching
            && self.group.is_none()
            && let Probe::Frame(head) = self.family.probe(&carry)
            && head.len == carry.len()
        {
            self.group = Some(Group { head, start: 0, end: carry.len(), extensions: 0 });
        }
        self.close(&carry, input, emit);
        self.carry = carry;
        self.forget();
        self.clock.reset();
        self.latm.reset();
    }

    /// Emits every sample of `buffer` that is whole. Answers the offset of the first byte still needed.
    fn take_in(&mut self, buffer: &[u8], input: Input, emit: &mut dyn FnMut(Frame<'_>)) -> usize {
        let mut position = self.group.map_or(0, |group| group.end);
        if input.corrupt {
            self.lose_lock(buffer, input, emit);
        }
        loop {
            let Lock::Locked(tag) = self.lock else {
                if self.search(buffer, &mut position) {
                    continue;
                }
                break;
            };
            match self.family.probe(&buffer[position..]) {
                Probe::Short => break,
                Probe::Frame(head) if head.tag == tag => {
                    let end = position + head.len;
                    if buffer.len() < end {
                        break;
                    }
                    if input.corrupt && self.family.probe(&buffer[end..]) == Probe::Bad {
                        // The hole lies in this frame: what looks like its end is of a later one.
                        self.lose_lock(buffer, input, emit);
                        self.skip(1, &mut position);
                        continue;
                    }
                    self.take_frame(head, buffer, position, input, emit);
                    position = end;
                }
                _ => self.lose_lock(buffer, input, emit),
            }
        }
        let keep = self.group.map_or(position, |group| group.start);
        if let Some(group) = &mut self.group {
            group.start -= keep;
            group.end -= keep;
        }
        self.stamps.rebase(keep);
        keep
    }

    /// Moves on to two headers in a row. False: more bytes are needed.
    fn search(&mut self, buffer: &[u8], position: &mut usize) -> bool {
        while let Some(sync) = self.family.next_sync(buffer, *position) {
            self.skip(sync - *position, position);
            match self.family.probe(&buffer[sync..]) {
                Probe::Short => return false,
                Probe::Bad => {}
                Probe::Frame(head) => match buffer.get(sync + head.len..).map(|next| self.family.probe(next)) {
                    None | Some(Probe::Short) => return false,
                    Some(Probe::Frame(next)) if next.tag == head.tag => {
                        self.lock = Lock::Locked(head.tag);
                        return true;
                    }
                    Some(_) => {}
                },
            }
            self.skip(1, position);
        }
        self.skip(buffer.len() - *position, position);
        false
    }

    fn skip(&mut self, count: usize, position: &mut usize) {
        self.stats.skipped_bytes += count as u64;
        *position += count;
    }

    fn lose_lock(&mut self, buffer: &[u8], input: Input, emit: &mut dyn FnMut(Frame<'_>)) {
        self.close(buffer, input, emit);
        self.lock = Lock::Searching;
    }

    /// A whole frame stands at `start`.
    fn take_frame(
        &mut self,
        head: SyncFrame,
        buffer: &[u8],
        start: usize,
        input: Input,
        emit: &mut dyn FnMut(Frame<'_>),
    ) {
        let end = start + head.len;
        match &mut self.group {
            Some(group) if head.extends => {
                group.end = end;
                group.extensions += 1;
            }
            None if head.extends => {
                // One extension more than the samples before had: its sample is gone.
                self.stats.skipped_bytes += head.len as u64;
                self.extensions = None;
                return;
            }
            Some(group) => {
                self.extensions = Some(group.extensions);
                self.close(buffer, input, emit);
                self.group = Some(Group { head, start, end, extensions: 0 });
            }
            None => self.group = Some(Group { head, start, end, extensions: 0 }),
        }
        if self.group.is_some_and(|group| Some(group.extensions) == self.extensions) {
            self.close(buffer, input, emit);
        }
    }

    /// Emits the sample in hand.
    fn close(&mut self, buffer: &[u8], input: Input, emit: &mut dyn FnMut(Frame<'_>)) {
        let Some(group) = self.group.take() else { return };
        let given = self.stamps.take(group.start);
        let corrupt = group.start < input.start && self.carry_corrupt || group.end > input.start && input.corrupt;
        let data = &buffer[group.start..group.end];
        if group.head.tag == latm::TAG {
            self.emit_rewritten(data, given, corrupt, emit);
        } else {
            self.emit(data, group, given, corrupt, emit);
        }
    }

    fn emit_rewritten(&mut self, sync_stream: &[u8], given: Stamp, corrupt: bool, emit: &mut dyn FnMut(Frame<'_>)) {
        let mut rewritten = std::mem::take(&mut self.rewritten);
        if self.latm.rewrite(sync_stream, &mut rewritten).is_none() {
            self.stats.unsupported += 1;
        }
        let (mut rest, mut given) = (&rewritten[..], given);
        while let Probe::Frame(head) = self.family.probe(rest)
            && let Some((frame, behind)) = rest.split_at_checked(head.len)
        {
            let group = Group { head, start: 0, end: head.len, extensions: 0 };
            self.emit(frame, group, std::mem::take(&mut given), corrupt, emit);
            rest = behind;
        }
        self.rewritten = rewritten;
    }

    fn emit(&mut self, data: &[u8], group: Group, given: Stamp, corrupt: bool, emit: &mut dyn FnMut(Frame<'_>)) {
        let head = group.head;
        let config = Some((head.codec, head.config, group.extensions));
        if config != self.config && (!corrupt || self.params.is_none()) {
            self.config = config;
            self.update_params(data, head);
        }
        let stamp = self.clock.stamp(given, head.samples as u64, head.sample_rate as u64);
        emit(Frame {
            data,
            pts: stamp.pts,
            dts: stamp.dts,
            key: Key::Idr,
            header_len: head.header_len,
            corrupt,
            codec: self.codec,
            params: self.params.as_ref(),
            params_version: self.params_version,
        });
    }

    fn update_params(&mut self, sample: &[u8], head: SyncFrame) {
        let codec = head.codec;
        let params = self.describe(sample, head).map(Params::Audio);
        if codec != self.codec || params != self.params {
            self.codec = codec;
            self.params = params;
            self.params_version += 1;
        }
    }

    fn describe(&self, sample: &[u8], head: SyncFrame) -> Option<AudioParams> {
        match head.codec {
            Codec::Aac => aac::params(sample),
            Codec::Mp2 | Codec::Mp3 => mpegaudio::params(sample),
            Codec::Opus => self.opus_mapping.as_ref()?.params(sample.get(head.header_len as usize..)?),
            _ => ac3::params(sample),
        }
    }

    /// Forgets what the buffer held.
    fn forget(&mut self) {
        self.carry.clear();
        super::give_back(&mut self.carry);
        self.carry_corrupt = false;
        self.group = None;
        self.lock = Lock::Searching;
        self.stamps.clear();
    }
}
