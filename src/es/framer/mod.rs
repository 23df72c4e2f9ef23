//! Cuts PES payloads into samples (access units): one [`Framer`] per track, whatever the codec.
//!
//! Time stamps follow ISO/IEC 13818-1 2.4.3.7: those of a PES header belong to the first access unit that commences in
//! its payload; the access units behind it are counted on.
//!
//! What it deliberately does not do: know of PIDs, PES headers or output time.

pub(super) mod audio;
mod stamps;
pub(super) mod video;
mod whole;

use super::h264::H264;
use super::h265::H265;
use super::mpeg2video::Mpeg2Video;
use super::opus::ChannelMapping;
use super::{Codec, Key, Params, VideoParams};
use crate::limits::PES_BUFFER_KEPT_BYTES;
use crate::time::Ts33;
use audio::{AudioFramer, Family};
use video::VideoFramer;
use whole::WholeFramer;

/// Parameters of a video track from one access unit, or from parameter sets alone; `None` for codecs that do not come as a byte stream of units, and where
/// something is missing.
pub fn params_of(codec: Codec, access_unit: &[u8]) -> Option<VideoParams> {
    match codec {
        Codec::H264 => video::params_of(H264::new(), access_unit),
        Codec::H265 => video::params_of(H265::new(), access_unit),
        Codec::Mpeg2Video => video::params_of(Mpeg2Video::new(), access_unit),
        _ => None,
    }
}

/// One PES payload, whole, in arrival order.
#[derive(Clone, Copy, Debug)]
pub struct PesPayload<'a> {
    pub data: &'a [u8],
    pub pts: Option<Ts33>,
    /// Equal to `pts` when the PES header carries PTS only.
    pub dts: Option<Ts33>,
    /// PES header's data_alignment_indicator.
    pub aligned: bool,
    /// Bytes were lost in or directly before this payload.
    pub corrupt: bool,
}

/// One sample as the framer hands it out; everything borrowed lives until the closure returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub data: &'a [u8],
    /// Taken from the PES or counted on from the last one. `None` when no time stamp was ever seen, and for a picture that
    /// shares its PES with others in a stream that does not tell its frame rate.
    pub pts: Option<Ts33>,
    pub dts: Option<Ts33>,
    pub key: Key,
    /// Bytes of framing in front of the raw frame (ADTS, Opus), 0 otherwise.
    pub header_len: u8,
    pub corrupt: bool,
    /// The codec in force for this frame.
    pub codec: Codec,
    /// The parameters in force for this frame, `None` until known.
    pub params: Option<&'a Params>,
    /// Grows by one whenever `codec` or `params` differ from those of the frame before: compare this, not the parameters.
    /// 0 only while neither has changed since [`Framer::new`].
    pub params_version: u32,
}

/// Counters since [`Framer::new`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FramerStats {
    /// Access units dropped for being over [`crate::limits::PES_BYTES_MAX`].
    pub oversized: u64,
    /// Bytes that belong to no access unit: garbage, or what stood before the first one.
    pub skipped_bytes: u64,
    /// Frames left out because their configuration is not supported (free format MPEG audio, LATM that does not fit ADTS).
    pub unsupported: u64,
}

/// Splits one track's PES payloads into samples and learns its parameters.
#[derive(Debug)]
pub struct Framer {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    H264(Box<VideoFramer<H264>>),
    H265(Box<VideoFramer<H265>>),
    Mpeg2Video(Box<VideoFramer<Mpeg2Video>>),
    Audio(Box<AudioFramer>),
    Whole(WholeFramer),
}

/// Calls a method that all framers have.
macro_rules! each {
    ($inner:expr, $framer:ident => $call:expr) => {
        match $inner {
            Inner::H264($framer) => $call,
            Inner::H265($framer) => $call,
            Inner::Mpeg2Video($framer) => $call,
            Inner::Audio($framer) => $call,
            Inner::Whole($framer) => $call,
        }
    };
}

