//! What an elementary stream is, by stream_type (ISO/IEC 13818-1 table 2-34 and registrations) and descriptors (2.6, ETSI EN 300 468).
//!
//! What it deliberately does not do: look at the stream itself; a framer that finds another codec wins over this.

use crate::es::opus::ChannelMapping;
use crate::es::{AudioRole, Codec};
use crate::mpegts::psi;

const TAG_REGISTRATION: u8 = 0x05;
const TAG_ISO_639_LANGUAGE: u8 = 0x0a;
const TAG_VBI_TELETEXT: u8 = 0x46;
const TAG_TELETEXT: u8 = 0x56;
const TAG_SUBTITLING: u8 = 0x59;
const TAG_AC3: u8 = 0x6a;
const TAG_EAC3: u8 = 0x7a;
const TAG_AAC: u8 = 0x7c;
const TAG_EXTENSION: u8 = 0x7f;
/// descriptor_tag_extension of supplementary_audio_descriptor (EN 300 468 6.4.11).
const TAG_EXT_SUPPLEMENTARY_AUDIO: u8 = 0x06;
/// descriptor_tag_extension of opus_audio_descriptor (Opus in MPEG-TS, table 4-2).
const TAG_EXT_OPUS: u8 = 0x80;

/// The codec of a PMT entry; `None` for sections that the relay does not carry on: DSM-CC, AIT, other private tables.
pub(super) fn codec(stream_type: u8, descriptors: &[u8], program_descriptors: &[u8]) -> Option<Codec> {
    let blu_ray = registration(program_descriptors) == Some(*b"HDMV");
    Some(match stream_type {
        0x01 | 0x02 => Codec::Mpeg2Video,
        0x03 | 0x04 => Codec::Mp2,
        0x0f | 0x11 => Codec::Aac,
        0x1b => Codec::H264,
        0x24 => Codec::H265,
        0x81 => Codec::Ac3,
        0x87 => Codec::Eac3,
        0x84 | 0xa1 if blu_ray => Codec::Eac3,
        0x86 if !blu_ray => Codec::Scte35,
        // private_sections, DSM-CC, auxiliary, metadata and carousel sections, IPMP: tables, not PES.
        0x05 | 0x08 | 0x0a..=0x0d | 0x13 | 0x14 | 0x16..=0x18 | 0x1a | 0x7f => return None,
        _ => private(descriptors),
    })
}

/// The codec of a private PES stream, by its descriptors.
fn private(descriptors: &[u8]) -> Codec {
    let by_registration = registration(descriptors).and_then(|id| match &id {
        b"AC-3" => Some(Codec::Ac3),
        b"EAC3" => Some(Codec::Eac3),
        b"HEVC" => Some(Codec::H265),
        b"Opus" => Some(Codec::Opus),
        b"AV01" => Some(Codec::Av1),
        _ => None,
    });
    let by_tag = || {
        psi::descriptors(descriptors).find_map(|(tag, _)| match tag {
            TAG_AC3 => Some(Codec::Ac3),
            TAG_EAC3 => Some(Codec::Eac3),
            TAG_AAC => Some(Codec::Aac),
            TAG_TELETEXT | TAG_VBI_TELETEXT => Some(Codec::Teletext),
            TAG_SUBTITLING => Some(Codec::DvbSubtitle),
            _ => None,
        })
    };
    by_registration.or_else(by_tag).unwrap_or(Codec::PrivatePes)
}

/// The stream_type that fits the bytes as samples carry them, where the source declared `declared`.
pub(super) fn output_stream_type(codec: Codec, declared: u8) -> u8 {
    match codec {
        Codec::Aac => 0x0f, // LATM was rewritten to ADTS; some encoders declare AAC as MPEG audio
        Codec::Mp2 | Codec::Mp3 if !matches!(declared, 0x03 | 0x04) => 0x04,
        Codec::Ac3 if declared != 0x06 => 0x81,
        Codec::Eac3 if declared != 0x06 => 0x87,
        Codec::H264 => 0x1b,
        Codec::H265 => 0x24,
        _ => declared,
    }
}

/// ISO 639-2 code of the first descriptor that names one, lower case; `und` counts as none.
pub(super) fn language(descriptors: &[u8]) -> Option<[u8; 3]> {
    let named = |tag, body: &[u8]| {
        let code = match tag {
            TAG_ISO_639_LANGUAGE | TAG_TELETEXT | TAG_VBI_TELETEXT | TAG_SUBTITLING => body.first_chunk(),
            // descriptor_tag_extension, then flags whose lowest bit is language_code_present
            TAG_EXTENSION => match body {
                [TAG_EXT_SUPPLEMENTARY_AUDIO, flags, code @ ..] if flags & 1 != 0 => code.first_chunk(),
                _ => None,
            },
            _ => None,
        };
        let code: [u8; 3] = code?.map(|b: u8| b.to_ascii_lowercase());
        (code.iter().all(u8::is_ascii_lowercase) && &code != b"und").then_some(code)
    };
    psi::descriptors(descriptors).find_map(|(tag, body)| named(tag, body))
}

