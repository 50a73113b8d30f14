//! A byte stream as blocks of whole lines.

use bytes::{Buf, Bytes};
use std::io::{self, Read};

/// The longest line that is looked at, in bytes without its newline: 64 MiB.
pub const MAX_LINE_BYTES: usize = 64 << 20;

/// How much is read at a time: a block stays in the second-level cache while it is scanned.
const BLOCK_BYTES: usize = 256 << 10;

/// Smaller pieces than this are copied into a block rather than being one.
const LEAST_PIECE_BYTES: usize = 64 << 10;

/// The UTF-8 byte order mark.
const BOM: &[u8] = b"\xef\xbb\xbf";

/// A stream of which parts may be in memory already.
pub(crate) trait Pieces: Read {
    /// The next bytes, if so many at least are in one piece. Waits for them as reading does.
    fn next_piece(&mut self, _least: usize) -> io::Result<Option<Bytes>> {
        Ok(None)
    }
}

/// Cuts a stream into blocks of whole lines, each ending in a newline (one is added where the last line lacks it).
pub(crate) struct Blocks<R> {
    input: R,
    /// What is left of a piece of the stream: it comes before what the input has.
    piece: Bytes,
    /// The current block, if it is a part of a piece.
    in_place: Bytes,
    /// What the current block otherwise is a part of.
    buffer: Vec<u8>,
    /// What the buffer holds.
    filled: usize,
    /// How much of it has been handed out.
    handed_out: usize,
    /// The offset of the current block in the stream, or of what is begun of the next.
    offset: u64,
    at_end: bool,
}

/// What comes next in the stream.
pub(crate) enum Next {
    /// Whole lines, readable with [`Blocks::lines`].
    Lines,
    /// A line above [`MAX_LINE_BYTES`], to be passed over with [`Blocks::skip_long_line`].
    LongLine,
    /// Nothing.
    End,
}

impl<R: Pieces> Blocks<R> {
    pub(crate) fn new(input: R, offset: u64) -> Self {
        let (piece, in_place) = Default::default();
        Self { input, piece, in_place, buffer: Vec::new(), filled: 0, handed_out: 0, offset, at_end: false }
    }

    /// The current block: whole lines, the last byte a newline.
    pub(crate) fn lines(&self) -> &[u8] {
        if self.in_place.is_empty() { &self.buffer[..self.handed_out] } else { &self.in_place }
    }

    /// The stream that is cut.
    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// The offset of the current block in the stream.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Gives up the current block and reads the next.
    pub(crate) fn next(&mut self) -> io::Result<Next> {
        self.drop_handed_out();
        if self.buffer.capacity() > 4 * BLOCK_BYTES && self.filled < BLOCK_BYTES {
            self.buffer.truncate(BLOCK_BYTES);
            self.buffer.shrink_to(BLOCK_BYTES);
        }
        if self.next_in_place()? {
            return Ok(Next::Lines);
        }
        let is_start = self.offset == 0;
        let mut searched = 0;
        loop {
            self.fill()?;
            if is_start && searched == 0 && self.buffer[..self.filled].starts_with(BOM) {
                self.handed_out = BOM.len();
                return self.next();
            }
            if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[searched..self.filled]) {
                let end = searched + newline + 1;
                // A block may hold a line that is too long only as its first one, and alone.
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

    /// Takes lines of a piece where they are, or the line that the piece before began and this one ends. False if there is no
    /// piece, or a line that may be too long.
    fn next_in_place(&mut self) -> io::Result<bool> {
        // Whole lines that were read with what came before them go first: a line that is too long must be the first one.
        if let Some(newline) = memchr::memrchr(b'\n', &self.buffer[..self.filled]) {
            self.handed_out = newline + 1;
            return Ok(true);
        }
        loop {
            if self.piece.is_empty() {
                let Some(piece) = self.input.next_piece(LEAST_PIECE_BYTES)? else { return Ok(false) };
                self.piece = piece;
                if self.offset == 0 && self.filled == 0 && self.piece.starts_with(BOM) {
                    self.piece.advance(BOM.len());
                    self.offset = BOM.len() as u64;
                }
            }
            let most = self.piece.len().min(BLOCK_BYTES);
            if self.filled == 0
                && let Some(newline) = memchr::memrchr(b'\n', &self.piece[..most])
            {
                self.in_place = self.piece.split_to(newline + 1);
                return Ok(true);
            }
            let newline = memchr::memchr(b'\n', &self.piece);
            let end = newline.map_or(self.piece.len(), |newline| newline + 1);
            if self.filled + end > MAX_LINE_BYTES {
                return Ok(false);
            }
            self.buffer.truncate(self.filled);
            self.buffer.extend_from_slice(&self.piece.split_to(end));
            self.filled = self.buffer.len();
            if newline.is_some() {
                self.handed_out = self.filled;
                return Ok(true);
            }
        }
    }

    fn first_line_is_long(&self, end: usize) -> bool {
        end > MAX_LINE_BYTES && memchr::memchr(b'\n', &self.buffer[..=MAX_LINE_BYTES]).is_none()
    }

    /// Passes over a long line, handing it out in pieces, without its newline. Returns its length.
    pub(crate) fn skip_long_line<E: From<io::Error>>(
        &mut self,
        mut piece: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<u64, E> {
        let mut length = 0;
        loop {
            let newline = memchr::memchr(b'\n', &self.buffer[..self.filled]);
            let end = newline.unwrap_or(self.filled);
            piece(&self.buffer[..end])?;
            length += end as u64;
            self.handed_out = newline.map_or(end, |at| at + 1);
            self.drop_handed_out();
            if newline.is_some() || (self.at_end && self.filled == 0) {
                return Ok(length);
            }
            self.fill()?;
        }
    }

    fn drop_handed_out(&mut self) {
        self.offset += self.in_place.len() as u64;
        self.in_place = Bytes::new();
        let rest = self.handed_out.min(self.filled)..self.filled;
        self.offset += rest.start as u64;
        self.filled = rest.len();
        self.buffer.copy_within(rest, 0);
        self.handed_out = 0;
    }

    /// Reads until a block more is there, or the end.
    fn fill(&mut self) -> io::Result<()> {
        let wanted = (self.filled + 1).next_multiple_of(BLOCK_BYTES).max(self.filled + BLOCK_BYTES / 2);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted.max(self.buffer.len() * 3 / 2), 0);
        }
        while self.filled < wanted && !self.at_end {
            let room = &mut self.buffer[self.filled..wanted];
            if !self.piece.is_empty() {
                let count = self.piece.len().min(room.len());
                self.piece.copy_to_slice(&mut room[..count]);
                self.filled += count;
                continue;
            }
            match self.input.read(room) {
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

    /// A reader that returns a few bytes at a time, some of them as pieces: by the bits of a number, taken in turns.
    struct Trickle<'a>(&'a [u8], usize, u32);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let size = self.1.min(self.0.len()).min(buffer.len());
            let (now, later) = self.0.split_at(size);
            buffer[..size].copy_from_slice(now);
            self.0 = later;
            Ok(size)
        }
    }

    impl Pieces for Trickle<'_> {
        fn next_piece(&mut self, _least: usize) -> io::Result<Option<Bytes>> {
            self.2 = self.2.rotate_right(1);
            if self.2 & 1 == 0 || self.0.is_empty() {
                return Ok(None);
            }
            let mut piece = vec![0; self.1];
            let count = self.read(&mut piece)?;
            piece.truncate(count);
            Ok(Some(piece.into()))
        }
    }

