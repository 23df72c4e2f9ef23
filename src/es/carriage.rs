//! Which container carries which codec.
//!
//! What it deliberately does not do: know whether a client can decode it.
#![forbid(unsafe_code)]

use super::Codec;

/// What samples are muxed into. Each is muxed once a channel, for all the formats that are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Container {
    /// ISO/IEC 13818-1: HLS with TS segments and continuous MPEG-TS.
    Ts,
    /// ISO/IEC 23000-19 (CMAF): HLS with fMP4 segments and DASH.
    Cmaf,
}

impl Container {
    pub const ALL: [Container; 2] = [Container::Ts, Container::Cmaf];

    /// Whether the container has a mapping for the codec that players know.
    ///
    /// TS: ISO/IEC 13818-1, ETSI TS 101 154, the AV1 and Opus mappings. CMAF: ISO/IEC 14496-12 and -15, ETSI TS 102 366 Annex F, the
    /// Opus, FLAC, VP and AV1 bindings. MPEG-2 video and layer II audio have ISO BMFF mappings (14496-14), but no CMAF media profile and
    /// no player of HLS-fMP4 or DASH that takes them.
    pub fn carries(self, codec: Codec) -> bool {
        use Codec::*;
        match self {
            Container::Ts => !matches!(codec, Vp8 | Vp9 | Flac),
            Container::Cmaf => matches!(codec, H264 | H265 | Av1 | Vp9 | Vp8 | Aac | Mp3 | Ac3 | Eac3 | Opus | Flac),
        }
    }

    /// Whether what is encoded to the codec goes into the container: AV1 in TS is carried on as a source sends it, but not written anew.
    pub fn carries_encoded(self, codec: Codec) -> bool {
        self.carries(codec) && !(self == Container::Ts && codec == Codec::Av1)
    }
}
