//! Dictionary of a column chunk: its distinct values with their indices, in a hash table with one lookup per value.

use super::pages::MAX_SPARE_BYTES;
use super::statistics::{Bounds, prefix};
use crate::prefetch::prefetch;
use millwork_ndjson::same;

/// Key of a table slot: up to seven bytes of a value with their length, or, marked by the highest bit, 31 bits of the
/// hash of a longer value, followed by its position in the page.
type Word = u64;

const LONG: Word = 1 << 63;
const PLACE: Word = u32::MAX as Word;
/// Length of the longest value that a word contains.
const MAX_SHORT: usize = 7;
/// Limit of the slots probed before the dictionary is given up, against values that collide on purpose. Other values
/// never occupy so many consecutive slots, whatever the size of the table, which depends on earlier chunks.
const MAX_PROBES: usize = 1024;
const MIN_SLOTS: usize = 64;
/// Number of values that are looked up together, so that memory can be prefetched.
const AHEAD: usize = 32;
/// Limit of a value's length: 1 MiB. A longer one would exceed the dictionary's limit anyway, and need not be copied
/// first.
const MAX_VALUE_BYTES: usize = 1 << 20;
/// Limit of the slots of a table that is kept for reuse.
const MAX_SPARE_SLOTS: usize = 1 << 16;

#[derive(Clone, Copy)]
struct Slot {
    word: Word,
    /// Index of the value, or [`FREE`].
    index: u32,
    /// Number of the page in which the value last occurred.
    page: u32,
}

const FREE: u32 = u32::MAX;
const EMPTY: Slot = Slot { word: 0, index: FREE, page: 0 };

