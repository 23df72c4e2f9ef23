//! The elementary-stream vocabulary: codec, track, sample. Everything between demux and packagers speaks in these words.
//!
//! A *sample* is one access unit with its time stamps. Its bytes are kept **as the source sent them**: Annex B for H.264
//! and H.265, ADTS frames for AAC (LATM is rewritten to ADTS at ingest), whole sync frames for AC-3, E-AC-3 and MPEG audio, Opus packets
//! behind their control header.
//! So TS to TS is byte-exact, and a packager that wants another framing (CMAF) derives it.
//!
//! What it deliberately does not do: decode pictures or sound.
#![forbid(unsafe_code)]

pub mod aac;
pub mod ac3;
pub mod av1;
pub(crate) mod bits;
pub mod carriage;
pub mod encoding;
pub mod flac;
pub mod framer;
pub mod h264;
pub mod h265;
pub mod language;
pub mod latm;
pub mod mpeg2video;
pub mod mpegaudio;
pub mod nal;
pub mod opus;
pub(crate) mod picture;
pub mod rendition;
pub mod selection;
pub mod vp8;
pub mod vp9;

use crate::time::MediaTime;
use bytes::Bytes;

/// What a track's bytes are. Data codecs travel TS to TS only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Codec {
    /// ISO/IEC 14496-10, Annex B.
    H264,
    /// ISO/IEC 23008-2, Annex B.
    H265,
    /// ISO/IEC 13818-2 (and 11172-2).
    Mpeg2Video,
    /// AOMedia AV1, low-overhead OBU stream.
    Av1,
    /// VP9 frames.
    Vp9,
    /// VP8 frames.
    Vp8,
    /// ISO/IEC 14496-3 in ADTS frames.
    Aac,
    /// ISO/IEC 11172-3 / 13818-3 layer I or II.
    Mp2,
    /// ISO/IEC 11172-3 / 13818-3 layer III.
    Mp3,
    /// ETSI TS 102 366.
    Ac3,
    /// ETSI TS 102 366 Annex E.
    Eac3,
    /// RFC 6716.
    Opus,
    /// RFC 9639.
    Flac,
    /// ETSI EN 300 472, PES payload.
    Teletext,
    /// ETSI EN 300 743, PES payload.
    DvbSubtitle,
    /// ANSI/SCTE 35 splice_info_section, whole section.
    Scte35,
    /// A PES stream that is not understood, kept for TS to TS.
    PrivatePes,
}

const _: () = {
    let mut index = 0;
    while index < Codec::ALL.len() {
        assert!(Codec::ALL[index] as usize == index);
        index += 1;
    }
    assert!(Codec::PrivatePes as usize + 1 == Codec::ALL.len());
};

/// What a track is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TrackKind {
    Video,
    Audio,
    Data,
}

impl Codec {
    /// Each codec once, in the order of their declaration.
    pub const ALL: [Codec; 17] = {
        use Codec::*;
        [
            H264,
            H265,
            Mpeg2Video,
            Av1,
            Vp9,
            Vp8,
            Aac,
            Mp2,
            Mp3,
            Ac3,
            Eac3,
            Opus,
            Flac,
            Teletext,
            DvbSubtitle,
            Scte35,
            PrivatePes,
        ]
    };

    /// Whether the codec is video, audio or data.
    pub fn kind(self) -> TrackKind {
        use Codec::*;
        match self {
            H264 | H265 | Mpeg2Video | Av1 | Vp9 | Vp8 => TrackKind::Video,
            Aac | Mp2 | Mp3 | Ac3 | Eac3 | Opus | Flac => TrackKind::Audio,
            Teletext | DvbSubtitle | Scte35 | PrivatePes => TrackKind::Data,
        }
    }
    /// Lower-case name as it stands in the API, metrics and URLs.
    pub fn name(self) -> &'static str {
        use Codec::*;
        match self {
            H264 => "h264",
            H265 => "h265",
            Mpeg2Video => "mpeg2",
            Av1 => "av1",
            Vp9 => "vp9",
            Vp8 => "vp8",
            Aac => "aac",
            Mp2 => "mp2",
            Mp3 => "mp3",
            Ac3 => "ac3",
            Eac3 => "eac3",
            Opus => "opus",
            Flac => "flac",
            Teletext => "teletext",
            DvbSubtitle => "dvbsub",
            Scte35 => "scte35",
            PrivatePes => "private",
        }
    }
}

