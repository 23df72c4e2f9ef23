//! What an encoder made, as a [`Track`]: codec, size, codec string and parameter sets, read from its own output by the parsers that read sources.

use crate::es::framer;
use crate::es::opus::ChannelMapping;
use crate::es::{Codec, Params, Track, TsStream, VideoParams, aac, ac3, av1, mpegaudio, vp8, vp9};
use bytes::Bytes;

/// What of an encoder's picture is known beside its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub codec: Codec,
    /// The encoder's extradata.
    pub head: &'a [u8],
    /// Its first access unit, a key.
    pub unit: &'a [u8],
    pub frame_rate: (u32, u32),
    pub sar: (u32, u32),
}

/// The track of an encoded picture; `None` when its bytes say too little.
pub fn picture(source: &Track, picture: &Picture<'_>) -> Option<Track> {
    let params = match picture.codec {
        Codec::Vp9 => vp9::params(picture.unit, Some(picture.frame_rate)),
        Codec::Vp8 => vp8::params(picture.unit),
        // The extradata is an av1C box's body: four bytes, then the sequence header.
        Codec::Av1 => av1::params(picture.unit).or_else(|| av1::params(picture.head.get(4..)?)),
        codec => framer::params_of(codec, &[picture.head, picture.unit].concat()),
    }?;
    let params = VideoParams { frame_rate: Some(picture.frame_rate), sar: picture.sar, ..params };
    Some(track(source, picture.codec, Params::Video(params)))
}

/// The track of encoded sound; `unit`: its first access unit, framed as samples are, with `header_len` bytes of framing; `channels`: what
/// was encoded.
pub fn sound(source: &Track, codec: Codec, unit: &[u8], header_len: u8, channels: u32) -> Option<Track> {
    let params = match codec {
        Codec::Aac => aac::params(unit),
        Codec::Opus => opus_mapping(channels).params(unit.get(header_len as usize..)?),
        Codec::Mp2 | Codec::Mp3 => mpegaudio::params(unit),
        Codec::Ac3 | Codec::Eac3 => ac3::params(unit),
        _ => None,
    }?;
    Some(track(source, codec, Params::Audio(params)))
}

fn track(source: &Track, codec: Codec, params: Params) -> Track {
    let ts = ts_stream(&source.ts, codec, &params);
    Track { id: source.id, codec, language: source.language, role: source.role, ts, params: Some(params) }
}

/// How the encoder's channels lie in its streams: as [`ChannelMapping::of_descriptor`] reads what [`ts_stream`] writes.
fn opus_mapping(channels: u32) -> ChannelMapping {
    ChannelMapping::of_descriptor(&[channels.clamp(1, 8) as u8]).unwrap_or_default()
}

const TAG_REGISTRATION: u8 = 0x05;
const TAG_ISO_639_LANGUAGE: u8 = 0x0a;
const TAG_EXTENSION: u8 = 0x7f;
const TAG_EXT_SUPPLEMENTARY_AUDIO: u8 = 0x06;
const TAG_EXT_OPUS: u8 = 0x80;

/// The TS side of an encoded track: the source's PID, and a stream_type with descriptors that say what it is now. 0 for codecs that TS has no mapping
/// for, or none that millrace writes (AV1).
fn ts_stream(source: &TsStream, codec: Codec, params: &Params) -> TsStream {
    const VIDEO: u8 = 0xe0;
    const AUDIO: u8 = 0xc0;
    const PRIVATE_1: u8 = 0xbd;
    let registration = |id: &[u8; 4]| [&[TAG_REGISTRATION, 4][..], id].concat();
    let (stream_type, stream_id, own) = match codec {
        Codec::H264 => (0x1b, VIDEO, Vec::new()),
        Codec::H265 => (0x24, VIDEO, registration(b"HEVC")),
        Codec::Mpeg2Video => (0x02, VIDEO, Vec::new()),
        Codec::Aac => (0x0f, AUDIO, Vec::new()),
        Codec::Mp2 | Codec::Mp3 => (0x03, AUDIO, Vec::new()),
        Codec::Ac3 => (0x81, PRIVATE_1, registration(b"AC-3")),
        Codec::Eac3 => (0x87, PRIVATE_1, registration(b"EAC3")),
        Codec::Opus => {
            let channels = match params {
                Params::Audio(audio) => audio.channels,
                Params::Video(_) => 2,
            };
            (0x06, PRIVATE_1, [registration(b"Opus"), vec![TAG_EXTENSION, 2, TAG_EXT_OPUS, channels]].concat())
        }
        _ => (0, PRIVATE_1, Vec::new()),
    };
    let mut descriptors = own;
    for descriptor in source_descriptors(&source.descriptors) {
        // What says whom it is for, and in which language; all else was of the source's codec.
        let stays = match *descriptor {
            [TAG_ISO_639_LANGUAGE, ..] => true,
            [TAG_EXTENSION, _, extension, ..] => extension == TAG_EXT_SUPPLEMENTARY_AUDIO,
            _ => false,
        };
        if stays {
            descriptors.extend_from_slice(descriptor);
        }
    }
    TsStream { pid: source.pid, stream_type, descriptors: Bytes::from(descriptors), stream_id }
}

/// The descriptors of a loop, each with its tag and length (ISO/IEC 13818-1 2.6).
fn source_descriptors(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = usize::from(*rest.get(1)?) + 2;
        let (descriptor, after) = rest.split_at_checked(length)?;
        rest = after;
        Some(descriptor)
    })
}
