//! Splitting of a byte stream into blocks of whole lines.

use std::io::{self, Read};

/// Limit of a line, in bytes without its newline: 64 MiB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// Size of a block: 256 KiB, which stays in the second-level CPU cache while it is scanned.
const BLOCK_BYTES: usize = 256 << 10;

/// Size above which a buffer was grown for a long line, and is freed as soon as possible: 1 MiB.
const LONG_BYTES: usize = 4 * BLOCK_BYTES;

/// Factor by which a buffer grows if a long line does not fit.
const GROWTH: usize = 8;

/// Byte order mark of UTF-8, with which a file may start. Not part of any line.
pub const BOM: &[u8] = b"\xef\xbb\xbf";

/// Splits a stream into blocks of whole lines, each ending in a newline (added if the last line lacks it).
pub struct Blocks<R> {
    input: R,
    buffer: Vec<u8>,
    /// Number of bytes in the buffer.
    filled: usize,
    /// Number of bytes of the buffer that were handed out.
    handed_out: usize,
    /// Offset of the start of the buffer in the stream.
    offset: u64,
    at_end: bool,
}

/// Next part of the stream.
pub enum Next {
    /// Whole lines, available through [`Blocks::lines`].
    Lines,
    /// A line longer than [`MAX_LINE_BYTES`], to be skipped by [`Blocks::skip_long_line`].
    LongLine,
    /// End of the stream.
    End,
}

impl<R: Read> Blocks<R> {
    pub fn new(input: R, offset: u64) -> Self {
        Self { input, buffer: Vec::new(), filled: 0, handed_out: 0, offset, at_end: false }
    }

    /// Current block: whole lines, the last byte a newline.
    pub fn lines(&self) -> &[u8] {
        &self.buffer[..self.handed_out]
    }

