//! Minimum and maximum values of pages and chunks, for Parquet statistics and page indexes.

use parquet::basic::{BoundaryOrder, Type};
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::metadata::{ColumnIndexBuilder, LevelHistogram};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::statistics::{Statistics, ValueStatistics};

/// Limit of the length of bounds in statistics, as in the `parquet` crate; longer values are truncated.
const MAX_BYTES: usize = 64;

/// Smallest and largest value of an open page, as positions in a buffer of PLAIN-encoded values.
#[derive(Default)]
pub(super) struct Bounds {
    places: Option<[u32; 2]>,
    /// Comparison prefixes of the two values.
    prefixes: [u64; 2],
}

impl Bounds {
    /// Adds a value with this prefix; its length is at `place` of `plain`.
    #[inline(always)]
    pub(super) fn add(&mut self, value: &[u8], prefix: u64, plain: &[u8], place: impl Fn() -> u32) {
        let Some(places) = &mut self.places else {
            (self.places, self.prefixes) = (Some([place(); 2]), [prefix; 2]);
            return;
        };
        let [min, max] = self.prefixes;
        if prefix < min || (prefix == min && value < plain_value(plain, places[0])) {
            (places[0], self.prefixes[0]) = (place(), prefix);
        }
        if prefix > max || (prefix == max && value > plain_value(plain, places[1])) {
            (places[1], self.prefixes[1]) = (place(), prefix);
        }
    }

    /// Smallest and largest value.
    pub(super) fn values<'a>(&self, plain: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        self.places.map(|[min, max]| (plain_value(plain, min), plain_value(plain, max)))
    }
}

/// First eight bytes of `text[start..end]`, as a number with the same order.
#[inline(always)]
pub(super) fn prefix(text: &[u8], start: usize, end: usize) -> u64 {
    let length = (end - start).min(8);
    match text[start..].first_chunk::<8>() {
        Some(bytes) => u64::from_be_bytes(*bytes) & u64::MAX.checked_shl(64 - 8 * length as u32).unwrap_or(0),
        None => {
            let mut padded = [0; 8];
            padded[..length].copy_from_slice(&text[start..end]);
            u64::from_be_bytes(padded)
        }
    }
}

fn plain_value(plain: &[u8], place: u32) -> &[u8] {
    let Some((length, rest)) = plain.get(place as usize..).and_then(<[u8]>::split_first_chunk::<4>) else { return &[] };
    rest.get(..u32::from_le_bytes(*length) as usize).unwrap_or_default()
}

/// A bound for values, and whether it was truncated.
type Bound = (Vec<u8>, bool);

/// Statistics of a column chunk, collected page by page.
pub(super) struct ChunkStatistics {
    is_nullable: bool,
    index: ColumnIndexBuilder,
    /// Smallest and, if it can be expressed, largest value, truncated like those of pages, since values may be huge.
    bounds: Option<(Bound, Option<Bound>)>,
    /// Bounds in the index of the last page with values.
    last: Option<(Vec<u8>, Vec<u8>)>,
    is_ascending: bool,
    is_descending: bool,
    rows: u64,
    nulls: u64,
}

impl ChunkStatistics {
    pub(super) fn new(is_nullable: bool) -> Self {
        Self {
            is_nullable,
            index: ColumnIndexBuilder::new(Type::BYTE_ARRAY),
            bounds: None,
            last: None,
            is_ascending: true,
            is_descending: true,
            rows: 0,
            nulls: 0,
        }
    }

    pub(super) fn rows(&self) -> u64 {
        self.rows
    }

    /// Adds a page. A page without bounds has only nulls.
    pub(super) fn add_page(&mut self, rows: usize, nulls: usize, bounds: Option<(&[u8], &[u8])>) {
        self.rows += rows as u64;
        self.nulls += nulls as u64;
        let bounds = bounds.map(|(min, max)| (truncated_min(min), truncated_max(max)));
        self.bounds = match (self.bounds.take(), &bounds) {
            (Some((low, high)), Some((min, max))) => {
                Some((low.min(min.clone()), high.zip(max.clone()).map(|(high, max)| high.max(max))))
            }
            (known, new) => known.or_else(|| new.clone()),
        };
        let bounds = match bounds {
            Some((_, None)) => return self.index.to_invalid(),
            Some(((min, _), Some((max, _)))) => Some((min, max)),
            None => None,
        };
        // Readers rely on the order of the bounds in the index.
        if let (Some((last_min, last_max)), Some((min, max))) = (&self.last, &bounds) {
            self.is_ascending &= last_min <= min && last_max <= max;
            self.is_descending &= last_min >= min && last_max >= max;
        }
        let (min, max) = bounds.clone().unwrap_or_default();
        self.index.append(bounds.is_none(), min, max, nulls as i64);
        self.last = bounds.or(self.last.take());
        self.index.append_histograms(&None, &self.histogram(rows as u64, nulls as u64));
    }

