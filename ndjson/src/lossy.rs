//! Text that is not valid UTF-8: lossy conversion, and mapping of positions back to the original bytes.

use super::blocks::MAX_LINE_BYTES;
use std::str::{Utf8Chunk, Utf8Chunks};

/// Appends the text of a line and a newline, with U+FFFD for every invalid sequence. Returns the number of these;
/// `None`, without appending, if the text would exceed [`MAX_LINE_BYTES`], since it can be three times as long as the
/// line.
pub(crate) fn lossy_line(line: &[u8], into: &mut Vec<u8>) -> Option<u64> {
    let replacement = char::REPLACEMENT_CHARACTER.len_utf8();
    let (mut length, mut replaced) = (0, 0);
    for chunk in line.utf8_chunks() {
        let is_replaced = !chunk.invalid().is_empty();
        length += chunk.valid().len() + if is_replaced { replacement } else { 0 };
        replaced += u64::from(is_replaced);
    }
    if length > MAX_LINE_BYTES {
        return None;
    }
    into.reserve_exact(length + 1);
    for chunk in line.utf8_chunks() {
        into.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            into.extend_from_slice(char::REPLACEMENT_CHARACTER.encode_utf8(&mut [0; 4]).as_bytes());
        }
    }
    into.push(b'\n');
    Some(replaced)
}

/// Maps positions in lossy text, in which every invalid sequence is a U+FFFD, to positions in the original bytes.
pub(crate) struct RawPlaces<'a> {
    chunks: Utf8Chunks<'a>,
    chunk: Option<Utf8Chunk<'a>>,
    /// Start of the current chunk, in the lossy text and in the bytes.
    lossy: u64,
    raw: u64,
}

impl<'a> RawPlaces<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut chunks = bytes.utf8_chunks();
        Self { chunk: chunks.next(), chunks, lossy: 0, raw: 0 }
    }

    /// Mapping for valid text: positions are equal in both.
    pub(crate) fn of_text() -> Self {
        Self::new(b"")
    }

    /// Position in the bytes for `at` in the lossy text. Positions must be requested in ascending order.
    pub(crate) fn of(&mut self, at: u32) -> u64 {
        let at = u64::from(at);
        while let Some(chunk) = &self.chunk {
            let (valid, invalid) = (chunk.valid().len() as u64, chunk.invalid().len() as u64);
            let end = self.lossy + valid;
            if at <= end || invalid == 0 {
                break;
            }
            self.lossy = end + char::REPLACEMENT_CHARACTER.len_utf8() as u64;
            self.raw += valid + invalid;
            self.chunk = self.chunks.next();
        }
        self.raw + at.saturating_sub(self.lossy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_line_is_that_of_the_standard_library() {
        for line in [b"".as_slice(), b"plain", b"\xff\xc3a\xe2\x82\"\xc3\xa9\xf0\x9f\x98z", b"\xc3", "é".as_bytes()] {
            let mut text = b"before".to_vec();
            let replaced = lossy_line(line, &mut text).unwrap();
            let expected = String::from_utf8_lossy(line);
            assert_eq!(text, [b"before", expected.as_bytes(), b"\n"].concat());
            assert_eq!(replaced, expected.matches(char::REPLACEMENT_CHARACTER).count() as u64);
        }
    }

    #[test]
    fn the_text_of_a_line_is_no_longer_than_a_line_may_be() {
        let mut line = vec![b'x'; MAX_LINE_BYTES - 2];
        line[7] = 0xff;
        let mut text = Vec::new();
        assert_eq!(lossy_line(&line, &mut text), Some(1));
        assert_eq!((text.len(), text.capacity()), (MAX_LINE_BYTES + 1, MAX_LINE_BYTES + 1));
        line.push(b'x');
        text.clear();
        assert_eq!((lossy_line(&line, &mut text), text.len()), (None, 0));
    }

    #[test]
    fn places_are_those_of_the_bytes() {
        let bytes = b"\xff\xc3a\xe2\x82\"\xc3\xa9\xf0\x9f\x98z";
        let text = String::from_utf8_lossy(bytes);
        let mut places = RawPlaces::new(bytes);
        let found: Vec<_> = text.char_indices().map(|(at, c)| (c, places.of(at as u32))).collect();
        let bad = char::REPLACEMENT_CHARACTER;
        assert_eq!(found, [(bad, 0), (bad, 1), ('a', 2), (bad, 3), ('"', 5), ('é', 6), (bad, 8), ('z', 11)]);
        assert_eq!(RawPlaces::new(b"plain").of(3), 3);
        assert_eq!(RawPlaces::of_text().of(3), 3);
        assert_eq!(RawPlaces::new(b"").of(0), 0);
    }
}