/// Whom an audio track is for.
pub(super) fn audio_role(descriptors: &[u8]) -> AudioRole {
    let role = psi::descriptors(descriptors).find_map(|(tag, body)| match (tag, body) {
        (TAG_ISO_639_LANGUAGE, [_, _, _, audio_type, ..]) => match audio_type {
            0x01 => Some(AudioRole::CleanEffects),
            0x02 => Some(AudioRole::HearingImpaired),
            0x03 => Some(AudioRole::VisualImpaired),
            _ => None,
        },
        // mix_type, 5 bits of editorial_classification, reserved, language_code_present
        (TAG_EXTENSION, [TAG_EXT_SUPPLEMENTARY_AUDIO, flags, ..]) => match flags >> 2 & 0x1f {
            1 | 3 => Some(AudioRole::VisualImpaired), // audio description; spoken subtitles
            2 => Some(AudioRole::HearingImpaired),
            _ => None,
        },
        _ => None,
    });
    match (role, language(descriptors)) {
        (Some(role), _) => role,
        // French DTT marks audio description by this code alone.
        (None, Some(code)) if &code == b"qad" => AudioRole::VisualImpaired,
        _ => AudioRole::Main,
    }
}

/// What an opus_audio_descriptor says of the channels: stereo where there is none, `None` where it is reserved (FFmpeg writes 0xff for
/// channels that it cannot describe).
pub(super) fn opus_mapping(descriptors: &[u8]) -> Option<ChannelMapping> {
    let described = psi::descriptors(descriptors).find_map(|(tag, body)| match (tag, body) {
        (TAG_EXTENSION, [TAG_EXT_OPUS, rest @ ..]) => Some(ChannelMapping::of_descriptor(rest)),
        _ => None,
    });
    described.unwrap_or_else(|| Some(ChannelMapping::default()))
}

/// format_identifier of the first registration_descriptor.
fn registration(descriptors: &[u8]) -> Option<[u8; 4]> {
    psi::descriptors(descriptors).find(|d| d.0 == TAG_REGISTRATION).and_then(|d| d.1.first_chunk().copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_types_and_private_descriptors() {
        let registered = |id: &[u8; 4]| [&[0x05, 4][..], id].concat();
        assert_eq!(codec(0x1b, &[], &[]), Some(Codec::H264));
        assert_eq!(codec(0x11, &[], &[]), Some(Codec::Aac));
        assert_eq!(codec(0x06, &[0x6a, 1, 0], &[]), Some(Codec::Ac3));
        assert_eq!(codec(0x06, &[0x52, 1, 7, 0x7a, 1, 0], &[]), Some(Codec::Eac3));
        assert_eq!(codec(0x06, &registered(b"HEVC"), &[]), Some(Codec::H265));
        assert_eq!(codec(0x06, &registered(b"DTS1"), &[]), Some(Codec::PrivatePes));
        assert_eq!(codec(0x06, &[0x56, 5, b'd', b'e', b'u', 9, 0], &[]), Some(Codec::Teletext));
        assert_eq!(codec(0x06, &[0x59, 0], &[]), Some(Codec::DvbSubtitle));
        assert_eq!(codec(0x82, &[], &[]), Some(Codec::PrivatePes));
        for sections in [0x05, 0x0a, 0x0b, 0x0c, 0x0d] {
            assert_eq!(codec(sections, &[], &[]), None);
        }
    }

    #[test]
    fn opus_channels() {
        // registration 'Opus'; extension, 2 bytes: opus_audio_descriptor, channel_config_code 6
        let mapping = opus_mapping(b"\x05\x04Opus\x7f\x02\x80\x06").unwrap();
        assert_eq!((mapping.channels, mapping.streams), (6, 4));
        assert_eq!(opus_mapping(b"\x05\x04Opus\x7f\x02\x06\x06"), Some(ChannelMapping::default()));
        assert_eq!(opus_mapping(b"\x05\x04Opus\x7f\x02\x80\xff"), None);
    }

    #[test]
    fn type_86_is_a_splice_or_dts_by_the_programme() {
        assert_eq!(codec(0x86, &[], b"\x05\x04CUEI"), Some(Codec::Scte35));
        assert_eq!(codec(0x86, &[], &[]), Some(Codec::Scte35));
        assert_eq!(codec(0x86, &[], b"\x05\x04HDMV"), Some(Codec::PrivatePes));
    }

    #[test]
    fn output_types_follow_the_bytes() {
        assert_eq!(output_stream_type(Codec::Aac, 0x11), 0x0f);
        assert_eq!(output_stream_type(Codec::Aac, 0x03), 0x0f);
        assert_eq!(output_stream_type(Codec::Mp2, 0x03), 0x03);
        assert_eq!(output_stream_type(Codec::Eac3, 0x06), 0x06);
        assert_eq!(output_stream_type(Codec::Eac3, 0x81), 0x87);
        assert_eq!(output_stream_type(Codec::PrivatePes, 0x82), 0x82);
    }

    #[test]
    fn languages_and_roles() {
        assert_eq!(language(b"\x0a\x04DEU\x00"), Some(*b"deu"));
        assert_eq!(language(b"\x0a\x04und\x00"), None);
        assert_eq!(language(b"\x0a\x04\x00\x00\x00\x00\x59\x08fra\x10\x00\x01\x00\x01"), Some(*b"fra"));
        assert_eq!(audio_role(b"\x0a\x04eng\x03"), AudioRole::VisualImpaired);
        assert_eq!(audio_role(b"\x0a\x04eng\x00"), AudioRole::Main);
        // supplementary_audio_descriptor: mix_type 1, editorial_classification 1, reserved 1, language_code_present 1
        let supplementary = b"\x7f\x05\x06\x87eng";
        assert_eq!((audio_role(supplementary), language(supplementary)), (AudioRole::VisualImpaired, Some(*b"eng")));
        assert_eq!(audio_role(b"\x0a\x04qad\x00"), AudioRole::VisualImpaired);
    }
}
