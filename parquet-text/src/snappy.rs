//! Snappy compressor for pages of text, which take the largest part of a conversion's time.
//!
//! The output format is standard (`format_description.txt` of google/snappy); only the search for matches differs.
//! Unlike in the `snap` crate, a match is also extended to the left, so that not every position has to be tried:
//! without matches, steps are two bytes and grow quickly. Most of the time is spent on latency: on loading the position
//! after a match, and on branch mispredictions. Dependencies between steps are therefore kept short, and rare cases
//! moved out of the main path.

use std::hint::select_unpredictable;

/// Size of the blocks within which matches are searched: distances then fit in two bytes.
const BLOCK: usize = 1 << 16;
const TABLE_BITS: u32 = 14;
/// Size up to which a block gets a smaller table: clearing a large one would take a considerable part of the time.
const SMALL_BLOCK: usize = 2 << 10;
const SMALL_TABLE_BITS: u32 = 11;
/// Number of bytes that are hashed. With five, fewer useless short matches are found, such as those of value lengths.
const HASHED_BYTES: u32 = 5;
/// Number of bytes that are hashed where nearly everything matches: with four, branch predictions for consecutive
/// matches fail less often.
const HASHED_BYTES_DENSE: u32 = 4;
/// Divisor for the literal bytes of the previous block, below which a block counts as dense.
const DENSE_SHARE: usize = 4;
/// Least length of a match.
const MIN_MATCH: usize = 4;
/// First step, in units of 1/[`STEP_SHARE`] byte; each step without a match lengthens the next by one unit.
const FIRST_STEP: usize = 40;
const STEP_SHARE: usize = 16;
/// Number of bytes that are copied for a short literal, whatever its length.
const SHORT_LITERAL: usize = 32;
/// Distance from the end of a block in which no match is searched, so that eight bytes can be loaded at any searched
/// position.
const MARGIN: usize = 16;

type Table = [u16; 1 << TABLE_BITS];
/// A block with the following bytes, so that a short literal can be loaded from any position in it.
type BlockBytes = [u8; BLOCK + SHORT_LITERAL];

/// Compressor with a reusable table.
pub(super) struct Snappy {
    /// Last position in the block for each hash.
    table: Box<Table>,
    /// Copy of a block that too few bytes follow.
    end: Box<BlockBytes>,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0; 1 << TABLE_BITS]), end: Box::new([0; BLOCK + SHORT_LITERAL]) }
    }

    /// Limit of the compressed size for this much content, in bytes.
    pub(super) fn max_bytes(content: usize) -> usize {
        32 + content + content / 6
    }

    /// Compresses `content`, of less than 4 GiB. Returns the number of bytes used in `into`, which must have room for
    /// [`Self::max_bytes`].
    pub(super) fn compress(&mut self, content: &[u8], into: &mut [u8]) -> usize {
        let mut output = Output { bytes: into, at: 0, literals: 0 };
        output.put_length(content.len());
        self.compress_blocks(content, &mut output, |_| {});
        output.at
    }

    /// Compresses `content`, and passes the output on in pieces.
    pub(super) fn compress_in_pieces(&mut self, content: &[u8], mut piece: impl FnMut(&[u8])) {
        let mut bytes = vec![0; Self::max_bytes(BLOCK)];
        let mut output = Output { bytes: &mut bytes, at: 0, literals: 0 };
        output.put_length(content.len());
        self.compress_blocks(content, &mut output, |output| {
            piece(&output.bytes[..output.at]);
            output.at = 0;
        });
    }

    /// Compresses `content` block by block; `done` is called after each.
    #[inline(always)]
    fn compress_blocks(&mut self, content: &[u8], output: &mut Output<'_>, mut done: impl FnMut(&mut Output<'_>)) {
        let (mut rest, mut is_dense) = (content, false);
        while !rest.is_empty() {
            let length = rest.len().min(BLOCK);
            let bytes = match rest.first_chunk() {
                Some(bytes) => bytes,
                None => {
                    self.end[..length].copy_from_slice(&rest[..length]);
                    &*self.end
                }
            };
            output.literals = 0;
            let block = Block { bytes, length, table: &mut self.table };
            match is_dense {
                _ if length <= SMALL_BLOCK => block.compress::<HASHED_BYTES, SMALL_TABLE_BITS>(output),
                true => block.compress::<HASHED_BYTES_DENSE, TABLE_BITS>(output),
                false => block.compress::<HASHED_BYTES, TABLE_BITS>(output),
            }
            is_dense = output.literals * DENSE_SHARE < length;
            rest = &rest[length..];
            done(output);
        }
    }
}

/// Block in which matches are searched.
struct Block<'a> {
    bytes: &'a BlockBytes,
    length: usize,
    table: &'a mut Table,
}

/// A match: a position whose bytes occurred before.
struct Match {
    place: usize,
    before: usize,
    /// XOR of eight bytes at both positions; the first four are equal.
    differ: u64,
}

