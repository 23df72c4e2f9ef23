//! The chunked transfer coding, decoded as it comes: any split of the input gives the same output.
//!
//! Source: RFC 9112 7.1.
//!
//! It is lenient where an origin can do no harm with it, as its connection is never used twice: LF without CR, spaces
//! around a size. Extensions and trailers are skipped, within bounds. Sizes are not trusted beyond counting them.
#![forbid(unsafe_code)]

use super::OriginError;
use crate::limits::{ORIGIN_CHUNK_LINE_BYTES_MAX, ORIGIN_TRAILER_BYTES_MAX};

/// A chunked body under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk-size line before any extension: the size so far (`None` before its first digit), bytes of the line.
    Size { size: Option<u64>, line_bytes: usize },
    /// In what follows the size on its line.
    Extension { size: u64, line_bytes: usize },
    /// In chunk data, bytes to come (at least one).
    Data { remaining: u64 },
    /// After chunk data, before the LF.
    DataEnd,
    /// In the trailer section: bytes of it so far, and whether the current line has any.
    Trailer { bytes: usize, line_is_empty: bool },
    /// After the empty line.
    Done,
}

const NEW_CHUNK: State = State::Size { size: None, line_bytes: 0 };

impl Chunked {
    /// Before the first chunk.
    pub fn new() -> Self {
        Chunked { state: NEW_CHUNK }
    }

    /// Whether the body is complete.
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Takes in `bytes`, hands data to `body` in slices of `bytes`. What comes after the end is ignored.
    ///
    /// # Errors
    /// [`OriginError::ChunkSyntax`]; the decoder is of no use afterwards.
    pub fn decode(&mut self, mut bytes: &[u8], body: &mut dyn FnMut(&[u8])) -> Result<(), OriginError> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if let State::Data { remaining } = self.state {
                let count = usize::try_from(remaining).unwrap_or(usize::MAX).min(bytes.len());
                let (data, rest) = bytes.split_at(count);
                body(data);
                bytes = rest;
                let remaining = remaining - count as u64;
                self.state = if remaining == 0 { State::DataEnd } else { State::Data { remaining } };
                continue;
            }
            self.state = match self.state {
                State::Size { size, line_bytes } => size_byte(byte, size, line_bytes)?,
                State::Extension { size, line_bytes } => extension_byte(byte, size, line_bytes)?,
                State::DataEnd => match byte {
                    b'\r' => State::DataEnd,
                    b'\n' => NEW_CHUNK,
                    _ => return Err(OriginError::ChunkSyntax("a chunk is longer than its size")),
                },
                State::Trailer { bytes, line_is_empty } => trailer_byte(byte, bytes, line_is_empty)?,
                State::Data { .. } | State::Done => return Ok(()),
            };
            bytes = rest;
        }
        Ok(())
    }
}

fn size_byte(byte: u8, size: Option<u64>, line_bytes: usize) -> Result<State, OriginError> {
    let line_bytes = counted_line(line_bytes)?;
    if let Some(digit) = (byte as char).to_digit(16) {
        let shifted = size.unwrap_or(0).checked_mul(16).ok_or(OriginError::ChunkSyntax("a chunk size is too large"))?;
        return Ok(State::Size { size: Some(shifted | u64::from(digit)), line_bytes });
    }
    match (byte, size) {
        (b' ' | b'\t', None) => Ok(State::Size { size, line_bytes }),
        (b'\n', Some(size)) => Ok(after_line(size)),
        (b' ' | b'\t' | b'\r' | b';', Some(size)) => Ok(State::Extension { size, line_bytes }),
        _ => Err(OriginError::ChunkSyntax("a chunk size is not a hexadecimal number")),
    }
}

fn extension_byte(byte: u8, size: u64, line_bytes: usize) -> Result<State, OriginError> {
    let line_bytes = counted_line(line_bytes)?;
    Ok(if byte == b'\n' { after_line(size) } else { State::Extension { size, line_bytes } })
}

