//! The file by mp4-atom: every box is known, and says what was asked for.

use crate::mux::{Muxed, Written};
use crate::source::Source;
use millrace::es::{Codec, Params, TrackKind};
use mp4_atom::{Any, Codec as Entry, Decode, Encode, FourCC, Moof, Moov, ReferenceTime};

pub fn check(source: &Source, muxed: &Muxed) {
    let (init, media) = muxed.file.split_at(muxed.init_bytes);
    check_init(source, init);
    let mut rest = media;
    for (index, written) in muxed.chunks.iter().enumerate() {
        check_chunk(index, written, &mut rest);
    }
    assert!(rest.is_empty());
}

fn next(bytes: &mut &[u8]) -> Any {
    Any::decode(bytes).expect("a box")
}

fn check_init(source: &Source, mut init: &[u8]) {
    let Any::Ftyp(ftyp) = next(&mut init) else { panic!("no ftyp") };
    assert!([b"iso6", b"cmfc"].iter().all(|brand| ftyp.compatible_brands.contains(&FourCC::new(brand))));
    let bytes = init;
    let Any::Moov(moov) = next(&mut init) else { panic!("no moov") };
    assert!(init.is_empty());
    check_moov(source, &moov);
    // The sample description that mp4-atom read, it writes as we did: no byte of it was misunderstood.
    let mut again = Vec::new();
    moov.trak[0].mdia.minf.stbl.stsd.encode(&mut again).unwrap();
    let found = bytes.windows(again.len()).any(|window| window == again);
    assert!(found || has_joc(source), "{:?}: mp4-atom writes {}", source.track.codec, again.escape_ascii());
}

/// mp4-atom drops the extension of `dec3` that says JOC (ETSI TS 103 420 8.3).
fn has_joc(source: &Source) -> bool {
    let Some(Params::Audio(params)) = &source.track.params else { return false };
    source.track.codec == Codec::Eac3 && params.config.len() > 5
}

fn check_moov(source: &Source, moov: &Moov) {
    assert_eq!((moov.trak.len(), moov.mvhd.next_track_id), (1, 2));
    let trex = &moov.mvex.as_ref().expect("movie fragments follow").trex[0];
    assert_eq!((trex.track_id, trex.default_sample_description_index), (1, 1));
    let trak = &moov.trak[0];
    assert_eq!((trak.tkhd.track_id, trak.tkhd.enabled), (1, true));
    assert!(trak.edts.is_none());
    let mdia = &trak.mdia;
    assert_eq!(mdia.mdhd.timescale, source.timescale);
    let language = source.track.language.map_or("und".into(), |code| String::from_utf8(code.to_vec()).unwrap());
    assert_eq!(mdia.mdhd.language, language);
    let is_audio = source.track.kind() == TrackKind::Audio;
    assert_eq!((mdia.minf.smhd.is_some(), mdia.minf.vmhd.is_some()), (is_audio, !is_audio));
    assert_eq!(mdia.hdlr.handler, FourCC::new(if is_audio { b"soun" } else { b"vide" }));
    let stbl = &mdia.minf.stbl;
    assert_eq!(stbl.stsd.codecs.len(), 1);
    check_entry(source, &stbl.stsd.codecs[0]);
}