    /// Every line with its offset; a long line only with its length.
    fn lines(input: &[u8], step: usize, pieces: u32) -> Vec<(u64, Result<Vec<u8>, u64>)> {
        let mut blocks = Blocks::new(Trickle(input, step, pieces), 0);
        let mut found = Vec::new();
        loop {
            match blocks.next().unwrap() {
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
        for (step, pieces) in [(1, 0), (3, 0), (3, !0)] {
            let found = lines(b"\xef\xbb\xbfa\nb", step, pieces);
            assert_eq!(found, [(3, Ok(b"a".to_vec())), (5, Ok(b"b".to_vec()))]);
            assert!(lines(b"\xef\xbb\xbf", step, pieces).is_empty());
            assert!(lines(b"", step, pieces).is_empty());
        }
    }

    #[test]
    fn lines_above_the_limit_are_passed_over_and_the_next_is_whole() {
        let long = |extra: usize| vec![b'x'; MAX_LINE_BYTES + extra];
        let input = [b"a\n".as_slice(), &long(0), b"\n", &long(1), b"\nb\n", &long(BLOCK_BYTES * 3)].concat();
        for (step, pieces) in [(BLOCK_BYTES, 0), (BLOCK_BYTES, !0), (300 << 10, 0x55aa_0ff3)] {
            let found = lines(&input, step, pieces);
            let lengths: Vec<_> = found.iter().map(|(_, l)| l.as_ref().map(Vec::len)).collect();
            let max = MAX_LINE_BYTES as u64;
            let expected = [Ok(1), Ok(MAX_LINE_BYTES), Err(&(max + 1)), Ok(1), Err(&(max + BLOCK_BYTES as u64 * 3))];
            assert_eq!(lengths, expected, "{pieces:x}");
            assert_eq!(found[3].0, 2 + max + 1 + max + 2);
        }
    }

    #[test]
    fn a_long_line_is_one_after_lines_that_were_read_with_another() {
        let long = |extra: usize| vec![b'x'; MAX_LINE_BYTES + extra];
        let input = [&long(6 << 20)[..], b"\nb\n", &long(1), b"\nc\n"].concat();
        for (step, pieces) in [(BLOCK_BYTES, 0), (400 << 10, !0), (300 << 10, 0x0f55_aa33)] {
            let lengths: Vec<_> =
                lines(&input, step, pieces).into_iter().map(|(_, line)| line.map(|l| l.len())).collect();
            let max = MAX_LINE_BYTES as u64;
            assert_eq!(lengths, [Err(max + (6 << 20)), Ok(1), Err(max + 1), Ok(1)], "{pieces:x}");
        }
    }

    #[test]
    fn large_pieces_are_cut_at_lines() {
        let text: Vec<u8> =
            (0..60_000_u32).flat_map(|n| format!("{}\n", "y".repeat((n * n % 97) as usize)).into_bytes()).collect();
        let expected = lines(&text, BLOCK_BYTES, 0);
        for (step, pieces) in [(400 << 10, !0), (65 << 10, !0), (417 << 10, 0x5a5a_0ff0), (1 << 20, !0)] {
            assert!(lines(&text, step, pieces) == expected, "{step} {pieces:x}");
        }
    }

    proptest! {
        #[test]
        fn lines_are_those_of_the_text(
            parts in prop::collection::vec("[a-z]{0,9}", 0..40),
            step in 1usize..50,
            pieces: u32,
        ) {
            let text = parts.join("\n");
            let mut expected: Vec<Vec<u8>> = parts.iter().map(|p| p.clone().into_bytes()).collect();
            if expected.last().is_some_and(Vec::is_empty) {
                expected.pop();
            }
            let lines = lines(text.as_bytes(), step, pieces);
            let mut offset = 0;
            for (at, line) in &lines {
                prop_assert_eq!(*at, offset);
                offset += line.as_ref().unwrap().len() as u64 + 1;
            }
            let found: Vec<_> = lines.into_iter().map(|(_, line)| line.unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
