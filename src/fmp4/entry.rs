//! Sample entries (ISO/IEC 14496-12 8.5.2, 12.1.3, 12.2.3), and the configuration boxes of audio; those of video are in `avc.rs`,
//! `hevc.rs`, `av1.rs` and here (VP9).
//!
//! What it deliberately does not do: sample groups. The pre-roll of Opus (`roll`, Opus in ISOBMFF 4.3.6.2) has no effect in a live stream, where
//! each player begins at a segment and drops what it cannot decode.

use super::boxes::{put_u16, put_u32, write_box, write_full_box};
use super::init::InitError;
use super::{av1, avc, hevc};
use crate::es::aac;
use crate::es::flac::{self, STREAM_INFO_BYTES};
use crate::es::picture::Colour;
use crate::es::{AudioParams, Codec, Params, Track, VideoParams};

/// The sample entry of the track, a whole box.
pub fn sample_entry(track: &Track) -> Result<Vec<u8>, InitError> {
    use Codec::*;
    match (track.codec, &track.params) {
        (H264 | H265 | Av1 | Vp9 | Vp8, Some(Params::Video(params))) => visual_entry(track.codec, params),
        (Aac | Mp3 | Ac3 | Eac3 | Opus | Flac, Some(Params::Audio(params))) => audio_entry(track.codec, params),
        (H264 | H265 | Av1 | Vp9 | Vp8 | Aac | Mp3 | Ac3 | Eac3 | Opus | Flac, _) => {
            Err(InitError::Params("none have come yet"))
        }
        (codec, _) => Err(InitError::Codec(codec.name())),
    }
}

/// A codec configuration box, and what colr says where the stream does.
pub struct VideoConfig {
    /// The whole configuration box.
    pub config_box: Vec<u8>,
    pub colour: Option<Colour>,
}

fn visual_entry(codec: Codec, params: &VideoParams) -> Result<Vec<u8>, InitError> {
    let (kind, config) = match codec {
        Codec::H264 => (b"avc1", avc::config(&params.parameter_sets)?),
        Codec::H265 => (b"hvc1", hevc::config(&params.parameter_sets)?),
        Codec::Av1 => (b"av01", av1::config(&params.parameter_sets)?),
        Codec::Vp8 => (b"vp08", vp9_config(params)?),
        _ => (b"vp09", vp9_config(params)?),
    };
    let mut out = Vec::with_capacity(256);
    write_box(&mut out, kind, |out| {
        write_entry_head(out);
        out.extend_from_slice(&[0; 2 + 2 + 12]); // pre_defined, reserved, pre_defined
        put_u16(out, clamped(params.width));
        put_u16(out, clamped(params.height));
        put_u32(out, 0x0048_0000); // horizresolution, 72 dpi in 16.16
        put_u32(out, 0x0048_0000); // vertresolution
        put_u32(out, 0); // reserved
        put_u16(out, 1); // frame_count
        out.extend_from_slice(&[0; 32]); // compressorname
        put_u16(out, 0x0018); // depth: colour without alpha
        put_u16(out, 0xffff); // pre_defined, -1
        out.extend_from_slice(&config.config_box);
        write_colour(config.colour, out);
        write_pixel_aspect_ratio(params.sar, out);
    });
    Ok(out)
}

/// The fields of SampleEntry, 8.5.2.
fn write_entry_head(out: &mut Vec<u8>) {
    out.extend_from_slice(&[0; 6]); // reserved
    put_u16(out, 1); // data_reference_index
}

fn clamped(value: u32) -> u16 {
    u16::try_from(value).unwrap_or(u16::MAX)
}

/// ColourInformationBox, 12.1.5, of type nclx; CMAF has it where the stream says what it holds (23000-19 9.2.3).
fn write_colour(colour: Option<Colour>, out: &mut Vec<u8>) {
    let Some(colour) = colour else { return };
    write_box(out, b"colr", |out| {
        out.extend_from_slice(b"nclx"); // colour_type
        put_u16(out, colour.primaries.into());
        put_u16(out, colour.transfer.into());
        put_u16(out, colour.matrix.into());
        out.push((colour.full_range as u8) << 7); // full_range_flag, reserved (7)
    });
}