impl Framer {
    /// A framer for a track that the source declares as `codec`.
    pub fn new(codec: Codec) -> Self {
        let inner = match codec {
            Codec::H264 => Inner::H264(Box::new(VideoFramer::new(H264::new()))),
            Codec::H265 => Inner::H265(Box::new(VideoFramer::new(H265::new()))),
            Codec::Mpeg2Video => Inner::Mpeg2Video(Box::new(VideoFramer::new(Mpeg2Video::new()))),
            Codec::Aac | Codec::Mp2 | Codec::Mp3 => Inner::Audio(Box::new(AudioFramer::new(Family::Mpeg, codec))),
            Codec::Ac3 | Codec::Eac3 => Inner::Audio(Box::new(AudioFramer::new(Family::Ac3, codec))),
            Codec::Opus => Inner::Audio(Box::new(AudioFramer::new(Family::Opus, codec))),
            _ => Inner::Whole(WholeFramer::new(codec)),
        };
        Framer { inner }
    }

    /// What the source says of the channels of an Opus track, in force from the next sample on; `None`: nothing that is understood, then the
    /// track has no parameters. Stereo until this is called. Other codecs say it in their frames.
    pub fn set_opus_mapping(&mut self, mapping: Option<ChannelMapping>) {
        if let Inner::Audio(framer) = &mut self.inner {
            framer.set_opus_mapping(mapping);
        }
    }

    /// The codec in force after the frame emitted last; may differ from what the PMT said (MPEG audio layer, AAC declared
    /// as MPEG audio, ...).
    pub fn codec(&self) -> Codec {
        match &self.inner {
            Inner::H264(_) => Codec::H264,
            Inner::H265(_) => Codec::H265,
            Inner::Mpeg2Video(_) => Codec::Mpeg2Video,
            Inner::Audio(framer) => framer.codec(),
            Inner::Whole(framer) => framer.codec(),
        }
    }

    /// Takes one PES payload and emits the samples that it completes.
    ///
    /// The last picture of the payload is among them only when its end is known: for that the stream must have shown several
    /// payloads that begin with an access unit, fewer where they say so (`aligned`). Where the PES packet's end was only found by the start
    /// of the next one (PES_packet_length 0), [`Framer::push_followed`] is sure and as prompt.
    pub fn push(&mut self, pes: PesPayload<'_>, emit: &mut dyn FnMut(Frame<'_>)) {
        self.take(pes, None, emit);
    }

    /// Like [`Framer::push`] when the next payload of the track has already begun with `next_head` (those of its bytes that
    /// are in its first transport packet): the last picture is emitted at once if another begins there.
    pub fn push_followed(&mut self, pes: PesPayload<'_>, next_head: &[u8], emit: &mut dyn FnMut(Frame<'_>)) {
        self.take(pes, Some(next_head), emit);
    }

    fn take(&mut self, pes: PesPayload<'_>, next_head: Option<&[u8]>, emit: &mut dyn FnMut(Frame<'_>)) {
        match &mut self.inner {
            Inner::H264(framer) => framer.push(pes, next_head, emit),
            Inner::H265(framer) => framer.push(pes, next_head, emit),
            Inner::Mpeg2Video(framer) => framer.push(pes, next_head, emit),
            Inner::Audio(framer) => framer.push(pes, emit),
            Inner::Whole(framer) => framer.push(pes, emit),
        }
    }

    /// End of stream or a break: emits what is complete, forgets the rest but keeps the parameters.
    pub fn flush(&mut self, emit: &mut dyn FnMut(Frame<'_>)) {
        each!(&mut self.inner, framer => framer.flush(emit))
    }

    /// Parameters in force for the sample emitted last, `None` until known.
    pub fn params(&self) -> Option<&Params> {
        each!(&self.inner, framer => framer.params())
    }

    /// [`Frame::params_version`] of the sample emitted last.
    pub fn params_version(&self) -> u32 {
        each!(&self.inner, framer => framer.params_version())
    }

    pub fn stats(&self) -> FramerStats {
        each!(&self.inner, framer => framer.stats())
    }

    /// Capacity of what holds access units in progress, bytes: at most 4 x [`PES_BYTES_MAX`](crate::limits::PES_BYTES_MAX),
    /// as an access unit and a payload of that size may meet in a buffer that doubles.
    pub fn memory_bytes(&self) -> usize {
        each!(&self.inner, framer => framer.memory_bytes())
    }
}

/// Gives the memory of a buffer back that one large access unit made grow.
fn give_back(carry: &mut Vec<u8>) {
    if carry.capacity() > PES_BUFFER_KEPT_BYTES && carry.len() < carry.capacity() / 4 {
        carry.shrink_to(PES_BUFFER_KEPT_BYTES);
    }
}