/// Dictionary of one column chunk.
pub(super) struct Dictionary {
    slots: Vec<Slot>,
    /// 64 minus the binary logarithm of the table's size.
    shift: u32,
    /// Dictionary page: each value preceded by its length.
    page: Vec<u8>,
    /// Position of each value's length in the page.
    starts: Vec<u32>,
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self { slots: Vec::new(), shift: 0, page: Vec::new(), starts: Vec::new() }
    }

    /// Number of values in the dictionary.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    /// Dictionary page so far, in PLAIN encoding.
    pub(super) fn page(&self) -> &[u8] {
        &self.page
    }

    /// A value preceded by its length.
    pub(super) fn plain(&self, index: u32) -> &[u8] {
        let start = self.starts[index as usize] as usize;
        let end = self.starts.get(index as usize + 1).map_or(self.page.len(), |next| *next as usize);
        &self.page[start..end]
    }

    /// Removes all values. The memory of their text is kept, unless unusually large. The next chunk gets a table for
    /// about as many values: a larger one would take long to clear, and not fit in the CPU caches.
    pub(super) fn clear(&mut self) {
        if self.starts.is_empty() {
            return;
        }
        if self.slots.len() > MAX_SPARE_SLOTS {
            self.slots = Vec::new();
        }
        let wanted = (self.len() * 2).next_power_of_two().max(MIN_SLOTS);
        if wanted < self.slots.len() {
            self.slots.truncate(wanted);
            self.shift = shift_for(wanted);
        }
        self.slots.fill(EMPTY);
        if self.page.capacity() > MAX_SPARE_BYTES {
            self.page = Vec::new();
        }
        self.page.clear();
        self.starts.clear();
    }

    /// Approximate memory of the values, with a table of the size that they require.
    pub(super) fn memory_bytes(&self) -> usize {
        // The table is doubled when five of eight slots are in use.
        self.page.len() + self.starts.len() * (size_of::<u32>() + 2 * size_of::<Slot>() * 8 / 5)
    }

    /// Reduces the memory for values, and for the table, to this size each. Must be called when there are no values.
    pub(super) fn give_back(&mut self, spare_bytes: usize) {
        self.page.shrink_to(spare_bytes);
        self.starts.shrink_to(spare_bytes / size_of::<u32>());
        if self.slots.len() * size_of::<Slot>() > spare_bytes {
            (self.slots, self.shift) = (Vec::new(), 0);
        }
    }

    /// Index of the value at `start..end` of `text`; `None` if there is no more room. If the value is new to page
    /// number `page` (from 1), `bounds` are updated.
    pub(super) fn index(
        &mut self,
        text: &[u8],
        start: usize,
        end: usize,
        page: u32,
        bounds: &mut Bounds,
    ) -> Option<u32> {
        self.index_of(word(text, start, end), &text[start..end], page, bounds)
    }

    /// Appends the indices of values, whose offsets in `text` are given. Returns the first one for which there was no
    /// more room, if any.
    pub(super) fn push_indices(
        &mut self,
        (text, offsets): (&[u8], &[i32]),
        page: u32,
        bounds: &mut Bounds,
        into: &mut Vec<u32>,
    ) -> Option<usize> {
        let values = offsets.len().saturating_sub(1);
        let place = |value: usize| (offsets[value] as usize, offsets[value + 1] as usize);
        into.reserve(values);
        for from in (0..values).step_by(AHEAD) {
            let to = values.min(from + AHEAD);
            // Table and values exceed the CPU caches: for each value, the slot and, for longer values, the text are
            // prefetched before the first value of the group is looked up.
            let mut words = [0; AHEAD];
            for (word, value) in words.iter_mut().zip(from..to) {
                let (start, end) = place(value);
                *word = self::word(text, start, end);
                prefetch(self.slots.as_ptr().wrapping_add(self.place(*word)));
            }
            let words = &words[..to - from];
            for word in words.iter().filter(|word| *word & LONG != 0) {
                if let Some(slot) = self.slots.get(self.place(*word)).filter(|slot| slot.word & LONG != 0) {
                    prefetch(self.page.as_ptr().wrapping_add((slot.word & PLACE) as usize));
                }
            }
            for (word, value) in words.iter().zip(from..to) {
                let (start, end) = place(value);
                match self.index_of(*word, &text[start..end], page, bounds) {
                    Some(index) => into.push(index),
                    None => return Some(value),
                }
            }
        }
        None
    }

    #[inline(always)]
    fn index_of(&mut self, word: Word, value: &[u8], page: u32, bounds: &mut Bounds) -> Option<u32> {
        if self.starts.len() * 8 >= self.slots.len() * 5 {
            self.grow();
        }
        let mask = self.slots.len() - 1;
        let first = self.place(word);
        for at in first..first + MAX_PROBES {
            let slot = self.slots[at & mask];
            if slot.index == FREE {
                if value.len() > MAX_VALUE_BYTES {
                    return None;
                }
                let index = self.starts.len() as u32;
                let place = self.add(value);
                let word = if word & LONG == 0 { word } else { word | Word::from(place) };
                self.slots[at & mask] = Slot { word, index, page };
                bounds.add(value, word_prefix(word, value), &self.page, || place);
                return Some(index);
            }
            let is_same = match word & LONG {
                0 => slot.word == word,
                _ => slot.word & !PLACE == word && self.stands_at((slot.word & PLACE) as usize, value),
            };
            if is_same {
                if slot.page != page {
                    self.slots[at & mask].page = page;
                    let place = || self.starts[slot.index as usize];
                    bounds.add(value, word_prefix(word, value), &self.page, place);
                }
                return Some(slot.index);
            }
        }
        None
    }

    /// Tells whether this value is at a position of the page, after its length.
    #[inline(always)]
    fn stands_at(&self, place: usize, value: &[u8]) -> bool {
        let there = &self.page[place..];
        let length = there.first_chunk().map_or(0, |length| u32::from_le_bytes(*length) as usize);
        length == value.len() && same(&there[4..4 + length], value)
    }

    /// Appends a value to the page. Returns its position.
    fn add(&mut self, value: &[u8]) -> u32 {
        let place = self.page.len() as u32;
        self.starts.push(place);
        self.page.extend_from_slice(&(value.len() as u32).to_le_bytes());
        self.page.extend_from_slice(value);
        place
    }

    fn place(&self, word: Word) -> usize {
        let word = if word & LONG == 0 { word } else { word & !PLACE };
        // Without slots the shift is zero.
        (fold(word, 0x9e37_79b9_7f4a_7c15) >> self.shift) as usize
    }

    #[cold]
    fn grow(&mut self) {
        let size = (self.slots.len() * 2).max(MIN_SLOTS);
        self.shift = shift_for(size);
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for slot in old.into_iter().filter(|slot| slot.index != FREE) {
            let mut at = self.place(slot.word);
            while self.slots[at & (size - 1)].index != FREE {
                at += 1;
            }
            self.slots[at & (size - 1)] = slot;
        }
    }
}