/// PixelAspectRatioBox, 12.1.4. None for square pixels, which is what players take absence for.
fn write_pixel_aspect_ratio((horizontal, vertical): (u32, u32), out: &mut Vec<u8>) {
    if horizontal == vertical || horizontal == 0 || vertical == 0 {
        return;
    }
    write_box(out, b"pasp", |out| {
        put_u32(out, horizontal); // hSpacing
        put_u32(out, vertical); // vSpacing
    });
}

/// VPCodecConfigurationBox (VP Codec ISO Media File Format Binding 1.0), version 1. The record comes as parameter set: profile, level,
/// bitDepth (4) chromaSubsampling (3) videoFullRangeFlag (1), colourPrimaries, transferCharacteristics, matrixCoefficients, and
/// codecInitializationDataSize (16), which is 0.
fn vp9_config(params: &VideoParams) -> Result<VideoConfig, InitError> {
    let record = params.parameter_sets.first().map(|set| &set[..]);
    let Some(&[_, _, depth, primaries, transfer, matrix, _, _]) = record else {
        return Err(InitError::Params("VPCodecConfigurationRecord"));
    };
    let mut config_box = Vec::new();
    write_full_box(&mut config_box, b"vpcC", 1, 0, |out| out.extend_from_slice(record.unwrap_or_default()));
    let colour = Colour { primaries, transfer, matrix, full_range: depth & 1 == 1 };
    Ok(VideoConfig { config_box, colour: colour.is_specified().then_some(colour) })
}

fn audio_entry(codec: Codec, params: &AudioParams) -> Result<Vec<u8>, InitError> {
    let kind = match codec {
        Codec::Ac3 => b"ac-3",
        Codec::Eac3 => b"ec-3",
        Codec::Opus => b"Opus",
        Codec::Flac => b"fLaC",
        _ => b"mp4a",
    };
    check_audio_config(codec, params)?;
    let mut out = Vec::with_capacity(128);
    write_box(&mut out, kind, |out| {
        write_entry_head(out);
        out.extend_from_slice(&[0; 8]); // reserved
        // What the frames say counts; where they leave it to a program config element that was not read, two as 14496-14 has it.
        put_u16(out, if params.channels == 0 { 2 } else { params.channels.into() }); // channelcount
        put_u16(out, if codec == Codec::Flac { flac::bits_per_sample(&params.config).into() } else { 16 }); // samplesize
        put_u16(out, 0); // pre_defined
        put_u16(out, 0); // reserved
        put_u32(out, (entry_rate(codec, params.sample_rate) as u32) << 16); // samplerate, 16.16
        write_audio_config(codec, params, out);
    });
    Ok(out)
}

/// The rate that fits 16 bits: itself; 0 for a greater one, where the timescale and the decoder's configuration say it; for FLAC the
/// greatest regular fraction (Encapsulation of FLAC in ISOBMFF 3.3.2).
fn entry_rate(codec: Codec, sample_rate: u32) -> u16 {
    match u16::try_from(sample_rate) {
        Ok(rate) => rate,
        Err(_) if codec == Codec::Flac => (2..16)
            .filter(|&by| sample_rate.is_multiple_of(by))
            .find_map(|by| u16::try_from(sample_rate / by).ok())
            .unwrap_or(0),
        Err(_) => 0,
    }
}

/// Fewest bytes of `dOps` (Opus in ISOBMFF 4.3.2), `dac3` (ETSI TS 102 366 F.4) and `dec3` (F.6).
const DOPS_BYTES_MIN: usize = 11;
const DAC3_BYTES: usize = 3;
const DEC3_BYTES_MIN: usize = 5;

fn check_audio_config(codec: Codec, params: &AudioParams) -> Result<(), InitError> {
    let len = params.config.len();
    match codec {
        Codec::Aac if !(2..=DESCRIPTOR_BYTES_MAX).contains(&len) => Err(InitError::Params("AudioSpecificConfig")),
        // Several raw data blocks behind one ADTS header are several access units, whose ends only a decoder finds.
        Codec::Aac if params.frame_samples != aac::BLOCK_SAMPLES => {
            Err(InitError::Params("ADTS frames of several blocks are not carried"))
        }
        Codec::Ac3 if len != DAC3_BYTES => Err(InitError::Params("AC3SpecificBox")),
        Codec::Eac3 if len < DEC3_BYTES_MIN => Err(InitError::Params("EC3SpecificBox")),
        Codec::Opus if len < DOPS_BYTES_MIN => Err(InitError::Params("OpusSpecificBox")),
        Codec::Flac if len != STREAM_INFO_BYTES => Err(InitError::Params("STREAMINFO")),
        _ if params.sample_rate == 0 => Err(InitError::Params("no sampling rate")),
        _ => Ok(()),
    }
}

