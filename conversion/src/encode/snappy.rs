//! Snappy, for pages of text: the compression that most of a conversion's time goes into.
//!
//! The format is that of any other encoder (`format_description.txt` of google/snappy); which matches are looked for is
//! our own. Against the `snap` crate, a match is also extended to the left, so that not each place has to be looked at: where
//! nothing matches, steps are two bytes at once and soon more. Five bytes are hashed, which finds fewer of the matches that
//! save next to nothing, such as the lengths of values.

use std::hint::select_unpredictable;

/// Matches are looked for within blocks of this size: two bytes are enough for a distance.
const BLOCK: usize = 1 << 16;
const TABLE_BITS: u32 = 14;
/// How many bytes the hash of a place depends on.
const HASHED_BYTES: u32 = 5;
/// The least length of a match.
const MIN_MATCH: usize = 4;
/// From here to the end of a block no match is looked for, so that eight bytes can be loaded anywhere before it.
const MARGIN: usize = 16;
/// The first step is this over [`STEP_SHARE`], and each one that finds nothing makes the next longer by one over that.
const FIRST_STEP: usize = 40;
const STEP_SHARE: usize = 16;
/// Short literals are copied as so many bytes, whatever their length.
const SHORT_LITERAL: usize = 16;

/// Compresses one content after the other.
pub(super) struct Snappy {
    /// The last place in the block with a hash.
    table: Box<[u16; 1 << TABLE_BITS]>,
}

impl Snappy {
    pub(super) fn new() -> Self {
        Self { table: Box::new([0; 1 << TABLE_BITS]) }
    }

    /// The most bytes that so many become.
    pub(super) fn max_bytes(content: usize) -> usize {
        32 + content + content / 6
    }

    /// Compresses `content`, of less than 4 GiB. Returns how many bytes of `into`, which has room for
    /// [`Self::max_bytes`], are used.
    // Called for each page; so profiles name it.
    #[inline(never)]
    pub(super) fn compress(&mut self, content: &[u8], into: &mut [u8]) -> usize {
        let mut output = Output { bytes: into, at: 0 };
        let mut length = content.len();
        while length >= 0x80 {
            output.put(length as u8 | 0x80);
            length >>= 7;
        }
        output.put(length as u8);
        for block in content.chunks(BLOCK) {
            self.compress_block(block, &mut output);
        }
        output.at
    }

    fn compress_block(&mut self, block: &[u8], output: &mut Output<'_>) {
        let mut done = 0;
        if block.len() > MARGIN + 1 {
            self.table.fill(0);
            let last = block.len() - MARGIN;
            let mut at = 1;
            while let Some((place, found)) = self.next_match(block, at, last) {
                (at, done) = self.put_matches(block, place, found, done, output);
                if at > last {
                    break;
                }
            }
        }
        if done < block.len() {
            output.literal(block, done, block.len());
        }
    }

    /// Puts this place in the table. Returns the one that was there before.
    #[inline(always)]
    fn swap(&mut self, bytes: u64, place: usize) -> usize {
        let hash = (bytes << (64 - 8 * HASHED_BYTES)).wrapping_mul(0x9e37_79b1_85eb_ca87) >> (64 - TABLE_BITS);
        std::mem::replace(&mut self.table[hash as usize], place as u16) as usize
    }

    /// The next place from `at` to `last` whose bytes were there before, and where.
    #[inline(always)]
    fn next_match(&mut self, block: &[u8], mut at: usize, last: usize) -> Option<(usize, usize)> {
        let mut step = FIRST_STEP;
        while at <= last {
            let bytes = load(block, at);
            let before = self.swap(bytes, at);
            if is_match(bytes, load(block, before)) {
                return Some((at, before));
            }
            at += step / STEP_SHARE;
            step += 1;
        }
        None
    }