fn check_entry(source: &Source, entry: &Entry) {
    match source.track.params.as_ref().unwrap() {
        Params::Video(params) => {
            let (visual, pasp) = match entry {
                Entry::Avc1(entry) => (&entry.visual, &entry.pasp),
                Entry::Hvc1(entry) => (&entry.visual, &entry.pasp),
                Entry::Av01(entry) => (&entry.visual, &entry.pasp),
                Entry::Vp09(entry) => (&entry.visual, &entry.pasp),
                other => panic!("{other:?}"),
            };
            assert_eq!((visual.width as u32, visual.height as u32), (params.width, params.height));
            let sar = pasp.as_ref().map_or((1, 1), |pasp| (pasp.h_spacing, pasp.v_spacing));
            assert_eq!(sar, params.sar);
        }
        Params::Audio(params) => {
            let (codec, audio) = match entry {
                Entry::Mp4a(entry) => (Codec::Aac, &entry.audio),
                Entry::Mp3(entry) => (Codec::Mp3, &entry.audio),
                Entry::Ac3(entry) => (Codec::Ac3, &entry.audio),
                Entry::Eac3(entry) => (Codec::Eac3, &entry.audio),
                Entry::Opus(entry) => (Codec::Opus, &entry.audio),
                Entry::Flac(entry) => (Codec::Flac, &entry.audio),
                other => panic!("{other:?}"),
            };
            assert!(codec == source.track.codec || codec == Codec::Aac && source.track.codec == Codec::Mp3);
            assert_eq!(audio.channel_count, params.channels as u16);
        }
    }
}

/// `[styp] [prft] moof mdat`.
fn check_chunk(index: usize, written: &Written, rest: &mut &[u8]) {
    if written.begins_segment {
        let Any::Styp(styp) = next(rest) else { panic!("chunk {index}: no styp") };
        assert!(styp.compatible_brands.contains(&FourCC::new(b"cmfs")));
    }
    if let Some(unix_us) = written.producer_unix_us {
        let Any::Prft(prft) = next(rest) else { panic!("chunk {index}: no prft") };
        let seconds = (prft.ntp_timestamp >> 32) as f64 + (prft.ntp_timestamp as u32) as f64 / 2f64.powi(32);
        assert!((seconds - 2_208_988_800.0 - unix_us as f64 / 1e6).abs() < 1e-5, "chunk {index}: {seconds}");
        let first = written.decode_time as i64 + written.samples[0].composition_offset as i64;
        assert_eq!((prft.media_time as i64, prft.reference_track_id), (first, 1));
        assert_eq!(prft.utc_time_semantics, ReferenceTime::Consistent);
    }
    let before_moof = *rest;
    let Any::Moof(moof) = next(rest) else { panic!("chunk {index}: no moof") };
    let data_at = before_moof.len() - rest.len() + 8;
    check_moof(index, written, &moof, data_at);
    let Any::Mdat(mdat) = next(rest) else { panic!("chunk {index}: no mdat") };
    assert!(mdat.data == written.data, "chunk {index}");
}

fn check_moof(index: usize, written: &Written, moof: &Moof, data_at: usize) {
    assert_eq!((moof.mfhd.sequence_number as usize, moof.traf.len()), (index + 1, 1));
    let traf = &moof.traf[0];
    let tfhd = &traf.tfhd;
    assert!(tfhd.default_base_is_moof && tfhd.base_data_offset.is_none() && tfhd.track_id == 1);
    assert_eq!(traf.tfdt.as_ref().unwrap().base_media_decode_time, written.decode_time);
    assert_eq!(traf.trun.len(), 1);
    let trun = &traf.trun[0];
    assert_eq!(trun.data_offset, Some(data_at as i32), "chunk {index}");
    assert_eq!(trun.samples.len(), written.samples.len());
    for (row, sample) in trun.samples.iter().zip(&written.samples) {
        assert_eq!(row.duration.or(tfhd.default_sample_duration), Some(sample.duration), "chunk {index}");
        assert_eq!(row.size.or(tfhd.default_sample_size), Some(sample.size), "chunk {index}");
        assert_eq!(row.cts.unwrap_or(0), sample.composition_offset as i64, "chunk {index}");
        // 14496-12 8.8.3.1: sample_depends_on in bits 24 and 25, sample_is_non_sync_sample in bit 16
        let flags = row.flags.or(tfhd.default_sample_flags).expect("flags without looking back at trex");
        assert_eq!(flags, if sample.sync { 0x0200_0000 } else { 0x0101_0000 }, "chunk {index}");
    }
}