fn write_audio_config(codec: Codec, params: &AudioParams, out: &mut Vec<u8>) {
    match codec {
        // AC3SpecificBox and EC3SpecificBox, ETSI TS 102 366 F.4 and F.6
        Codec::Ac3 => write_box(out, b"dac3", |out| out.extend_from_slice(&params.config)),
        Codec::Eac3 => write_box(out, b"dec3", |out| out.extend_from_slice(&params.config)),
        // OpusSpecificBox, Opus in ISOBMFF 4.3.2
        Codec::Opus => write_box(out, b"dOps", |out| out.extend_from_slice(&params.config)),
        // FLACSpecificBox, Encapsulation of FLAC in ISOBMFF 3.3.2: one metadata block, with its header (RFC 9639 8.1)
        Codec::Flac => write_full_box(out, b"dfLa", 0, 0, |out| {
            put_u32(out, 0x8000_0000 | STREAM_INFO_BYTES as u32); // the last block (1), STREAMINFO 0 (7), length (24)
            out.extend_from_slice(&params.config);
        }),
        _ => write_full_box(out, b"esds", 0, 0, |out| write_es_descriptor(codec, params, out)),
    }
}

/// objectTypeIndication (ISO/IEC 14496-1 table 5): Audio ISO/IEC 14496-3, 13818-3 (half and quarter rates), 11172-3.
const OBJECT_TYPE_AAC: u8 = 0x40;
const OBJECT_TYPE_MPEG2_AUDIO: u8 = 0x69;
const OBJECT_TYPE_MPEG1_AUDIO: u8 = 0x6b;
/// Lowest sampling rate of MPEG-1 audio, Hz.
const MPEG1_RATE_MIN: u32 = 32_000;

/// Longest decoder specific info: its size, and that of the descriptors around it, then fits the seven bits of one size byte.
const DESCRIPTOR_BYTES_MAX: usize = 0x7f - 32;

