//! Snappy, for pages of text: the compression that most of a conversion's time goes into.
//!
//! The format is that of any other encoder (`format_description.txt` of google/snappy); which matches are looked for is
//! our own. Against the `snap` crate, a match is also extended to the left, so that not each place has to be looked at: where
//! nothing matches, steps are two bytes at once and soon more. Most of the time goes into waiting: for the place that the
//! last match's length leads to, and where a guess of the processor about the next match was wrong. So what comes next
//! depends on as little as possible, and what is rare stands apart.

use std::hint::select_unpredictable;

/// Matches are looked for within blocks of this size: two bytes are enough for a distance.
const BLOCK: usize = 1 << 16;
const TABLE_BITS: u32 = 14;
/// A small block has a smaller table: to empty a large one takes a good part of the time that compressing it does.
const SMALL_BLOCK: usize = 2 << 10;
const SMALL_TABLE_BITS: u32 = 11;
/// Number of bytes that the hash of a place depends on. Five find fewer of the matches that save next to nothing, such as the
/// lengths of values.
const HASHED_BYTES: u32 = 5;
/// Number of bytes that the hash depends on where next to everything matches something: with four, a guess that the next bytes
/// match as well is wrong less often.
const HASHED_BYTES_DENSE: u32 = 4;
/// A block is dense when less than one byte of so many of the block before has no match.
const DENSE_SHARE: usize = 4;
/// The least length of a match.
const MIN_MATCH: usize = 4;
/// The first step is this over [`STEP_SHARE`], and each one that finds nothing makes the next longer by one over that.
const FIRST_STEP: usize = 40;
const STEP_SHARE: usize = 16;
/// Short literals are copied as so many bytes, whatever their length.
const SHORT_LITERAL: usize = 32;
/// From here to the end of a block no match is looked for, so that eight bytes can be loaded anywhere before it.
const MARGIN: usize = 16;

type Table = [u16; 1 << TABLE_BITS];
/// A block with what follows it, so that a short literal can be loaded from any place in it.
type BlockBytes = [u8; BLOCK + SHORT_LITERAL];

/// Compresses one content after the other.
pub(super) struct Snappy {
    /// The last place in the block with a hash.
    table: Box<Table>,
    /// A block that too little follows.
    end: Box<BlockBytes>,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0; 1 << TABLE_BITS]), end: Box::new([0; BLOCK + SHORT_LITERAL]) }
    }

    /// Limit of the bytes that this much content becomes.
    pub(super) fn max_bytes(content: usize) -> usize {
        32 + content + content / 6
    }

    /// Compresses `content`, of less than 4 GiB. Returns how many bytes of `into`, which has room for
    /// [`Self::max_bytes`], are used.
    pub(super) fn compress(&mut self, content: &[u8], into: &mut [u8]) -> usize {
        let mut output = Output { bytes: into, at: 0, literals: 0 };
        output.put_length(content.len());
        self.compress_blocks(content, &mut output, |_| {});
        output.at
    }

    /// Compresses `content`, and hands the output out in pieces.
    pub(super) fn compress_in_pieces(&mut self, content: &[u8], mut piece: impl FnMut(&[u8])) {
        let mut bytes = vec![0; Self::max_bytes(BLOCK)];
        let mut output = Output { bytes: &mut bytes, at: 0, literals: 0 };
        output.put_length(content.len());
        self.compress_blocks(content, &mut output, |output| {
            piece(&output.bytes[..output.at]);
            output.at = 0;
        });
    }

    /// Compresses `content` block by block; `done` is told of each that is written.
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

/// Block in which matches are looked for.
struct Block<'a> {
    bytes: &'a BlockBytes,
    length: usize,
    table: &'a mut Table,
}

/// A place whose bytes were there before.
struct Match {
    place: usize,
    before: usize,
    /// In which of eight bytes the two differ: not in the first four.
    differ: u64,
}

impl Block<'_> {
    // Called for each block; so profiles name it.
    #[inline(never)]
    fn compress<const HASHED: u32, const BITS: u32>(mut self, output: &mut Output<'_>) {
        let mut done = 0;
        if self.length > MARGIN + 1 {
            self.table[..1 << BITS].fill(0);
            // Never more than the latter; so the compiler knows that loads up to there need no checks.
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

    /// Eight bytes.
    #[inline(always)]
    fn load(&self, at: usize) -> u64 {
        if at > BLOCK + SHORT_LITERAL - 8 {
            return 0;
        }
        self.bytes[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
    }

    /// Puts this place in the table. Returns the one that was there before.
    #[inline(always)]
    fn swap<const HASHED: u32, const BITS: u32>(&mut self, bytes: u64, place: usize) -> u16 {
        let hash = (bytes << (64 - 8 * HASHED)).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - BITS);
        std::mem::replace(&mut self.table[hash as usize], place as u16)
    }

    /// The match at a place with these bytes, which is put in the table, if there is one.
    #[inline(always)]
    fn match_at<const HASHED: u32, const BITS: u32>(&mut self, place: usize, bytes: u64) -> Option<Match> {
        let before = usize::from(self.swap::<HASHED, BITS>(bytes, place));
        let differ = bytes ^ self.load(before);
        (differ as u32 == 0).then_some(Match { place, before, differ })
    }

    /// The next match from `at` to `last`.
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

    /// Writes a match, with what was not written before it, and those that follow at once. Returns where to look next, and
    /// up to where all is written.
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

    /// Finds the end of a match.
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

    /// Counts the bytes, of up to eight before a match, that are the same, too.
    #[inline(always)]
    fn same_before(&self, found: &Match) -> usize {
        let (a, b) = (found.place, found.before);
        match b.checked_sub(8) {
            Some(start) => (self.load(a - 8) ^ self.load(start)).leading_zeros() as usize / 8,
            None => (0..b).take_while(|n| self.bytes[a - 1 - n] == self.bytes[b - 1 - n]).count(),
        }
    }
}

/// Compressed bytes, element by element: a tag, and what belongs to it.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
    /// Number of bytes of the block that were written as they are.
    literals: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// The length of the content, which stands before all else.
    fn put_length(&mut self, mut length: usize) {
        while length >= 0x80 {
            self.put(length as u8 | 0x80);
            length >>= 7;
        }
        self.put(length as u8);
    }

    /// Bytes as they are, if there are any.
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

    /// Bytes that stand a distance before. One element has up to 64 of them.
    #[inline(always)]
    fn copy(&mut self, distance: usize, mut length: usize) {
        // Elements of 64 bytes leave a rest that is enough for an element of its own.
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

    /// Two bytes where length and distance are small, else three.
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

/// Writes a literal of any length. Returns how many bytes it takes.
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

    /// Bytes that repeat others from before, and some that do not.
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
