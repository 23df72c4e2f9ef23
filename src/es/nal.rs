//! The Annex B byte stream that H.264 and H.265 share (ISO/IEC 14496-10 Annex B, ISO/IEC 23008-2 Annex B), and whose start
//! codes MPEG-2 video has too (ISO/IEC 13818-2 6.2.1).
//!
//! What it deliberately does not do: know what a unit means.

use super::bits::BitReader;
use memchr::memmem;

/// Finds start codes at the speed of the machine's vector search.
#[derive(Debug)]
pub struct StartCodes {
    finder: memmem::Finder<'static>,
}

impl StartCodes {
    pub fn new() -> Self {
        StartCodes { finder: memmem::Finder::new(&[0, 0, 1]) }
    }
    /// Offset of the next 00 00 01 at or after `from`.
    pub fn find(&self, data: &[u8], from: usize) -> Option<usize> {
        Some(from + self.finder.find(data.get(from..)?)?)
    }
}

impl Default for StartCodes {
    fn default() -> Self {
        Self::new()
    }
}

/// The units of one access unit, without start codes and trailing zeros.
#[derive(Debug)]
pub struct Units<'a> {
    codes: StartCodes,
    data: &'a [u8],
    /// First byte behind the start code of the next unit.
    next: Option<usize>,
}

/// Iterates over the units of an Annex B byte stream.
pub fn units(data: &[u8]) -> Units<'_> {
    let codes = StartCodes::new();
    let next = codes.find(data, 0).map(|code| code + 3);
    Units { codes, data, next }
}

impl<'a> Iterator for Units<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        let start = self.next?;
        let code = self.codes.find(self.data, start);
        self.next = code.map(|code| code + 3);
        Some(trim_zeros(&self.data[start..code.unwrap_or(self.data.len())]))
    }
}

/// Cuts trailing_zero_8bits and cabac_zero_words' zeros off: a NAL unit never ends in 0 (ISO/IEC 14496-10 7.4.1).
pub fn trim_zeros(unit: &[u8]) -> &[u8] {
    let kept = unit.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    &unit[..kept]
}

/// Appends `unit` to `rbsp` without its emulation_prevention_three_bytes.
pub fn unescape(unit: &[u8], rbsp: &mut Vec<u8>) {
    let mut zeros = 0;
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        rbsp.push(byte);
    }
}

/// Like [`unescape`] for a slice header: as many bytes as fit `rbsp`; returns those written.
pub fn unescape_into<'a>(unit: &[u8], rbsp: &'a mut [u8]) -> &'a [u8] {
    let (mut zeros, mut written) = (0, 0);
    for &byte in unit {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        let Some(slot) = rbsp.get_mut(written) else { break };
        *slot = byte;
        written += 1;
    }
    &rbsp[..written]
}

/// Most messages of one SEI unit that are looked at.
const SEI_MESSAGES_MAX: usize = 64;

/// Calls `each` with payloadType and payload of every SEI message in an RBSP behind the NAL header
/// (ISO/IEC 14496-10 7.3.2.3.1; the same in ISO/IEC 23008-2 7.3.5).
pub fn sei_messages(rbsp: &[u8], mut each: impl FnMut(u32, &[u8])) {
    let mut bits = BitReader::new(rbsp);
    for _ in 0..SEI_MESSAGES_MAX {
        let Some((kind, size)) = sei_number(&mut bits).zip(sei_number(&mut bits)) else { return };
        let start = bits.position() / 8;
        let Some(payload) = rbsp.get(start..start + size as usize) else { return };
        each(kind, payload);
        // More than the rbsp_trailing_bits must be left for another message.
        if bits.skip(payload.len() * 8).is_none() || bits.left() <= 8 {
            return;
        }
    }
}

/// A number written as a run of 0xff bytes and a last byte.
fn sei_number(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut number = 0u32;
    loop {
        let byte = bits.bits(8)?;
        number = number.checked_add(byte)?;
        if byte != 0xff {
            return Some(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_come_without_codes_and_trailing_zeros() {
        let stream = [0, 0, 0, 1, 9, 0xf0, 0, 0, 1, 0x67, 0x42, 0, 0, 0, 0, 1, 0x65];
        let found: Vec<_> = units(&stream).collect();
        assert_eq!(found, [&[9, 0xf0][..], &[0x67, 0x42], &[0x65]]);
    }

    #[test]
    fn emulation_prevention_is_removed_once() {
        let mut rbsp = Vec::new();
        unescape(&[1, 0, 0, 3, 1, 0, 0, 3, 3, 0, 0, 0, 3], &mut rbsp);
        assert_eq!(rbsp, [1, 0, 0, 1, 0, 0, 3, 0, 0, 0]);
        assert_eq!(unescape_into(&[0, 0, 3, 1, 2], &mut [0; 3]), [0, 0, 1]);
    }

    #[test]
    fn sei_messages_with_long_numbers() {
        // type 6, size 1, payload ff; type 255 + 1, size 0; trailing bits
        let mut seen = Vec::new();
        sei_messages(&[6, 1, 0xff, 0xff, 1, 0, 0x80], |kind, payload| seen.push((kind, payload.to_vec())));
        assert_eq!(seen, [(6, vec![0xff]), (256, vec![])]);
        sei_messages(&[6, 9, 0xff], |_, _| panic!("truncated"));
    }

    proptest! {
        #[test]
        fn start_codes_are_those_of_a_naive_search(data in proptest::collection::vec(0u8..3, 0..200), from in 0usize..210) {
            let naive = (from..data.len().saturating_sub(2)).find(|&i| data[i..i + 3] == [0, 0, 1]);
            prop_assert_eq!(StartCodes::new().find(&data, from), naive);
        }
    }
}
