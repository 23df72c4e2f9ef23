//! Descriptions and samples that were tampered with: whatever comes, nothing panics, and a refusal leaves no byte behind.

use bytes::Bytes;
use millrace::es::{AudioParams, AudioRole, Codec, Params, Track, TrackId, TsStream, VideoParams};
use millrace::fmp4::{framing, init};
use mp4_atom::{Any, Decode};
use proptest::prelude::*;

/// Parameter sets as encoders write them: H.264 SPS and PPS, H.265 VPS, SPS and PPS, AV1 sequence header.
const SEEDS: [&[u8]; 6] = [
    &[
        0x67, 0x64, 0x00, 0x1e, 0xac, 0xd9, 0x40, 0xa0, 0x2f, 0xf9, 0x61, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00, 0x00,
        0x03, 0x00, 0x32, 0x0f, 0x16, 0x2d, 0x96,
    ],
    &[0x68, 0xeb, 0xe3, 0xcb, 0x22, 0xc0],
    &[
        0x40, 0x01, 0x0c, 0x01, 0xff, 0xff, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00,
        0x03, 0x00, 0x3c, 0x95, 0x98, 0x09,
    ],
    &[
        0x42, 0x01, 0x01, 0x01, 0x60, 0x00, 0x00, 0x03, 0x00, 0x90, 0x00, 0x00, 0x03, 0x00, 0x00, 0x03, 0x00, 0x3c,
        0xa0, 0x0a, 0x08, 0x0f, 0x16, 0x59, 0x59,
    ],
    &[0x44, 0x01, 0xc1, 0x72, 0xb4, 0x62, 0x40],
    &[0x0a, 0x0a, 0x00, 0x00, 0x00, 0x02, 0xaf, 0xff, 0x9b, 0x5f, 0x30, 0x08],
];

/// A seed with some bytes changed and its end cut off.
fn mutated() -> impl Strategy<Value = Bytes> {
    let seed =
        (0..SEEDS.len(), proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4), 0usize..40);
    seed.prop_map(|(seed, changes, keep)| {
        let mut bytes = SEEDS[seed].to_vec();
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        bytes.truncate(keep);
        Bytes::from(bytes)
    })
}

fn params() -> impl Strategy<Value = Option<Params>> {
    let size = || prop_oneof![Just(320u32), any::<u32>()];
    let video = (proptest::collection::vec(mutated(), 0..6), size(), size(), any::<(u32, u32)>());
    let video = video.prop_map(|(parameter_sets, width, height, sar)| {
        let (frame_rate, interlaced, rfc6381) = (None, false, String::new());
        Params::Video(VideoParams { width, height, sar, frame_rate, interlaced, rfc6381, parameter_sets })
    });
    let audio = (proptest::collection::vec(any::<u8>(), 0..150), size(), any::<u8>());
    let audio = audio.prop_map(|(config, sample_rate, channels)| {
        let (frame_samples, rfc6381, config) = (1_024, String::new(), config.into());
        Params::Audio(AudioParams { sample_rate, channels, frame_samples, rfc6381, config })
    });
    prop_oneof![1 => Just(None), 5 => video.prop_map(Some), 5 => audio.prop_map(Some)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn any_description_makes_an_init_segment_or_an_error(
        codec in prop::sample::select(&Codec::ALL[..]),
        params in params(),
        language: Option<[u8; 3]>,
    ) {
        let (role, ts) = (AudioRole::Main, TsStream::default());
        let track = Track { id: TrackId(0), codec, language, role, ts, params };
        let mut out = vec![1];
        match init::write(&track, &mut out) {
            Err(_) => prop_assert_eq!(out, [1]),
            Ok(()) => {
                let mut rest = &out[1..];
                prop_assert!(matches!(Any::decode(&mut rest), Ok(Any::Ftyp(_))));
                // The box is as long as it says; what is inside may be as strange as the parameter sets.
                prop_assert_eq!(u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize, rest.len());
            }
        }
    }

    #[test]
    fn any_sample_converts(
        codec in prop::sample::select(&Codec::ALL[..]),
        data in proptest::collection::vec(prop_oneof![2 => 0u8..3, 1 => any::<u8>()], 0..400),
        header_len: u8,
    ) {
        let mut out = vec![1];
        let len = framing::convert(codec, &data, header_len, &mut out);
        prop_assert_eq!(out.len(), 1 + len);
    }
}
