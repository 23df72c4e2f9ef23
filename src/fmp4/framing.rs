//! Samples as the rings hold them (Annex B, ADTS, sync frames) to samples as ISO BMFF wants them.

use crate::es::Codec;

/// Appends the sample's ISO BMFF form to `out` and says how many bytes that was; 0: nothing of it is left, there is no sample.
///
/// `header_len`: bytes of framing in front of the raw frame ([`crate::es::SampleMeta::header_len`]). H.264 and H.265 become
/// length-prefixed NAL units (four bytes each) without parameter sets, access unit delimiters and filler, as `avc1` and `hvc1` want them.
pub fn convert(_codec: Codec, _data: &[u8], _header_len: u8, _out: &mut Vec<u8>) -> usize {
    0
}
