//! How a box is written (ISO/IEC 14496-12 4.2): size, type, body; the size is filled in when the body is there.
//!
//! What it deliberately does not do: 64-bit sizes and `uuid` types, which no box of an init segment or a `moof` needs.

/// Appends a box whose body `body` appends.
pub fn write_box(out: &mut Vec<u8>, kind: &[u8; 4], body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    put_u32(out, 0); // size, below
    out.extend_from_slice(kind);
    body(out);
    // Init segments and movie fragments are bounded by parameter sets and samples a chunk: far below four gigabytes.
    let size = u32::try_from(out.len() - start).unwrap_or(u32::MAX);
    patch_u32(out, start, size);
}

/// Appends a FullBox: `version` and the low 24 bits of `flags` stand before the body.
pub fn write_full_box(out: &mut Vec<u8>, kind: &[u8; 4], version: u8, flags: u32, body: impl FnOnce(&mut Vec<u8>)) {
    write_box(out, kind, |out| {
        put_u32(out, (version as u32) << 24 | flags & 0x00ff_ffff);
        body(out);
    });
}

/// Appends a big-endian number.
pub fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a big-endian number.
pub fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a big-endian number.
pub fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Overwrites the four bytes at `at` with a big-endian number; nothing when they are not there.
pub fn patch_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(bytes) = out.get_mut(at..at + 4) {
        bytes.copy_from_slice(&value.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_hold_the_whole_box_and_nest() {
        let mut out = vec![0xaa];
        write_box(&mut out, b"moov", |out| {
            write_full_box(out, b"mfhd", 1, 0xff00_0002, |out| put_u16(out, 0x0304));
            put_u64(out, 5);
        });
        let expected = [
            &[0xaa][..],
            &[0, 0, 0, 30],
            b"moov",
            &[0, 0, 0, 14],
            b"mfhd",
            &[1, 0, 0, 2], // version, flags cut to 24 bits
            &[3, 4],
            &[0, 0, 0, 0, 0, 0, 0, 5],
        ];
        assert_eq!(out, expected.concat());
    }
}
