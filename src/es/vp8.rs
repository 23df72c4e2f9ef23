//! VP8 frames (RFC 6386), as WebM and ISO media carry them: one frame is one sample.
//!
//! What it deliberately does not do: decode. Only the uncompressed header is read.
#![forbid(unsafe_code)]

use super::{Key, VideoParams};
use bytes::Bytes;

/// Size of the picture from the uncompressed data chunk of a key frame (RFC 6386 9.1); `None` for other frames.
fn size(frame: &[u8]) -> Option<(u32, u32)> {
    // frame_tag: key_frame in the lowest bit (0: key), then the start code, 14 bits of width and 2 of scale, and the same for the height.
    let &[tag, _, _, 0x9d, 0x01, 0x2a, width_low, width_high, height_low, height_high] = frame.first_chunk::<10>()?
    else {
        return None;
    };
    let pixels = |high: u8, low: u8| u32::from(high & 0x3f) << 8 | u32::from(low);
    let size = (pixels(width_high, width_low), pixels(height_high, height_low));
    (tag & 1 == 0 && size.0 > 0 && size.1 > 0).then_some(size)
}

/// How a sample may be entered at.
pub fn key(frame: &[u8]) -> Key {
    if size(frame).is_some() { Key::Idr } else { Key::None }
}

/// Parameters from a key frame; `None` for others.
///
/// [`VideoParams::parameter_sets`] has one entry: the VPCodecConfigurationRecord of the VP binding for ISO media, 8 bytes. VP8 has one profile as
/// far as it goes, 8 bits, 4:2:0, and says nothing of its colour.
pub fn params(frame: &[u8]) -> Option<VideoParams> {
    let (width, height) = size(frame)?;
    let record = [
        0,      // profile
        10,     // level: 1.0, for VP8 has none
        8 << 4, // bitDepth 8, chromaSubsampling 0 (4:2:0, vertical), videoFullRangeFlag 0
        2,      // colourPrimaries: unspecified
        2,      // transferCharacteristics: unspecified
        2,      // matrixCoefficients: unspecified
        0,
        0, // codecInitializationDataSize
    ];
    Some(VideoParams {
        width,
        height,
        sar: (1, 1),
        frame_rate: None,
        interlaced: false,
        rfc6381: "vp08.00.10.08".to_owned(),
        parameter_sets: vec![Bytes::copy_from_slice(&record)],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_frame_tells_its_size() {
        // frame_tag (key, version 0, shown), start code, width 640 without scale, height 360 with scale 1
        let frame = [0x10, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x41, 0xff];
        let params = params(&frame).unwrap();
        assert_eq!((params.width, params.height, key(&frame)), (640, 360, Key::Idr));
        let inter = [0x11, 0x02, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];
        assert_eq!((key(&inter), key(&frame[..9]), key(&[])), (Key::None, Key::None, Key::None));
    }
}