fn trailer_byte(byte: u8, bytes: usize, line_is_empty: bool) -> Result<State, OriginError> {
    if bytes >= ORIGIN_TRAILER_BYTES_MAX {
        return Err(OriginError::ChunkSyntax("the trailer section is too long"));
    }
    let bytes = bytes + 1;
    Ok(match byte {
        b'\n' if line_is_empty => State::Done,
        b'\n' => State::Trailer { bytes, line_is_empty: true },
        b'\r' => State::Trailer { bytes, line_is_empty },
        _ => State::Trailer { bytes, line_is_empty: false },
    })
}

/// What follows a complete size line.
fn after_line(size: u64) -> State {
    if size == 0 { State::Trailer { bytes: 0, line_is_empty: true } } else { State::Data { remaining: size } }
}

fn counted_line(line_bytes: usize) -> Result<usize, OriginError> {
    if line_bytes >= ORIGIN_CHUNK_LINE_BYTES_MAX {
        return Err(OriginError::ChunkSyntax("a chunk size line is too long"));
    }
    Ok(line_bytes + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Decodes `pieces` one after the other.
    fn decode<'p>(pieces: impl IntoIterator<Item = &'p [u8]>) -> Result<(Vec<u8>, bool), OriginError> {
        let (mut chunked, mut out) = (Chunked::new(), Vec::new());
        for piece in pieces {
            chunked.decode(piece, &mut |data| out.extend_from_slice(data))?;
        }
        Ok((out, chunked.is_done()))
    }

    const BODY: &[u8] = b"5;ext=\"v\"\r\nhello\r\nA \r\n, world 12\r\n\
        0\r\nTrailer: x\r\n\r\nnot ours";

    #[test]
    fn every_split_gives_the_same_body() {
        let whole = decode([BODY]).unwrap();
        assert_eq!(whole, (b"hello, world 12".to_vec(), true));
        for split in 0..BODY.len() {
            assert_eq!(decode([&BODY[..split], &BODY[split..]]).unwrap(), whole, "{split}");
        }
        assert_eq!(decode(BODY.chunks(1)).unwrap(), whole);
    }

    #[test]
    fn data_comes_in_slices_of_the_input() {
        let mut slices = Vec::new();
        Chunked::new().decode(b"3\r\nabc\r\n2\nde\n", &mut |data| slices.push(data.to_vec())).unwrap();
        assert_eq!(slices, [b"abc".to_vec(), b"de".to_vec()]);
    }

    #[test]
    fn broken_coding_is_an_error() {
        for bad in [&b"x\r\n"[..], b"\r\n", b";a\r\n", b"-1\r\n", b"0x5\r\n", b"10000000000000000\r\n", b"2\r\nabc\r\n"]
        {
            assert!(matches!(decode([bad]), Err(OriginError::ChunkSyntax(_))), "{bad:?}");
        }
    }

    #[test]
    fn lines_and_trailers_are_bounded() {
        let extension = [b"5;".to_vec(), vec![b'a'; ORIGIN_CHUNK_LINE_BYTES_MAX]].concat();
        assert!(decode([&extension[..]]).is_err());
        let trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(ORIGIN_TRAILER_BYTES_MAX / 6 + 1)].concat();
        assert!(decode([&trailer[..]]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_encoded_comes_back(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 0..8),
                                      piece in 1usize..50) {
            let mut wire = Vec::new();
            for chunk in &chunks {
                wire.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                wire.extend_from_slice(chunk);
                wire.extend_from_slice(b"\r\n");
            }
            wire.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(wire.chunks(piece)).unwrap(), (chunks.concat(), true));
        }

        #[test]
        fn garbage_never_panics(bytes in "[0-9a-f;\\r\\n -]{0,60}", piece in 1usize..9) {
            let _ = decode(bytes.as_bytes().chunks(piece));
        }
    }
}