    /// Writes a match, with what was not written before it, and those that follow at once. Returns where to look next, and
    /// up to where all is written.
    #[inline(always)]
    fn put_matches(
        &mut self,
        block: &[u8],
        mut place: usize,
        mut found: usize,
        done: usize,
        output: &mut Output<'_>,
    ) -> (usize, usize) {
        let same = same_before(block, place, found).min(place - done);
        (place, found) = (place - same, found - same);
        if place > done {
            output.literal(block, done, place);
        }
        loop {
            let length = MIN_MATCH + same_from(block, place + MIN_MATCH, found + MIN_MATCH);
            output.copy(place - found, length);
            place += length;
            if place > block.len() - MARGIN {
                return (place, place);
            }
            self.swap(load(block, place - 1), place - 1);
            let bytes = load(block, place);
            found = self.swap(bytes, place);
            if !is_match(bytes, load(block, found)) {
                return (place + 1, place);
            }
        }
    }
}

/// Eight bytes; those of the end of a block are too few.
#[inline(always)]
fn load(block: &[u8], at: usize) -> u64 {
    block[at..].first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[inline(always)]
fn is_match(a: u64, b: u64) -> bool {
    a as u32 == b as u32
}

/// How many of up to eight bytes before two places are the same.
#[inline(always)]
fn same_before(block: &[u8], a: usize, b: usize) -> usize {
    match b.checked_sub(8) {
        Some(start) => (load(block, a - 8) ^ load(block, start)).leading_zeros() as usize / 8,
        None => (0..b).take_while(|n| block[a - 1 - n] == block[b - 1 - n]).count(),
    }
}

/// How many bytes are the same from two places on, to the end of the block.
#[inline(always)]
fn same_from(block: &[u8], mut a: usize, mut b: usize) -> usize {
    let start = a;
    while a + 8 <= block.len() {
        let differ = load(block, a) ^ load(block, b);
        if differ != 0 {
            return a - start + differ.trailing_zeros() as usize / 8;
        }
        (a, b) = (a + 8, b + 8);
    }
    while a < block.len() && block[a] == block[b] {
        (a, b) = (a + 1, b + 1);
    }
    a - start
}

/// What is written, element by element: a tag, and what belongs to it.
struct Output<'a> {
    bytes: &'a mut [u8],
    at: usize,
}

impl Output<'_> {
    #[inline(always)]
    fn put(&mut self, byte: u8) {
        self.bytes[self.at] = byte;
        self.at += 1;
    }

    /// Bytes as they are.
    #[inline(always)]
    fn literal(&mut self, block: &[u8], from: usize, to: usize) {
        let length = to - from;
        if length <= SHORT_LITERAL
            && let Some(bytes) = block[from..].first_chunk::<SHORT_LITERAL>()
            && let Some(room) = self.bytes.get_mut(self.at + 1..self.at + 1 + SHORT_LITERAL)
        {
            room.copy_from_slice(bytes);
            self.bytes[self.at] = (length as u8 - 1) << 2;
            self.at += 1 + length;
            return;
        }
        match length - 1 {
            short @ 0..60 => self.put((short as u8) << 2),
            medium @ 60..256 => {
                self.put(60 << 2);
                self.put(medium as u8);
            }
            long => {
                self.put(61 << 2);
                self.put(long as u8);
                self.put((long >> 8) as u8);
            }
        }
        self.bytes[self.at..self.at + length].copy_from_slice(&block[from..to]);
        self.at += length;
    }

    /// Bytes that stand a distance before. One element has up to 64 of them.
    #[inline(always)]
    fn copy(&mut self, distance: usize, mut length: usize) {
        // What is left is enough for an element of its own.
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

#[cfg(test)]
mod tests {
    use super::*;
    use fastrand::Rng;

    fn check(snappy: &mut Snappy, content: &[u8]) -> usize {
        let mut into = vec![0; Snappy::max_bytes(content.len())];
        let length = snappy.compress(content, &mut into);
        let back = snap::raw::Decoder::new().decompress_vec(&into[..length]).unwrap();
        assert!(back == content, "{} bytes came back as others", content.len());
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
