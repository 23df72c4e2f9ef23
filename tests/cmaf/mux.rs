//! A track's samples as one file: init segment, then chunks of half a second, a segment at the first key after two seconds.

use crate::source::Source;
use millrace::es::TrackKind;
use millrace::fmp4::chunk::{self, Chunk, ChunkSample};
use millrace::fmp4::{framing, init};

/// What a reader must find, in decoding order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub dts: i64,
    pub pts: i64,
    pub size: usize,
    /// A sync sample. ffmpeg calls a recovery point a key too.
    pub key: bool,
}

/// One chunk as it was asked for.
#[derive(Clone, Debug)]
pub struct Written {
    pub begins_segment: bool,
    pub decode_time: u64,
    pub producer_unix_us: Option<u64>,
    pub samples: Vec<ChunkSample>,
    pub data: Vec<u8>,
}

pub struct Muxed {
    pub file: Vec<u8>,
    pub init_bytes: usize,
    pub chunks: Vec<Written>,
    pub packets: Vec<Packet>,
}

/// Wall clock of the first sample, microseconds.
const BEGIN_US: u64 = 1_795_400_000_000_000;

pub fn mux(source: &Source) -> Muxed {
    let mut file = Vec::new();
    init::write(&source.track, &mut file).expect("the track is described");
    assert_eq!(init::timescale(&source.track), Some(source.timescale));
    let mut muxed = Muxed { init_bytes: file.len(), file, chunks: Vec::new(), packets: Vec::new() };
    let mut segment_start = i64::MIN / 2;
    let mut open: Option<Written> = None;
    let scale = source.timescale as i64;
    for (index, sample) in source.samples.iter().enumerate() {
        let begins_segment = sample.sync && sample.dts - segment_start >= 2 * scale;
        let is_full = |open: &Written| sample.dts - open.decode_time as i64 >= scale / 2;
        if begins_segment || open.as_ref().is_none_or(is_full) {
            muxed.chunks.extend(open.take());
            segment_start = if begins_segment { sample.dts } else { segment_start };
            let media_us = (sample.dts - source.samples[0].dts) * 1_000_000 / scale;
            open = Some(Written {
                begins_segment,
                decode_time: sample.dts as u64,
                producer_unix_us: (source.track.kind() == TrackKind::Video).then_some(BEGIN_US + media_us as u64),
                samples: Vec::new(),
                data: Vec::new(),
            });
        }
        let chunk = open.as_mut().expect("opened above");
        let size = framing::convert(source.track.codec, &sample.data, sample.header_len, &mut chunk.data);
        assert!(size > 0, "sample {index} holds nothing");
        let duration = source.duration(index);
        let composition_offset = (sample.pts - sample.dts) as i32;
        chunk.samples.push(ChunkSample { duration, size: size as u32, composition_offset, sync: sample.sync });
        muxed.packets.push(Packet { dts: sample.dts, pts: sample.pts, size, key: sample.sync });
    }
    muxed.chunks.extend(open);
    for (index, written) in muxed.chunks.iter().enumerate() {
        let chunk = Chunk {
            sequence_number: index as u32 + 1,
            base_media_decode_time: written.decode_time,
            begins_segment: written.begins_segment,
            producer_unix_us: written.producer_unix_us,
            samples: &written.samples,
        };
        chunk::write_head(&chunk, &mut muxed.file);
        muxed.file.extend_from_slice(&written.data);
    }
    muxed
}
