//! Text that is not valid UTF-8: where what stands in its lossy copy stands in itself.

use std::str::{Utf8Chunk, Utf8Chunks};

/// Finds places of bytes by those of their lossy text, in which every invalid sequence is a U+FFFD.
pub(crate) struct RawPlaces<'a> {
    chunks: Utf8Chunks<'a>,
    chunk: Option<Utf8Chunk<'a>>,
    /// Where the chunk starts in the lossy text, and in the bytes.
    lossy: u64,
    raw: u64,
}

impl<'a> RawPlaces<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let mut chunks = bytes.utf8_chunks();
        Self { chunk: chunks.next(), chunks, lossy: 0, raw: 0 }
    }

    /// Those of bytes that are valid text.
    pub(crate) fn of_text() -> Self {
        Self::new(b"")
    }

    /// The place of what is at `at` of the lossy text; places must be asked for in order.
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