/// Shift that turns a hash into a slot index of a table of this size, a power of two.
fn shift_for(size: usize) -> u32 {
    64 - size.trailing_zeros()
}

/// Word of the value at `start..end` of `text`.
#[inline(always)]
fn word(text: &[u8], start: usize, end: usize) -> Word {
    let length = end - start;
    if length > MAX_SHORT {
        return hash(&text[start..end]) & !PLACE | LONG;
    }
    let bytes = match text[start..].first_chunk::<8>() {
        Some(bytes) => u64::from_le_bytes(*bytes),
        None => eight(&text[start..end]),
    };
    let kept = !(u64::MAX << (length * 8));
    bytes & kept | (length as u64) << 56
}

/// Up to eight bytes as a number.
fn eight(bytes: &[u8]) -> u64 {
    let mut padded = [0; 8];
    padded[..bytes.len()].copy_from_slice(bytes);
    u64::from_le_bytes(padded)
}

/// Comparison prefix of the value of a word.
#[inline(always)]
fn word_prefix(word: Word, value: &[u8]) -> u64 {
    if word & LONG == 0 { (word & ((1 << 56) - 1)).swap_bytes() } else { prefix(value, 0, value.len()) }
}

/// Mixes two numbers into one that depends on all their bits.
#[inline(always)]
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    product as u64 ^ (product >> 64) as u64
}

/// Hash of a value of at least eight bytes.
#[inline(always)]
fn hash(value: &[u8]) -> u64 {
    const A: u64 = 0xa076_1d64_78bd_642f;
    const B: u64 = 0xe703_7ed1_a0b4_28db;
    let first = |bytes: &[u8]| bytes.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let last = |bytes: &[u8]| bytes.last_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
    let mut state = A ^ value.len() as u64;
    let mut rest = value;
    while rest.len() > 16 {
        state = fold(first(rest) ^ B, first(&rest[8..]) ^ state);
        rest = &rest[16..];
    }
    // The last sixteen bytes, some of them for the second time; a shorter value is covered from both ends.
    let tail = &value[value.len().saturating_sub(16)..];
    fold(first(tail) ^ B, last(tail) ^ state)
}