    /// Number of null and of other rows; `None` where nulls are not allowed.
    fn histogram(&self, rows: u64, nulls: u64) -> Option<LevelHistogram> {
        self.is_nullable.then(|| LevelHistogram::from(vec![nulls as i64, (rows - nulls) as i64]))
    }

    /// Histogram of the whole chunk.
    pub(super) fn levels(&self) -> Option<LevelHistogram> {
        self.histogram(self.rows, self.nulls)
    }

    /// Statistics of the whole chunk.
    pub(super) fn of_chunk(&self) -> Statistics {
        let (min, max) = self.bounds.clone().map_or((None, None), |(min, max)| (Some(min), max));
        let is_exact = |bound: &Option<Bound>| bound.as_ref().is_some_and(|(_, is_cut)| !is_cut);
        let (min_is_exact, max_is_exact) = (is_exact(&min), is_exact(&max));
        let bytes = |bound: Option<Bound>| bound.map(|(bytes, _)| ByteArray::from(bytes));
        let statistics = ValueStatistics::new(bytes(min), bytes(max), None, Some(self.nulls), false);
        Statistics::ByteArray(statistics.with_min_is_exact(min_is_exact).with_max_is_exact(max_is_exact))
    }

    /// Column index; [`ColumnIndexMetaData::NONE`] if the maximum of a page cannot be expressed.
    pub(super) fn into_index(mut self) -> Result<ColumnIndexMetaData, ParquetError> {
        if !self.index.valid() {
            return Ok(ColumnIndexMetaData::NONE);
        }
        self.index.set_boundary_order(match (self.is_ascending, self.is_descending) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        });
        self.index.build()
    }
}

/// Position of at most `MAX_BYTES` at which a text can be truncated between characters.
fn cut(text: &[u8]) -> usize {
    let is_start = |at: &usize| text[*at] & 0xc0 != 0x80;
    (MAX_BYTES - 3..=MAX_BYTES).rev().find(is_start).unwrap_or(MAX_BYTES)
}

/// Lower bound of at most 64 bytes, and whether it differs from the value.
fn truncated_min(value: &[u8]) -> Bound {
    if value.len() <= MAX_BYTES { (value.to_vec(), false) } else { (value[..cut(value)].to_vec(), true) }
}

/// Upper bound of at most 64 bytes, and whether it differs from the value; `None` if there is none.
fn truncated_max(value: &[u8]) -> Option<Bound> {
    if value.len() <= MAX_BYTES {
        return Some((value.to_vec(), false));
    }
    Some((incremented(std::str::from_utf8(&value[..cut(value)]).ok()?)?, true))
}

/// The text up to its last character that has a successor which fits, with that successor in its place.
fn incremented(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        // Iterating over `char` skips surrogates.
        let next = (last..=char::MAX).nth(1).filter(|next| at + next.len_utf8() <= MAX_BYTES)?;
        let mut larger = text.as_bytes()[..at].to_vec();
        larger.extend_from_slice(next.encode_utf8(&mut [0; 4]).as_bytes());
        Some(larger)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cut_bounds_hold(text in "[a-c\u{7f}é\u{7ff}\u{d7ff}\u{ffff}\u{10ffff}]{0,90}") {
            let (min, is_cut) = truncated_min(text.as_bytes());
            prop_assert!(*min <= *text.as_bytes() && min.len() <= MAX_BYTES && std::str::from_utf8(&min).is_ok());
            prop_assert_eq!(is_cut, min != text.as_bytes());
            let Some((max, is_cut)) = truncated_max(text.as_bytes()) else {
                prop_assert_eq!(text.chars().take_while(|c| *c == char::MAX).count().min(16), 16);
                return Ok(());
            };
            prop_assert!(*max >= *text.as_bytes() && max.len() <= MAX_BYTES && std::str::from_utf8(&max).is_ok());
            prop_assert_eq!(is_cut, max != text.as_bytes());
        }
    }

    #[test]
    fn the_last_character_of_each_length_has_a_next_one() {
        for last in ['\u{7f}', '\u{7ff}', '\u{d7ff}', '\u{ffff}'] {
            let text = last.to_string().repeat(100);
            let (max, is_cut) = truncated_max(text.as_bytes()).unwrap();
            assert!(is_cut && *max > *text.as_bytes() && max.len() <= MAX_BYTES, "{last:?}");
        }
        assert_eq!(truncated_max("\u{10ffff}".repeat(17).as_bytes()), None);
    }
}
