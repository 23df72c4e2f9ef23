//! The init segment (ISO/IEC 23000-19 7.3.1): `ftyp` and `moov` of one track.
//!
//! What it deliberately does not do: edit lists, protection, bit rates (`btrt`), which a relay would have to guess; media profile brands,
//! which promise limits that a relay does not police.

use super::TRACK_ID;
use super::boxes::{put_u16, put_u32, write_box, write_full_box};
use super::entry;
use crate::es::{Codec, Params, Track, TrackKind, VideoParams};

/// Why a track has no init segment.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InitError {
    #[error("CMAF has no mapping for {0}")]
    Codec(&'static str),
    /// Parameter sets or frame headers have not come yet, or lack what the sample entry needs.
    #[error("the parameters of the track are not known: {0}")]
    Params(&'static str),
}

/// Units a second of the track's media times: 90,000 for video, the sampling rate (of the core stream) for audio. `None` until known.
pub fn timescale(track: &Track) -> Option<u32> {
    match (track.kind(), &track.params) {
        (TrackKind::Video, _) => Some(VIDEO_TIMESCALE),
        (TrackKind::Audio, Some(Params::Audio(params))) => Some(params.sample_rate).filter(|&rate| rate > 0),
        _ => None,
    }
}

/// That of MPEG-TS, so that no time stamp is rounded.
const VIDEO_TIMESCALE: u32 = 90_000;

/// FNV-1a of an init segment's bytes, 32 bits: the same description has the same name, another one another.
pub fn hash(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Appends the init segment of `track`. Equal descriptions give equal bytes.
///
/// # Errors
/// [`InitError`]; nothing was appended.
pub fn write(track: &Track, out: &mut Vec<u8>) -> Result<(), InitError> {
    let sample_entry = entry::sample_entry(track)?;
    let timescale = timescale(track).ok_or(InitError::Params("no sampling rate"))?;
    write_file_type(track, out);
    write_box(out, b"moov", |out| {
        write_movie_header(timescale, out);
        write_box(out, b"trak", |out| {
            write_track_header(track, out);
            write_box(out, b"mdia", |out| write_media(track, timescale, &sample_entry, out));
        });
        write_box(out, b"mvex", write_track_extends);
    });
    Ok(())
}

/// FileTypeBox, ISO/IEC 14496-12 4.3.
///
/// `iso6`: movie fragments with tfdt and default-base-is-moof (14496-12 E.7); the major brand, as older players know it. `cmfc`: CMAF
/// (23000-19 7.2). `dash`: an initialization segment of DASH (ISO/IEC 23009-1 6.3.3). `mp42`: MPEG-4 (14496-14), which some demuxers ask
/// for before they look at `mp4a`. `av01`: AV1 (AV1 in ISOBMFF 2.1).
fn write_file_type(track: &Track, out: &mut Vec<u8>) {
    write_box(out, b"ftyp", |out| {
        out.extend_from_slice(b"iso6"); // major_brand
        put_u32(out, 0); // minor_version
        out.extend_from_slice(b"iso6cmfcdashmp42"); // compatible_brands
        if track.codec == Codec::Av1 {
            out.extend_from_slice(b"av01");
        }
    });
}

/// 1.0 in 16.16 and in 8.8.
const ONE_16_16: u32 = 0x0001_0000;
const ONE_8_8: u16 = 0x0100;
/// The unity matrix {a b u, c d v, x y w} (14496-12 8.2.2): a and d 1.0 in 16.16, w 1.0 in 2.30.
const UNITY_MATRIX: [u32; 9] = [ONE_16_16, 0, 0, 0, ONE_16_16, 0, 0, 0, 0x4000_0000];

/// MovieHeaderBox, 8.2.2. Times of creation are 0, so that equal descriptions give equal bytes; the duration is 0 as no sample is here.
fn write_movie_header(timescale: u32, out: &mut Vec<u8>) {
    write_full_box(out, b"mvhd", 0, 0, |out| {
        put_u32(out, 0); // creation_time
        put_u32(out, 0); // modification_time
        put_u32(out, timescale);
        put_u32(out, 0); // duration
        put_u32(out, ONE_16_16); // rate
        put_u16(out, ONE_8_8); // volume
        out.extend_from_slice(&[0; 2 + 8]); // reserved
        UNITY_MATRIX.iter().for_each(|&value| put_u32(out, value));
        out.extend_from_slice(&[0; 24]); // pre_defined
        put_u32(out, TRACK_ID + 1); // next_track_ID
    });
}

/// track_enabled, track_in_movie and track_in_preview (8.3.2); some players take a track without the last one for hidden.
const TRACK_FLAGS: u32 = 1 | 2 | 4;

/// TrackHeaderBox, 8.3.2.
fn write_track_header(track: &Track, out: &mut Vec<u8>) {
    let (width, height) = match &track.params {
        Some(Params::Video(params)) => display_size(params),
        _ => (0, 0),
    };
    write_full_box(out, b"tkhd", 0, TRACK_FLAGS, |out| {
        put_u32(out, 0); // creation_time
        put_u32(out, 0); // modification_time
        put_u32(out, TRACK_ID);
        put_u32(out, 0); // reserved
        put_u32(out, 0); // duration
        out.extend_from_slice(&[0; 8]); // reserved
        put_u16(out, 0); // layer
        put_u16(out, 0); // alternate_group
        put_u16(out, if track.kind() == TrackKind::Audio { ONE_8_8 } else { 0 }); // volume
        put_u16(out, 0); // reserved
        UNITY_MATRIX.iter().for_each(|&value| put_u32(out, value));
        put_u32(out, width);
        put_u32(out, height);
    });
}

/// Width and height in 16.16, the width as wide as square pixels would be (14496-12 8.3.2.3, 23000-19 9.2.3); both capped.
fn display_size(params: &VideoParams) -> (u32, u32) {
    let (numerator, denominator) = params.sar;
    let wide = (params.width as u128) << 16;
    let width = (wide * numerator as u128).checked_div(denominator as u128).unwrap_or(wide);
    let capped = |size: u128| u32::try_from(size).unwrap_or(u32::MAX);
    (capped(width), capped((params.height as u128) << 16))
}

/// The boxes of MediaBox, 8.4.1.
fn write_media(track: &Track, timescale: u32, sample_entry: &[u8], out: &mut Vec<u8>) {
    // MediaHeaderBox, 8.4.2
    write_full_box(out, b"mdhd", 0, 0, |out| {
        put_u32(out, 0); // creation_time
        put_u32(out, 0); // modification_time
        put_u32(out, timescale);
        put_u32(out, 0); // duration
        put_u16(out, packed_language(track.language));
        put_u16(out, 0); // pre_defined
    });
    let is_audio = track.kind() == TrackKind::Audio;
    // HandlerBox, 8.4.3
    write_full_box(out, b"hdlr", 0, 0, |out| {
        put_u32(out, 0); // pre_defined
        out.extend_from_slice(if is_audio { b"soun" } else { b"vide" }); // handler_type
        out.extend_from_slice(&[0; 12]); // reserved
        out.extend_from_slice(if is_audio { b"audio\0" } else { b"video\0" }); // name, for people
    });
    write_box(out, b"minf", |out| {
        if is_audio {
            // SoundMediaHeaderBox, 12.2.2
            write_full_box(out, b"smhd", 0, 0, |out| {
                put_u16(out, 0); // balance
                put_u16(out, 0); // reserved
            });
        } else {
            // VideoMediaHeaderBox, 12.1.2, whose flags are 1
            write_full_box(out, b"vmhd", 0, 1, |out| out.extend_from_slice(&[0; 2 + 6])); // graphicsmode, opcolor
        }
        write_data_information(out);
        write_box(out, b"stbl", |out| write_sample_table(sample_entry, out));
    });
}

/// An ISO 639-2 code as three letters of five bits, each less 0x60 (8.4.2.3); `und` where there is none, or no code.
fn packed_language(language: Option<[u8; 3]>) -> u16 {
    let code = language.filter(|code| code.iter().all(u8::is_ascii_lowercase)).unwrap_or(*b"und");
    code.iter().fold(0, |packed, &letter| packed << 5 | (letter as u16 - 0x60))
}

/// DataInformationBox, 8.7.1, and DataReferenceBox, 8.7.2: one entry, the media is in this file (flags 1).
fn write_data_information(out: &mut Vec<u8>) {
    write_box(out, b"dinf", |out| {
        write_full_box(out, b"dref", 0, 0, |out| {
            put_u32(out, 1); // entry_count
            write_full_box(out, b"url ", 0, 1, |_| {});
        });
    });
}

/// The boxes of SampleTableBox, 8.5.1: one sample description, and no sample (23000-19 7.5.12).
fn write_sample_table(sample_entry: &[u8], out: &mut Vec<u8>) {
    // SampleDescriptionBox, 8.5.2
    write_full_box(out, b"stsd", 0, 0, |out| {
        put_u32(out, 1); // entry_count
        out.extend_from_slice(sample_entry);
    });
    // TimeToSampleBox, 8.6.1.2; SampleToChunkBox, 8.7.4: entry_count 0
    write_full_box(out, b"stts", 0, 0, |out| put_u32(out, 0));
    write_full_box(out, b"stsc", 0, 0, |out| put_u32(out, 0));
    // SampleSizeBox, 8.7.3: sample_size 0 (each its own), sample_count 0
    write_full_box(out, b"stsz", 0, 0, |out| out.extend_from_slice(&[0; 4 + 4]));
    // ChunkOffsetBox, 8.7.5: entry_count 0
    write_full_box(out, b"stco", 0, 0, |out| put_u32(out, 0));
}

/// TrackExtendsBox, 8.8.3. Its defaults are 0: every chunk brings its own.
fn write_track_extends(out: &mut Vec<u8>) {
    write_full_box(out, b"trex", 0, 0, |out| {
        put_u32(out, TRACK_ID);
        put_u32(out, 1); // default_sample_description_index
        out.extend_from_slice(&[0; 3 * 4]); // default_sample_duration, _size, _flags
    });
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;
    use crate::es::{AudioParams, AudioRole, TrackId, TsStream};
    use bytes::Bytes;

    fn mp3(language: Option<[u8; 3]>) -> Track {
        let params = AudioParams {
            sample_rate: 44_100,
            channels: 2,
            frame_samples: 1_152,
            rfc6381: "mp4a.40.34".into(),
            config: Bytes::new(),
        };
        Track {
            id: TrackId(3),
            codec: Codec::Mp3,
            language,
            role: AudioRole::Main,
            ts: TsStream::default(),
            params: Some(Params::Audio(params)),
        }
    }

    /// Bytes behind the type of the first box of this kind.
    fn body<'a>(out: &'a [u8], kind: &[u8; 4]) -> &'a [u8] {
        let at = out.windows(4).position(|window| window == kind).expect("the box is there");
        let size = u32::from_be_bytes(out[at - 4..at].try_into().unwrap()) as usize;
        &out[at + 4..at - 4 + size]
    }

    #[test]
    fn headers_of_an_audio_track() {
        let mut out = Vec::new();
        write(&mp3(Some(*b"deu")), &mut out).unwrap();
        assert_eq!(out[..32], *b"\0\0\0\x20ftypiso6\0\0\0\0iso6cmfcdashmp42");
        let mdhd = body(&out, b"mdhd");
        // timescale 44100; d 4, e 5, u 21
        assert_eq!(mdhd[12..16], [0, 0, 0xac, 0x44]);
        assert_eq!(mdhd[20..], [0b0_00100_00, 0b101_10101, 0, 0]);
        let tkhd = body(&out, b"tkhd");
        assert_eq!((&tkhd[..4], &tkhd[36..38]), (&[0, 0, 0, 7][..], &[1, 0][..]), "flags, volume");
        assert_eq!(body(&out, b"trex"), [[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1], [0; 4], [0; 4], [0; 4]].concat());
        assert_eq!(body(&out, b"moov").len() + 8 + 32, out.len());
        let mut again = Vec::new();
        write(&mp3(Some(*b"deu")), &mut again).unwrap();
        assert_eq!(out, again);
    }

    #[test]
    fn languages_that_are_none() {
        let undetermined = 21 << 10 | 14 << 5 | 4;
        assert_eq!(packed_language(None), undetermined);
        assert_eq!(packed_language(Some(*b"q\0\xff")), undetermined);
    }

    #[test]
    fn a_display_is_as_wide_as_square_pixels_make_it() {
        let mut params = VideoParams {
            width: 720,
            height: 576,
            sar: (16, 11),
            frame_rate: None,
            interlaced: true,
            rfc6381: String::new(),
            parameter_sets: Vec::new(),
        };
        // 720 x 16 / 11 is 1047.27
        assert_eq!(display_size(&params), (68_634_065, 576 << 16));
        params.sar = (1, 0);
        assert_eq!(display_size(&params), (720 << 16, 576 << 16));
        params.sar = (u32::MAX, 1);
        assert_eq!(display_size(&params).0, u32::MAX);
    }

    #[test]
    fn nothing_is_appended_for_a_track_that_is_not_known() {
        let mut out = vec![1];
        let mut track = mp3(None);
        track.params = None;
        assert_eq!(timescale(&track), None);
        assert!(matches!(write(&track, &mut out), Err(InitError::Params(_))));
        track.codec = Codec::Mpeg2Video;
        assert_eq!(timescale(&track), Some(90_000));
        assert_eq!(write(&track, &mut out), Err(InitError::Codec("mpeg2")));
        assert_eq!(out, [1]);
    }
}