    /// The underlying stream.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// Offset of the current block in the stream.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Drops the current block and reads the next.
    pub fn advance(&mut self) -> io::Result<Next> {
        self.drop_lines(self.handed_out);
        self.release_long();
        let is_start = self.offset == 0;
        let mut searched = 0;
        loop {
            self.fill()?;
            if is_start && searched == 0 && self.buffer[..self.filled].starts_with(BOM) {
                self.handed_out = BOM.len();
                return self.advance();
            }
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[searched..self.filled]) {
                let end = searched + newline + 1;
                // A line that is too long is always the first and only one of its block.
                if self.first_line_is_long(end) {
                    return Ok(Next::LongLine);
                }
                self.handed_out = end;
                return Ok(Next::Lines);
            }
            if self.filled > MAX_LINE_BYTES {
                return Ok(Next::LongLine);
            }
            if self.at_end {
                if self.filled == 0 {
                    return Ok(Next::End);
                }
                self.end_last_line();
                return Ok(Next::Lines);
            }
            searched = self.filled;
        }
    }

    fn first_line_is_long(&self, end: usize) -> bool {
        end > MAX_LINE_BYTES && memchr::memchr(b'\n', &self.buffer[..=MAX_LINE_BYTES]).is_none()
    }

    /// Skips a long line, passing it on in pieces, without its newline. Returns its length.
    pub fn skip_long_line<E: From<io::Error>>(
        &mut self,
        mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut length = 0;
        loop {
            let newline = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            let end = newline.unwrap_or(self.filled);
            piece(&self.buffer[..end])?;
            length += end as u64;
            self.drop_lines(newline.map_or(end, |at| at + 1));
            if newline.is_some() || (self.at_end && self.filled == 0) {
                return Ok(length);
            }
            self.fill()?;
        }
    }

    /// Skips everything from the current block on, passing it on in pieces. Returns its length.
    pub fn skip_all<E: From<io::Error>>(&mut self, mut piece: impl FnMut(&[u8]) -> Result<(), E>) -> Result<u64, E> {
        let mut length = 0;
        loop {
            piece(&self.buffer[..self.filled])?;
            length += self.filled as u64;
            self.drop_lines(self.filled.max(self.handed_out));
            if self.at_end {
                return Ok(length);
            }
            self.fill()?;
        }
    }

    /// Start of the last block read.
    pub fn start(&self) -> &[u8] {
        &self.buffer[..self.filled]
    }

    /// Drops the lines of the current block up to `end`, if that frees the memory of a long line. Returns whether it
    /// did: the block then begins at `end`.
    pub fn release(&mut self, end: usize) -> bool {
        let is_long = self.buffer.len() > LONG_BYTES && self.filled < end + BLOCK_BYTES;
        if is_long {
            self.drop_lines(end);
            self.release_long();
        }
        is_long
    }

    /// Drops the lines up to `end`, which is the end of a line; the others are kept.
    fn drop_lines(&mut self, end: usize) {
        // An added newline is handed out, but is not part of the stream.
        let whole = self.filled.max(self.handed_out);
        self.offset += end.min(self.filled) as u64;
        self.buffer.copy_within(end..whole, 0);
        self.filled = self.filled.saturating_sub(end);
        self.handed_out = self.handed_out.saturating_sub(end);
    }

    /// Frees the memory of a long line.
    fn release_long(&mut self) {
        if self.buffer.len() > LONG_BYTES && self.filled < BLOCK_BYTES {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to_fit();
        }
    }

    /// Reads until another block is available, or the end.
    fn fill(&mut self) -> io::Result<()> {
        let wanted = (self.filled + 1).next_multiple_of(BLOCK_BYTES).max(self.filled + BLOCK_BYTES / 2);
        if self.buffer.capacity() < wanted {
            // Memory costs nothing before it is written to, while each reallocation copies. A line that is too long
            // needs no more memory.
            let ample = if wanted > LONG_BYTES { wanted * GROWTH } else { wanted * 3 / 2 };
            let ample = ample.min(MAX_LINE_BYTES + 2 * BLOCK_BYTES).max(wanted);
            self.buffer.reserve_exact(ample - self.buffer.len());
        }
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        while self.filled < wanted && !self.at_end {
            match self.input.read(&mut self.buffer[self.filled..wanted]) {
                Ok(0) => self.at_end = true,
                Ok(read) => self.filled += read,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    fn end_last_line(&mut self) {
        if self.buffer.len() == self.filled {
            self.buffer.push(0);
        }
        self.buffer[self.filled] = b'\n';
        self.handed_out = self.filled + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Reader that returns only a few bytes at a time.
    struct Trickle<'a>(&'a [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(size);
            buffer[..size].copy_from_slice(now);
            self.0 = later;
            Ok(size)
        }
    }

    /// All lines with their offsets; a long line only with its length.
    fn lines(input: &[u8], step: usize) -> Vec<(u64, Result<Vec<u8>, u64>)> {
        let mut blocks = Blocks::new(Trickle(input, step), 0);
        let mut found = Vec::new();
        loop {
            match blocks.advance().unwrap() {
                Next::End => return found,
                Next::LongLine => {
                    let offset = blocks.offset();
                    let mut length = 0;
                    let count = |piece: &[u8]| {
                        length += piece.len() as u64;
                        Ok::<_, io::Error>(())
                    };
                    assert_eq!(blocks.skip_long_line(count).unwrap(), length);
                    found.push((offset, Err(length)));
                }
                Next::Lines => {
                    let (block, mut offset) = (blocks.lines(), blocks.offset());
                    assert_eq!(block.last(), Some(&b'\n'));
                    for line in block[..block.len() - 1].split(|b| *b == b'\n') {
                        found.push((offset, Ok(line.to_vec())));
                        offset += line.len() as u64 + 1;
                    }
                }
            }
        }
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        assert_eq!(lines(b"\xef\xbb\xbfa\nb", 1), [(3, Ok(b"a".to_vec())), (5, Ok(b"b".to_vec()))]);
        assert!(lines(b"\xef\xbb\xbf", 1).is_empty());
        assert!(lines(b"", 1).is_empty());
    }

    #[test]
    fn lines_above_the_limit_are_passed_over_and_the_next_is_whole() {
        let long = |extra: usize| vec![b'x'; MAX_LINE_BYTES + extra];
        let input = [b"a\n".as_slice(), &long(0), b"\n", &long(1), b"\nb\n", &long(BLOCK_BYTES * 3)].concat();
        let found = lines(&input, BLOCK_BYTES);
        let lengths: Vec<_> = found.iter().map(|(_, l)| l.as_ref().map(Vec::len)).collect();
        let max = MAX_LINE_BYTES as u64;
        let expected = [Ok(1), Ok(MAX_LINE_BYTES), Err(&(max + 1)), Ok(1), Err(&(max + BLOCK_BYTES as u64 * 3))];
        assert_eq!(lengths, expected);
        assert_eq!(found[3].0, 2 + max + 1 + max + 2);
    }

    #[test]
    fn memory_of_a_long_line_is_given_back_before_the_block_is_over() {
        let long = vec![b'x'; 5 << 20];
        // Ends of the input after the long line: further lines in its block, a line without a newline, nothing, not
        // even its newline.
        for (rest, left, next) in [("\nb\nc", "b\n", "c\n"), ("\nb\n", "b\n", ""), ("\n", "", ""), ("", "", "")] {
            let input = [b"a\n", long.as_slice(), rest.as_bytes()].concat();
            let mut blocks = Blocks::new(input.as_slice(), 7);
            assert!(matches!(blocks.advance().unwrap(), Next::Lines));
            assert!(!blocks.release(2), "a block of short lines is kept");
            assert_eq!((blocks.lines(), blocks.offset()), (b"a\n".as_slice(), 7));
            assert!(matches!(blocks.advance().unwrap(), Next::Lines));
            let end = long.len() + 1;
            assert!(blocks.lines()[..end - 1] == long && blocks.lines()[end - 1] == b'\n');
            assert!(blocks.release(end));
            assert_eq!((blocks.lines(), blocks.offset()), (left.as_bytes(), 7 + (2 + end).min(input.len()) as u64));
            assert!(blocks.buffer.capacity() <= BLOCK_BYTES && !blocks.release(0));
            if !next.is_empty() {
                assert!(matches!(blocks.advance().unwrap(), Next::Lines));
                assert_eq!(blocks.lines(), next.as_bytes());
            }
            assert!(matches!(blocks.advance().unwrap(), Next::End));
            assert_eq!(blocks.offset(), 7 + input.len() as u64);
        }
    }

    #[test]
    fn a_long_line_is_not_copied_on_and_on_while_it_comes() {
        let input = vec![b'x'; MAX_LINE_BYTES];
        let mut blocks = Blocks::new(input.as_slice(), 0);
        assert!(matches!(blocks.advance().unwrap(), Next::Lines));
        assert_eq!(blocks.lines().len(), MAX_LINE_BYTES + 1);
        assert!(blocks.buffer.capacity() <= MAX_LINE_BYTES + 2 * BLOCK_BYTES);
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(parts in prop::collection::vec("[a-z]{0,9}", 0..40), step in 1usize..50) {
            let text = parts.join("\n");
            let mut expected: Vec<Vec<u8>> = parts.iter().map(|p| p.clone().into_bytes()).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            let found: Vec<_> = lines(text.as_bytes(), step).into_iter().map(|(_, line)| line.unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
