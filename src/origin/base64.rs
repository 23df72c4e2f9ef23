//! Base64 of credentials. Source: RFC 4648 4. Encoding only: nothing here is ever decoded.
#![forbid(unsafe_code)]

/// Appends `bytes` in base64 with padding.
pub(super) fn push(out: &mut String, bytes: &[u8]) {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for group in bytes.chunks(3) {
        // Three bytes, the missing ones zero, are four digits of 6 bits; n bytes need n + 1 of them.
        let bits = (0..3).fold(0, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for digit in 0..4 {
            let index = bits >> (18 - 6 * digit) & 63;
            out.push(if digit <= group.len() { ALPHABET[index as usize] as char } else { '=' });
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn vectors_of_the_rfc() {
        for (text, encoded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            let mut out = String::new();
            super::push(&mut out, text.as_bytes());
            assert_eq!(out, encoded);
        }
    }
}
