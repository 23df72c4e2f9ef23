//! A bounded bit reader, most significant bit first, with the Exp-Golomb codes of ISO/IEC 14496-10 9.1.
//!
//! Every read answers `None` past the end, so that parsers end with `?` on truncated input and never panic.
//! What it deliberately does not do: remove emulation prevention bytes (see [`super::nal::unescape`]).

/// Reads bits from a slice.
#[derive(Clone, Copy, Debug)]
pub struct BitReader<'a> {
    data: &'a [u8],
    /// Bits consumed, 0 ..= 8 x `data.len()`.
    position: usize,
}

impl<'a> BitReader<'a> {
    pub fn new(data: &'a [u8]) -> Self {
        BitReader { data, position: 0 }
    }

    /// Bits consumed so far.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bits that are left.
    pub fn left(&self) -> usize {
        self.data.len() * 8 - self.position
    }

    /// The next `count` bits, 0 ..= 32, as a number.
    pub fn bits(&mut self, count: u32) -> Option<u32> {
        debug_assert!(count <= 32);
        if count as usize > self.left() {
            return None;
        }
        let value = (self.window() >> (40 - count)) & ((1u64 << count) - 1);
        self.position += count as usize;
        Some(value as u32)
    }

    /// One bit.
    pub fn flag(&mut self) -> Option<bool> {
        self.bits(1).map(|bit| bit == 1)
    }

    /// Moves on by `count` bits of any number.
    pub fn skip(&mut self, count: usize) -> Option<()> {
        if count > self.left() {
            return None;
        }
        self.position += count;
        Some(())
    }

    /// ue(v): an unsigned Exp-Golomb code up to 2^32 - 2.
    pub fn ue(&mut self) -> Option<u32> {
        let zeros = ((self.window() << 24) | (1 << 23)).leading_zeros();
        if zeros > 31 {
            return None;
        }
        self.skip(zeros as usize)?;
        self.bits(zeros + 1).map(|code| code - 1)
    }

    /// se(v): a signed Exp-Golomb code.
    pub fn se(&mut self) -> Option<i32> {
        let code = self.ue()?;
        let magnitude = code.div_ceil(2) as i32;
        Some(if code % 2 == 1 { magnitude } else { -magnitude })
    }

    /// The next 40 bits, right-aligned, less up to seven already consumed ones at the left which are shifted out; zeros past the end.
    fn window(&self) -> u64 {
        let first = self.position / 8;
        let mut window = 0u64;
        for index in first..first + 5 {
            window = window << 8 | self.data.get(index).copied().unwrap_or(0) as u64;
        }
        (window << (self.position % 8)) & 0xff_ffff_ffff
    }
}

/// Appends bits to a byte vector, most significant bit first.
#[derive(Debug)]
pub struct BitWriter<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits used of the last byte, 0 when it is full.
    used: u32,
}

impl<'a> BitWriter<'a> {
    /// Goes on behind what `bytes` holds.
    pub fn new(bytes: &'a mut Vec<u8>) -> Self {
        BitWriter { bytes, used: 0 }
    }

    /// The low `count` bits, 0 ..= 32, of `value`.
    pub fn bits(&mut self, value: u32, count: u32) {
        for shift in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= ((value >> shift & 1) as u8) << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// Leaves the rest of the byte 0.
    pub fn align(&mut self) {
        self.used = 0;
    }
}

#[cfg(test)]
#[expect(clippy::unusual_byte_groupings, reason = "bits are grouped by field")]
mod tests {
    use super::*;

    #[test]
    fn reads_across_bytes_and_stops_at_the_end() {
        let mut bits = BitReader::new(&[0b1010_0000, 0xff, 0x01, 0x02, 0x03, 0x04]);
        assert_eq!(bits.bits(3), Some(0b101));
        assert_eq!(bits.bits(32), Some(0b00000_11111111_00000001_00000010_000));
        assert_eq!(bits.bits(14), None, "13 bits are left");
        assert_eq!(bits.bits(13), Some(0b00011_00000100));
        assert_eq!(bits.flag(), None);
    }

    #[test]
    fn exp_golomb_codes_of_table_9_2() {
        // 1 | 010 | 011 | 00100 | 00111
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0011, 0b1000_0000]);
        assert_eq!([bits.ue(), bits.ue(), bits.ue(), bits.ue(), bits.ue()], [0, 1, 2, 3, 6].map(Some));
        let mut bits = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([bits.se(), bits.se(), bits.se(), bits.se(), bits.se()], [0, 1, -1, 2, -2].map(Some));
    }

    #[test]
    fn a_code_of_thirty_two_zeros_is_refused_even_after_an_odd_bit() {
        let mut bits = BitReader::new(&[0x80, 0, 0, 0, 0, 0x80]);
        assert_eq!(bits.flag(), Some(true));
        assert_eq!(bits.ue(), None);
        let mut largest = BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(largest.ue(), Some(u32::MAX - 1));
    }
}
