//! Tests of the muxer as a whole; whole streams are judged in `tests/ts_package.rs`.

use super::*;
use crate::es::{AudioRole, TsStream};
use bytes::Bytes;

fn track(id: u16, codec: Codec, pid: u16, stream_type: u8) -> Arc<Track> {
    let ts = TsStream { pid, stream_type, descriptors: Bytes::new(), stream_id: 0 };
    Arc::new(Track { id: TrackId(id), codec, language: None, role: AudioRole::Main, ts, params: None })
}

fn meta(dts: i64) -> SampleMeta {
    SampleMeta {
        pts: MediaTime(dts),
        dts: MediaTime(dts),
        key: Key::None,
        discontinuity: false,
        header_len: 0,
        corrupt: false,
        pcr: None,
    }
}

fn write(mux: &mut TsMuxer, track: u16, meta: &SampleMeta, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let pcr_ceiling = MediaTime(i64::MAX);
    mux.write(&MuxSample { track: TrackId(track), meta, data, pcr_ceiling, tables: false }, &mut out).unwrap();
    out
}

fn pids(packets: &[u8]) -> Vec<u16> {
    packets.chunks(188).map(|packet| u16::from_be_bytes([packet[1] & 0x1f, packet[2]])).collect()
}

#[test]
fn pids_are_kept_unless_they_clash() {
    let mut mux = TsMuxer::new(MuxConfig::default());
    let tracks = [
        track(0, Codec::H264, PMT_PID, 0x1b),
        track(1, Codec::Aac, 0x101, 0x0f),
        track(2, Codec::Aac, 0x101, 0x0f),
        track(3, Codec::Aac, 0x0012, 0x0f),
    ];
    assert!(mux.set_tracks(&tracks));
    let pids: Vec<_> = (0..4).map(|id| mux.pid(TrackId(id)).unwrap()).collect();
    assert_eq!(pids, [0x100, 0x101, 0x102, 0x103]);
    assert!(!mux.set_tracks(&tracks), "the same list is no new version");
    assert!(mux.set_tracks(&tracks[1..]));
    assert_eq!(mux.pid(TrackId(2)), Some(0x102), "streams that stay keep their PID");
}

#[test]
fn a_new_map_comes_before_the_next_sample() {
    let mut mux = TsMuxer::new(MuxConfig::default());
    mux.set_tracks(&[track(0, Codec::Aac, 0x101, 0x0f)]);
    assert_eq!(pids(&write(&mut mux, 0, &meta(0), &[1; 100])), [0, PMT_PID, 0x101]);
    assert_eq!(pids(&write(&mut mux, 0, &meta(1_920), &[1; 100])), [0x101]);
    mux.set_tracks(&[track(0, Codec::Aac, 0x101, 0x0f), track(1, Codec::Ac3, 0x102, 0x81)]);
    let out = write(&mut mux, 0, &meta(3_840), &[1; 100]);
    assert_eq!(pids(&out), [0, PMT_PID, 0x101]);
    // version_number 1, current
    assert_eq!(out[188 + 10], 0xc3);
}

#[test]
fn a_discontinuity_is_signalled_in_the_packet_with_the_pcr() {
    let mut mux = TsMuxer::new(MuxConfig::default());
    mux.set_tracks(&[track(0, Codec::Mpeg2Video, 0x100, 0x02)]);
    write(&mut mux, 0, &meta(900_000), &[1; 100]);
    let out = write(&mut mux, 0, &SampleMeta { discontinuity: true, ..meta(9_000_000) }, &[1; 100]);
    let picture = &out[out.len() - 188..];
    assert_eq!(picture[5] & 0x90, 0x90, "discontinuity_indicator and PCR_flag");
}

#[test]
fn splice_sections_are_no_pes() {
    let mut mux = TsMuxer::new(MuxConfig::default());
    mux.set_tracks(&[track(0, Codec::H264, 0x100, 0x1b), track(1, Codec::Scte35, 0x1f0, 0x86)]);
    let out = write(&mut mux, 1, &meta(900_000), &[0xfc, 0x30, 17]);
    let packet = &out[out.len() - 188..];
    assert_eq!(packet[..9], [0x47, 0x41, 0xf0, 0x10, 0, 0xfc, 0x30, 17, 0xff]);
}

#[test]
fn what_cannot_be_written_leaves_the_stream_whole() {
    let mut mux = TsMuxer::new(MuxConfig::default());
    mux.set_tracks(&[track(0, Codec::PrivatePes, 0x100, 0x06)]);
    let (meta, mut out) = (meta(0), Vec::new());
    let sample =
        |track, data| MuxSample { track: TrackId(track), meta: &meta, data, pcr_ceiling: meta.dts, tables: false };
    assert_eq!(mux.write(&sample(7, &[]), &mut out), Err(MuxError::UnknownTrack(TrackId(7))));
    let long = vec![0; 70_000];
    assert_eq!(mux.write(&sample(0, &long), &mut out), Err(MuxError::TooLong { pid: 0x100, bytes: 70_000 }));
    assert_eq!(out.len() % 188, 0);
}