impl Block<'_> {
    // A separate function per block, so that profiles show it.
    #[inline(never)]
    fn compress<const HASHED: u32, const BITS: u32>(mut self, output: &mut Output<'_>) {
        let mut done = 0;
        if self.length > MARGIN + 1 {
            self.table[..1 << BITS].fill(0);
            // The minimum lets the compiler omit bounds checks for loads up to there.
            let last = (self.length - MARGIN).min(BLOCK - MARGIN);
            let mut at = 1;
            while let Some(found) = self.next_match::<HASHED, BITS>(at, last) {
                (at, done) = self.put_matches::<HASHED, BITS>(found, done, last, output);
                if at > last {
                    break;
                }
            }
        }
        output.literal(self.bytes, done, self.length);
    }

    /// Loads eight bytes.
    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        if at > BLOCK + SHORT_LITERAL - 8 {
            return 0;
        }
        self.bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Stores a position in the table. Returns the one that was there before.
    #[inline(always)]
    fn swap<const HASHED: u32, const BITS: u32>(&mut self, bytes: u64, place: usize) -> u16 {
        let hash = (bytes << (64 - 8 * HASHED)).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - BITS);
        std::mem::replace(&mut self.table[hash as usize], place as u16)
    }

    /// Match at a position with these bytes, if there is one. Stores the position in the table.
    #[inline(always)]
    fn match_at<const HASHED: u32, const BITS: u32>(&mut self, place: usize, bytes: u64) -> Option<Match> {
        let before = usize::from(self.swap::<HASHED, BITS>(bytes, place));
        let differ = bytes ^ self.load(before);
        (differ as u32 == 0).then_some(Match { place, before, differ })
    }

    /// Next match from `at` to `last`.
    #[inline(always)]
    fn next_match<const HASHED: u32, const BITS: u32>(&mut self, mut at: usize, last: usize) -> Option<Match> {
        let mut step = FIRST_STEP;
        while at <= last {
            if let Some(found) = self.match_at::<HASHED, BITS>(at, self.load(at)) {
                return Some(found);
            }
            at += step / STEP_SHARE;
            step += 1;
        }
        None
    }

    /// Writes a match, preceded by pending literals, and matches that follow immediately. Returns the next position to
    /// search, and the position up to which everything is written.
    #[inline(always)]
    fn put_matches<const HASHED: u32, const BITS: u32>(
        &mut self,
        found: Match,
        done: usize,
        last: usize,
        output: &mut Output<'_>,
    ) -> (usize, usize) {
        let mut end = self.end_of(&found);
        let start = found.place - self.same_before(&found).min(found.place - done);
        output.literal(self.bytes, done, start);
        output.copy(found.place - found.before, end - start);
        loop {
            if end > last {
                return (end, end);
            }
            let bytes = self.load(end);
            self.swap::<HASHED, BITS>(self.load(end - 1), end - 1);
            let Some(found) = self.match_at::<HASHED, BITS>(end, bytes) else {
                return (end + 1, end);
            };
            end = self.end_of(&found);
            output.copy(found.place - found.before, end - found.place);
        }
    }

    /// End of a match.
    #[inline(always)]
    fn end_of(&self, found: &Match) -> usize {
        if found.differ != 0 {
            return found.place + found.differ.trailing_zeros() as usize / 8;
        }
        let (mut a, mut b) = (found.place + 8, found.before + 8);
        while a + 8 <= self.length {
            let differ = self.load(a) ^ self.load(b);
            if differ != 0 {
                return a + differ.trailing_zeros() as usize / 8;
            }
            (a, b) = (a + 8, b + 8);
        }
        while a < self.length && self.bytes[a] == self.bytes[b] {
            (a, b) = (a + 1, b + 1);
        }
        a
    }

    /// Number of equal bytes before a match, up to eight.
    #[inline(always)]
    fn same_before(&self, found: &Match) -> usize {
        let (a, b) = (found.place, found.before);
        match b.checked_sub(8) {
            Some(start) => (self.load(a - 8) ^ self.load(start)).leading_zeros() as usize / 8,
            None => (0..b).take_while(|n| self.bytes[a - 1 - n] == self.bytes[b - 1 - n]).count(),
        }
    }
}

