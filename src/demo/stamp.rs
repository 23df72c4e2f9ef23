//! The sending time in the video stream: one SEI message per access unit, for measuring latency from outside.
//!
//! The message is `user_data_unregistered` (Rec. ITU-T H.264 7.3.2.3.1 and D.1.7) in a NAL unit of its own, before the
//! first slice of every access unit:
//!
//! ```text
//! 00 00 00 01            start code
//! 06                     nal_unit_type 6: SEI
//! 05                     payload type 5: user_data_unregistered
//! 20                     payload size: 32 bytes
//! 6d 69 6c 6c 72 61 63 65 2d 73 65 6e 74 2d 75 73   uuid_iso_iec_11578: the text "millrace-sent-us"
//! 31 37 ... 36           16 ASCII digits: microseconds since 1970-01-01 UTC, leading zeros
//! 80                     rbsp_trailing_bits
//! ```
//!
//! The time is that of **sending**: it is written after encoding, when the access unit is handed to the muxer, so encoder
//! delay is no part of what it measures. Neither the UUID nor the digits hold a zero byte, so emulation prevention never
//! changes the payload and it can be searched as it stands. A stream that was recorded, or sent as a burst, carries the
//! old times.
//!
//! What it deliberately does not do: H.265, which the synthetic origin does not send.
#![forbid(unsafe_code)]

/// Identifies the message: the bytes of "millrace-sent-us".
pub const UUID: [u8; 16] = *b"millrace-sent-us";
/// ASCII digits of the time: enough until the year 2286.
pub const DIGITS: usize = 16;
/// Bytes of the whole NAL unit with its start code.
pub const NAL_BYTES: usize = 4 + 3 + UUID.len() + DIGITS + 1;

/// Finds the first stamp in H.264 bytes of any framing: microseconds since 1970-01-01 UTC at which they were sent.
///
/// `None` when there is none, or when it is cut off or damaged.
pub fn find(annexb: &[u8]) -> Option<u64> {
    let message = 2 + UUID.len() + DIGITS;
    annexb.windows(message).find_map(|window| {
        let (head, rest) = window.split_at(2);
        let (uuid, digits) = rest.split_at(UUID.len());
        if head != [PAYLOAD_TYPE, PAYLOAD_BYTES] || uuid != UUID {
            return None;
        }
        digits.iter().try_fold(0_u64, |value, digit| Some(value * 10 + u64::from((*digit as char).to_digit(10)?)))
    })
}

/// The NAL unit for `unix_us`, microseconds since 1970-01-01 UTC; of a time with more than 16 digits the last 16.
pub fn nal(unix_us: u64) -> [u8; NAL_BYTES] {
    let mut nal = [0; NAL_BYTES];
    nal[..7].copy_from_slice(&[0, 0, 0, 1, NAL_TYPE_SEI, PAYLOAD_TYPE, PAYLOAD_BYTES]);
    nal[7..7 + UUID.len()].copy_from_slice(&UUID);
    let mut rest = unix_us;
    for digit in nal[7 + UUID.len()..NAL_BYTES - 1].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    nal[NAL_BYTES - 1] = 0x80;
    nal
}

/// Copies an access unit to `out` with the stamp before its first slice. One without a slice is copied as it is.
pub fn insert(access_unit: &[u8], unix_us: u64, out: &mut Vec<u8>) {
    let Some(slice_at) = first_slice(access_unit) else {
        return out.extend_from_slice(access_unit);
    };
    out.extend_from_slice(&access_unit[..slice_at]);
    out.extend_from_slice(&nal(unix_us));
    out.extend_from_slice(&access_unit[slice_at..]);
}

/// Where the start code of the first slice begins (nal_unit_type 1 to 5).
fn first_slice(annexb: &[u8]) -> Option<usize> {
    let is_slice = |window: &[u8]| window[..3] == [0, 0, 1] && (1..=5).contains(&(window[3] & 0x1F));
    let at = annexb.windows(4).position(is_slice)?;
    // A zero byte before it belongs to a start code of four bytes.
    Some(if at > 0 && annexb[at - 1] == 0 { at - 1 } else { at })
}

const NAL_TYPE_SEI: u8 = 6;
const PAYLOAD_TYPE: u8 = 5;
const PAYLOAD_BYTES: u8 = (UUID.len() + DIGITS) as u8;

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: u64 = 1_790_000_000_123_456;

    #[test]
    fn what_is_inserted_is_found() {
        let access_unit = [
            0, 0, 0, 1, 0x09, 0xF0, // access unit delimiter
            0, 0, 0, 1, 0x67, 0x64, 0x00, 0x1E, // sequence parameter set
            0, 0, 1, 0x65, 0x88, 0x84, // IDR slice
        ];
        let mut out = Vec::new();
        insert(&access_unit, SENT, &mut out);
        assert_eq!(find(&out), Some(SENT));
        assert_eq!(find(&access_unit), None);
        // Taken out again, nothing else has changed, and it stands before the slice's start code.
        let at = out.windows(NAL_BYTES).position(|window| window == nal(SENT)).expect("inserted");
        assert_eq!(at, 14);
        out.drain(at..at + NAL_BYTES);
        assert_eq!(out, access_unit);
    }

    #[test]
    fn a_four_byte_start_code_stays_whole() {
        let mut out = Vec::new();
        insert(&[0, 0, 0, 1, 0x41, 0x9A], SENT, &mut out);
        assert_eq!(out[..NAL_BYTES], nal(SENT));
        assert_eq!(out[NAL_BYTES..], [0, 0, 0, 1, 0x41, 0x9A]);
    }

    #[test]
    fn the_payload_needs_no_emulation_prevention() {
        assert!(nal(SENT)[4..].iter().all(|&byte| byte != 0));
    }

    #[test]
    fn damaged_stamps_are_not_found() {
        let good = nal(SENT);
        assert_eq!(find(&good[..NAL_BYTES - 2]), None);
        let mut bad = good;
        bad[NAL_BYTES - 2] = b'x';
        assert_eq!(find(&bad), None);
        assert_eq!(find(&[]), None);
    }

    #[test]
    fn short_times_have_leading_zeros() {
        assert_eq!(find(&nal(42)), Some(42));
    }
}