/// ES_Descriptor, 14496-1 7.2.6.5, with the values of 14496-14 3.1.2. Sizes have one byte (8.3.3): the largest is checked before.
fn write_es_descriptor(codec: Codec, params: &AudioParams, out: &mut Vec<u8>) {
    let object_type = match codec {
        Codec::Aac => OBJECT_TYPE_AAC,
        _ if params.sample_rate < MPEG1_RATE_MIN => OBJECT_TYPE_MPEG2_AUDIO,
        _ => OBJECT_TYPE_MPEG1_AUDIO,
    };
    let info = if codec == Codec::Aac { &params.config[..] } else { &[] };
    let info_bytes = if info.is_empty() { 0 } else { 2 + info.len() as u8 };
    let config_bytes = 13 + info_bytes;
    out.extend_from_slice(&[0x03, 3 + 2 + config_bytes + 3]); // ES_DescrTag, size
    put_u16(out, 0); // ES_ID: 0 in a file
    out.push(0); // no dependence, URL or OCR; streamPriority 0
    out.extend_from_slice(&[0x04, config_bytes]); // DecoderConfigDescrTag, size
    out.push(object_type);
    out.push(0x05 << 2 | 1); // streamType 5 (audio) (6), upStream 0, reserved 1
    out.extend_from_slice(&[0; 3]); // bufferSizeDB: not known
    put_u32(out, 0); // maxBitrate: not known
    put_u32(out, 0); // avgBitrate: variable
    if info_bytes > 0 {
        out.extend_from_slice(&[0x05, info.len() as u8]); // DecSpecificInfoTag, size
        out.extend_from_slice(info);
    }
    out.extend_from_slice(&[0x06, 1, 2]); // SLConfigDescrTag, size, predefined 2 (in an MP4 file)
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn audio(sample_rate: u32, channels: u8, config: &'static [u8]) -> AudioParams {
        let config = Bytes::from_static(config);
        AudioParams { sample_rate, channels, frame_samples: 1_024, rfc6381: String::new(), config }
    }

    #[test]
    fn aac_with_its_descriptors() {
        let entry = audio_entry(Codec::Aac, &audio(48_000, 2, &[0x11, 0x90])).unwrap();
        let expected = [
            &[0, 0, 0, 75][..],
            b"mp4a",
            &[0, 0, 0, 0, 0, 0, 0, 1],  // reserved, data_reference_index
            &[0, 0, 0, 0, 0, 0, 0, 0],  // reserved
            &[0, 2, 0, 16, 0, 0, 0, 0], // channelcount, samplesize, pre_defined, reserved
            &[0xbb, 0x80, 0, 0],        // 48000.0
            &[0, 0, 0, 39],
            b"esds",
            &[0, 0, 0, 0],
            &[3, 25, 0, 0, 0],             // ES_Descriptor
            &[4, 17, 0x40, 0x15, 0, 0, 0], // DecoderConfigDescriptor
            &[0, 0, 0, 0, 0, 0, 0, 0],     // bit rates
            &[5, 2, 0x11, 0x90],           // AudioSpecificConfig
            &[6, 1, 2],                    // SLConfigDescriptor
        ];
        assert_eq!(entry, expected.concat());
        assert!(audio_entry(Codec::Aac, &audio(48_000, 2, &[])).is_err());
        assert!(audio_entry(Codec::Aac, &audio(48_000, 2, &[0; 200])).is_err());
    }

    #[test]
    fn mp3_has_an_object_type_by_its_rate_and_no_configuration() {
        for (rate, object_type) in [(44_100, 0x6b), (24_000, 0x69), (11_025, 0x69)] {
            let entry = audio_entry(Codec::Mp3, &audio(rate, 1, &[])).unwrap();
            assert_eq!(entry[entry.len() - 23..entry.len() - 17], [3, 21, 0, 0, 0, 4][..], "{rate}");
            assert_eq!(entry[entry.len() - 16], object_type);
        }
    }

    #[test]
    fn rates_that_do_not_fit_the_field() {
        assert_eq!(entry_rate(Codec::Aac, 48_000), 48_000);
        assert_eq!(entry_rate(Codec::Aac, 96_000), 0);
        assert_eq!(entry_rate(Codec::Flac, 96_000), 48_000);
        assert_eq!(entry_rate(Codec::Flac, 176_400), 58_800);
        assert_eq!(entry_rate(Codec::Flac, 655_351), 0);
    }

    #[test]
    fn flac_says_its_bits() {
        let mut streaminfo = [0; 34];
        // sample rate (20), channels (3), bits less one (5): 24 bits
        streaminfo[12..14].copy_from_slice(&[0b0000_001_1, 0b0111_0000]);
        assert_eq!(flac::bits_per_sample(&streaminfo), 24);
        let entry = audio_entry(Codec::Flac, &audio(48_000, 2, &[0; 34])).unwrap();
        assert_eq!(entry[36..52], *b"\0\0\0\x32dfLa\0\0\0\0\x80\0\0\x22");
        assert!(audio_entry(Codec::Flac, &audio(48_000, 2, &[0; 33])).is_err());
    }

    #[test]
    fn vp9_takes_its_record_and_its_colour() {
        let mut params = VideoParams {
            width: 70_000,
            height: 8,
            sar: (4, 3),
            frame_rate: None,
            interlaced: false,
            rfc6381: String::new(),
            parameter_sets: vec![Bytes::from_static(&[0, 31, 0x82, 9, 16, 9, 0, 0])],
        };
        let entry = visual_entry(Codec::Vp9, &params).unwrap();
        assert_eq!(entry[32..36], [0xff, 0xff, 0, 8], "the width is cut to 16 bits");
        let boxes = [
            &b"\0\0\0\x14vpcC\x01\0\0\0"[..],
            &[0, 31, 0x82, 9, 16, 9, 0, 0],
            b"\0\0\0\x13colrnclx",
            &[0, 9, 0, 16, 0, 9, 0],
            b"\0\0\0\x10pasp\0\0\0\x04\0\0\0\x03",
        ];
        assert_eq!(entry[86..], boxes.concat());
        params.parameter_sets = vec![Bytes::from_static(&[0, 31, 0x82, 2, 2, 2, 0, 0])];
        params.sar = (1, 1);
        assert_eq!(visual_entry(Codec::Vp9, &params).unwrap().len(), 86 + 20);
        params.parameter_sets.clear();
        assert!(visual_entry(Codec::Vp9, &params).is_err());
    }
}
