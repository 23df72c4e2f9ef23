//! Moves SCTE 35 splice times along with the timeline (ANSI/SCTE 35 9.6: splice_info_section).
//!
//! All splice times of a section are relative to its pts_adjustment, so that one field and the CRC are rewritten and the
//! rest stays as it came. Whoever knows the shift from source to output time calls this once, when the section enters
//! its ring. What it deliberately does not do: understand splice commands.

use crate::mpegts::psi::crc32;
use crate::time::Ts33;

/// Shortest section with a whole header and CRC.
const SECTION_BYTES_MIN: usize = 20;
const TABLE_ID: u8 = 0xfc;

/// Appends `section` with its pts_adjustment moved by `offset_90k` ticks (output time less source time) and a new CRC.
/// Returns false, and appends nothing, when it is no whole splice_info_section.
pub fn shift(section: &[u8], offset_90k: i64, out: &mut Vec<u8>) -> bool {
    if section.len() < SECTION_BYTES_MIN || section[0] != TABLE_ID {
        return false;
    }
    let end = 3 + (usize::from(section[1] & 0x0f) << 8 | usize::from(section[2]));
    if end < SECTION_BYTES_MIN || end > section.len() {
        return false;
    }
    let start = out.len();
    out.extend_from_slice(&section[..end - 4]);
    // Byte 4: encrypted_packet, six bits of encryption_algorithm, bit 32 of pts_adjustment; bytes 5 to 8: the rest of it.
    let field = &mut out[start + 4..start + 9];
    let old = field[1..].iter().fold(u64::from(field[0] & 1), |value, &byte| value << 8 | u64::from(byte));
    let new = Ts33::new(old).offset(offset_90k).ticks();
    field[0] = field[0] & 0xfe | (new >> 32) as u8;
    field[1..].copy_from_slice(&(new as u32).to_be_bytes());
    let crc = crc32(&out[start..]);
    out.extend_from_slice(&crc.to_be_bytes());
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    /// splice_null: table 0xfc, length 17, protocol 0, pts_adjustment 0x1_ffff_fff0, cw 0xff, tier 0xfff, no command bytes,
    /// command type 0, no descriptors; the CRC is left to be made.
    fn section() -> Vec<u8> {
        let mut bytes = vec![0xfc, 0x30, 17, 0, 0x01, 0xff, 0xff, 0xff, 0xf0, 0xff, 0xff, 0xf0, 0x00, 0x00, 0x00, 0x00];
        bytes.extend_from_slice(&crc32(&bytes).to_be_bytes());
        bytes
    }

    #[test]
    fn the_adjustment_moves_over_the_wrap_and_back() {
        let mut moved = Vec::new();
        assert!(shift(&section(), 0x20, &mut moved));
        assert_eq!(moved[4..9], [0x00, 0, 0, 0, 0x10]);
        assert_eq!(crc32(&moved), 0, "a section with its CRC has CRC 0");
        let mut back = Vec::new();
        assert!(shift(&moved, -0x20, &mut back));
        assert_eq!(back, section());
    }

    #[test]
    fn what_is_no_splice_section_is_refused() {
        let mut out = Vec::new();
        let mut longer = section();
        longer[2] = 18;
        for bad in [&[][..], &[0xfc; 3], &section()[..19], &longer, &[0u8; 30]] {
            assert!(!shift(bad, 1, &mut out));
        }
        assert!(out.is_empty());
    }
}