/// Values that collide, so that the dictionary is given up.
#[cfg(test)]
pub(super) fn colliding() -> Vec<String> {
    let dictionary = Dictionary { shift: shift_for(2 * MAX_PROBES), ..Dictionary::new() };
    let value = |number: u32| format!("{number:07x}");
    let collides = |value: &String| dictionary.place(word(value.as_bytes(), 0, value.len())) == 0;
    (0..u32::MAX).map(value).filter(collides).take(MAX_PROBES + 50).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    proptest! {
        #[test]
        fn equal_values_have_one_index(values in prop::collection::vec("[ab\\x00]{0,9}|[a-c]{0,40}", 0..600)) {
            let text = values.concat();
            let mut dictionary = Dictionary::new();
            for _ in 0..2 {
                let (mut bounds, mut start) = (Bounds::default(), 0);
                let mut expected: HashMap<&str, u32> = HashMap::new();
                for value in &values {
                    let next = expected.len() as u32;
                    let index = dictionary.index(text.as_bytes(), start, start + value.len(), 1, &mut bounds);
                    start += value.len();
                    let index = index.unwrap();
                    prop_assert_eq!(index, *expected.entry(value).or_insert(next));
                    prop_assert_eq!(&dictionary.plain(index)[4..], value.as_bytes());
                }
                prop_assert_eq!(dictionary.len(), expected.len());
                let found = bounds.values(dictionary.page()).map(|(min, max)| (min.to_vec(), max.to_vec()));
                let min_max = |v: &String| v.clone().into_bytes();
                prop_assert_eq!(found, values.iter().min().map(min_max).zip(values.iter().max().map(min_max)));
                dictionary.clear();
            }
        }
    }

    #[test]
    fn a_table_is_as_large_as_the_values_before_make_it() {
        let texts: Vec<String> = (0..20_000).map(|n| format!("{}{n}", "x".repeat(n % 9))).collect();
        let mut dictionary = Dictionary::new();
        // Each chunk begins with the table of the previous one.
        for (values, table, kept) in
            [(20_000, 32_768, 32_768), (100, 32_768, 256), (200, 512, 512), (0, 512, 512), (3000, 8192, 8192)]
        {
            for round in 0..2 {
                for (index, text) in (0..).zip(&texts[..values]) {
                    let found = dictionary.index(text.as_bytes(), 0, text.len(), 1, &mut Bounds::default());
                    assert_eq!(found, Some(index), "{round} {values}");
                }
            }
            assert_eq!((dictionary.len(), dictionary.slots.len()), (values, table));
            dictionary.clear();
            assert_eq!((dictionary.len(), dictionary.slots.len()), (0, kept));
        }
    }

    #[test]
    fn huge_values_are_not_taken() {
        let text = "x".repeat(MAX_VALUE_BYTES + 1);
        let mut dictionary = Dictionary::new();
        for (bytes, index) in [(MAX_VALUE_BYTES, Some(0)), (MAX_VALUE_BYTES + 1, None), (9, Some(1))] {
            assert_eq!(dictionary.index(text.as_bytes(), 0, bytes, 1, &mut Bounds::default()), index);
        }
        assert!(dictionary.page().len() < MAX_VALUE_BYTES + 100);
    }

    #[test]
    fn no_more_memory_is_kept_than_asked_for() {
        let texts: Vec<String> = (0..5000).map(|n| format!("value {n}")).collect();
        let mut dictionary = Dictionary::new();
        for spare in [1 << 20, 4096, 0] {
            for (index, text) in (0..).zip(&texts) {
                let found = dictionary.index(text.as_bytes(), 0, text.len(), 1, &mut Bounds::default());
                assert_eq!(found, Some(index));
            }
            let estimated = dictionary.memory_bytes();
            let slots = dictionary.slots.len() * size_of::<Slot>();
            assert!(
                estimated * 3 / 2 > slots + dictionary.page.len() && estimated < 2 * (slots + dictionary.page.len())
            );
            dictionary.clear();
            dictionary.give_back(spare);
            let slots = dictionary.slots.len() * size_of::<Slot>();
            assert!(slots <= spare && dictionary.page.capacity() <= spare && dictionary.starts.capacity() * 4 <= spare);
            assert_eq!(slots > 0, spare == 1 << 20);
        }
    }

    #[test]
    fn bounds_are_those_of_a_page() {
        let mut dictionary = Dictionary::new();
        let mut add = |page, text: &str, bounds: &mut Bounds| {
            let _ = dictionary.index(text.as_bytes(), 0, text.len(), page, bounds);
            bounds
                .values(dictionary.page())
                .map(|(min, max)| [min, max].map(|b| String::from_utf8_lossy(b).into_owned()))
        };
        let mut bounds = Bounds::default();
        add(1, "m", &mut bounds);
        add(1, "zzzzzzzzzz", &mut bounds);
        let mut bounds = Bounds::default();
        assert_eq!(add(2, "b", &mut bounds), Some(["b", "b"].map(String::from)));
        assert_eq!(add(2, "m", &mut bounds), Some(["b", "m"].map(String::from)));
        assert_eq!(add(3, "b", &mut Bounds::default()), Some(["b", "b"].map(String::from)));
    }
}