/// Compressed output as a sequence of elements, each with a tag.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Number of bytes of the block written as literals.
    literals: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// Writes the length of the content, which precedes everything else.
    fn put_length(&mut self, mut length: usize) {
        while length >= 0x80 {
            self.put(length as u8 | 0x80);
            length >>= 7;
        }
        self.put(length as u8);
    }

    /// Writes bytes as a literal, if there are any.
    #[inline(always)]
    fn literal(&mut self, block: &BlockBytes, from: usize, to: usize) {
        let length = to - from;
        self.literals += length;
        if length <= SHORT_LITERAL
            && let Some(bytes) = block[from..].first_chunk::<SHORT_LITERAL>()
            && let Some(room) = self.bytes.get_mut(self.at..self.at + 1 + SHORT_LITERAL)
        {
            room[0] = (length as u8).wrapping_sub(1) << 2;
            room[1..].copy_from_slice(bytes);
            self.at += select_unpredictable(length == 0, 0, 1 + length);
        } else {
            self.at += put_literal(&mut self.bytes[self.at..], &block[from..to]);
        }
    }

    /// Writes a copy of earlier bytes at a distance. An element covers up to 64 bytes.
    #[inline(always)]
    fn copy(&mut self, distance: usize, mut length: usize) {
        // Elements of 64 bytes, such that the rest is long enough for an element of its own.
        while length >= 64 + MIN_MATCH {
            self.put_copy(distance, 64);
            length -= 64;
        }
        if length > 64 {
            self.put_copy(distance, 60);
            length -= 60;
        }
        self.put_copy(distance, length);
    }

    /// Writes an element of two bytes if length and distance are small, else of three.
    #[inline(always)]
    fn put_copy(&mut self, distance: usize, length: usize) {
        let is_small = length <= 11 && distance < 2048;
        let small = (distance >> 8 << 5 | (length.wrapping_sub(4) & 7) << 2 | 1) | (distance & 0xff) << 8;
        let large = (length - 1) << 2 | 2 | distance << 8;
        let element = select_unpredictable(is_small, small, large) as u32;
        self.bytes[self.at..self.at + 4].copy_from_slice(&element.to_le_bytes());
        self.at += 3 - usize::from(is_small);
    }
}

/// Writes a literal of any length. Returns its size.
#[inline(never)]
fn put_literal(into: &mut [u8], bytes: &[u8]) -> usize {
    let Some(length) = bytes.len().checked_sub(1) else { return 0 };
    let tag: &[u8] = match length {
        short @ 0..60 => &[(short as u8) << 2],
        medium @ 60..256 => &[60 << 2, medium as u8],
        long => &[61 << 2, long as u8, (long >> 8) as u8],
    };
    let end = tag.len() + bytes.len();
    into[..tag.len()].copy_from_slice(tag);
    into[tag.len()..end].copy_from_slice(bytes);
    end
}

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn check(snappy: &mut Snappy, content: &[u8]) -> usize {
        let mut into = vec![0; Snappy::max_bytes(content.len())];
        let length = snappy.compress(content, &mut into);
        let back = snap::raw::Decoder::new().decompress_vec(&into[..length]).unwrap();
        assert!(back == content, "{} bytes came back as others", content.len());
        let mut pieces = Vec::new();
        snappy.compress_in_pieces(content, |piece| pieces.extend_from_slice(piece));
        assert!(pieces == into[..length] || content.is_empty(), "pieces are of other bytes");
        length
    }

    /// Bytes that partly repeat earlier ones.
    fn content(rng: &mut Rng) -> Vec<u8> {
        let scale = rng.u32(1..19);
        let wanted = rng.usize(..1 << scale);
        let letters = rng.u8(1..);
        let mut content = Vec::new();
        while content.len() < wanted {
            match rng.u8(..3) {
                0 => content.extend((0..rng.usize(..40)).map(|_| rng.u8(..letters))),
                1 => content.extend(std::iter::repeat_n(rng.u8(..), rng.usize(..300))),
                _ => {
                    let from = rng.usize(..content.len().max(1)).min(content.len());
                    let to = (from + rng.usize(..100)).min(content.len());
                    content.extend_from_within(from..to);
                }
            }
        }
        content
    }

    #[test]
    fn what_is_compressed_comes_back() {
        let mut snappy = Snappy::new();
        let mut rng = Rng::with_seed(7);
        for _ in 0..2000 {
            check(&mut snappy, &content(&mut rng));
        }
        for length in (0..100).chain(BLOCK - 40..BLOCK + 40).chain([3 * BLOCK]) {
            check(&mut snappy, &vec![b'a'; length]);
            check(&mut snappy, &(0..length).map(|_| rng.u8(..)).collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_was_compressed_before_makes_no_difference() {
        let (mut used, mut rng) = (Snappy::new(), Rng::with_seed(9));
        for _ in 0..300 {
            let content = content(&mut rng);
            let mut into = [vec![0; Snappy::max_bytes(content.len())], vec![1; Snappy::max_bytes(content.len())]];
            let fresh = Snappy::new().compress(&content, &mut into[0]);
            let again = used.compress(&content, &mut into[1]);
            assert!(into[0][..fresh] == into[1][..again]);
        }
    }

    #[test]
    fn text_becomes_nearly_as_small_as_elsewhere() {
        let mut rng = Rng::with_seed(7);
        let words: Vec<String> = (0..500).map(|_| (0..rng.usize(2..9)).map(|_| rng.lowercase()).collect()).collect();
        let text = (0..60_000).map(|_| words[rng.usize(..words.len())].as_str()).collect::<Vec<_>>().join(" ");
        let ours = check(&mut Snappy::new(), text.as_bytes());
        let theirs = snap::raw::Encoder::new().compress_vec(text.as_bytes()).unwrap().len();
        assert!(ours * 100 < theirs * 106, "{ours} bytes against {theirs}");
        let random: Vec<u8> = (0..1 << 20).map(|_| rng.u8(..)).collect();
        assert!(check(&mut Snappy::new(), &random) < random.len() + random.len() / 1000);
    }
}