/// How a sample may be entered at. Ordered: a better entry point is greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Key {
    /// Depends on earlier samples.
    #[default]
    None,
    /// Open GOP or recovery point: pictures are whole from here on after a while (H.264 recovery point SEI, H.265 CRA, MPEG-2 I with open GOP).
    RecoveryPoint,
    /// Nothing after this sample needs anything before it: IDR, IRAP that starts clean, MPEG-2 I with closed GOP, every audio sample.
    Idr,
}

/// Index of a track within its channel's session, 0 .. [`crate::limits::TRACKS_MAX`]. Stable while the source's track list keeps the stream;
/// not reused within an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrackId(pub u16);

/// Audience of an audio track (ISO/IEC 13818-1 2.6.18 audio_type; DVB supplementary audio).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum AudioRole {
    #[default]
    Main,
    CleanEffects,
    HearingImpaired,
    /// Audio description: never picked by default.
    VisualImpaired,
}

/// One track of a channel, as the demuxer or a transcoder describes it. A change of anything here is a new description,
/// which travels through the ES ring in sequence with the samples it holds for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Track {
    pub id: TrackId,
    pub codec: Codec,
    /// ISO 639-2 code, lower case; `None` when the source names none.
    pub language: Option<[u8; 3]>,
    pub role: AudioRole,
    /// PID, stream type and descriptors that a TS packager carries on.
    pub ts: TsStream,
    /// What the parameter sets or frame headers said; `None` until they arrived.
    pub params: Option<Params>,
}

impl Track {
    pub fn kind(&self) -> TrackKind {
        self.codec.kind()
    }
}

/// The MPEG-TS side of a track.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TsStream {
    /// PID in the source, 0x0010 ..= 0x1ffe; kept in the output where it does not clash.
    pub pid: u16,
    /// stream_type to write into our PMT (ISO/IEC 13818-1 table 2-34).
    pub stream_type: u8,
    /// ES descriptor loop, verbatim, at most [`crate::limits::DESCRIPTORS_BYTES_MAX`] bytes.
    pub descriptors: Bytes,
    /// PES stream_id of the source (2.4.3.7), written back out.
    pub stream_id: u8,
}

/// Decoder configuration of a track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Params {
    Video(VideoParams),
    Audio(AudioParams),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoParams {
    /// Display size in pixels after cropping.
    pub width: u32,
    pub height: u32,
    /// Pixel aspect ratio, (1, 1) when unknown.
    pub sar: (u32, u32),
    /// Frames a second as a fraction, `None` when the stream does not say.
    pub frame_rate: Option<(u32, u32)>,
    /// Field-coded or interlaced.
    pub interlaced: bool,
    /// RFC 6381 string, for example `avc1.64001f`.
    pub rfc6381: String,
    /// Parameter sets without start codes, in order: SPS, PPS (H.264); VPS, SPS, PPS (H.265). For MPEG-2 one entry: the
    /// sequence header and its extensions, each with its start code (as in a DecoderSpecificInfo, ISO/IEC 14496-1 7.2.6.7). For AV1 one: the
    /// sequence header OBU with its size. For VP9 one: the VPCodecConfigurationRecord.
    pub parameter_sets: Vec<Bytes>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioParams {
    /// Hz, of the core stream (without SBR).
    pub sample_rate: u32,
    pub channels: u8,
    /// PCM samples of one frame at `sample_rate`: 1024 (AAC), 1152, 384, 1536, ...
    pub frame_samples: u32,
    /// RFC 6381 string, for example `mp4a.40.2`, `ac-3`.
    pub rfc6381: String,
    /// AudioSpecificConfig (AAC), the body of the `dac3`, `dec3` or `dOps` box, STREAMINFO (FLAC); empty when the codec has none.
    pub config: Bytes,
}

/// Time stamps and flags of one sample on the output timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampleMeta {
    pub pts: MediaTime,
    /// Never after `pts`; strictly grows from sample to sample of a track unless `discontinuity` is set.
    pub dts: MediaTime,
    pub key: Key,
    /// The timeline broke before this sample: packagers signal it.
    pub discontinuity: bool,
    /// Bytes of framing in front of the raw frame (7 to 15 for ADTS, from 3 for Opus), 0 otherwise.
    pub header_len: u8,
    /// The sample lost bytes at ingest (continuity error, truncated PES).
    pub corrupt: bool,
    /// The source's PCR when this sample's last byte arrived, on the output timeline; `None` when the source sends none.
    pub pcr: Option<MediaTime>,
}
