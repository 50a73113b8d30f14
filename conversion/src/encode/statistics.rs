//! The smallest and largest values of pages and chunks, and what readers are told of them.

use datafusion::parquet::basic::{BoundaryOrder, Type};
use datafusion::parquet::data_type::ByteArray;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::metadata::{ColumnIndexBuilder, LevelHistogram};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::{Statistics, ValueStatistics};

/// Longer values are cut to this many bytes, as the `parquet` crate does it.
const MAX_BYTES: usize = 64;

/// The smallest and largest value of an open page, as places in a buffer of values in the encoding PLAIN.
#[derive(Default)]
pub(super) struct Bounds {
    places: Option<[u32; 2]>,
    /// The first bytes of the two.
    prefixes: [u64; 2],
}

impl Bounds {
    /// Takes in a value with this prefix; its length stands at `place` of `plain`.
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

    /// The smallest and the largest value.
    pub(super) fn values<'a>(&self, plain: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
        self.places.map(|[min, max]| (plain_value(plain, min), plain_value(plain, max)))
    }
}

/// The first eight bytes of `text[start..end]`, as a number that compares as they do.
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

/// What is known of the values of a column chunk, page by page.
pub(super) struct ChunkStatistics {
    is_nullable: bool,
    index: ColumnIndexBuilder,
    bounds: Option<(Vec<u8>, Vec<u8>)>,
    /// The bounds of the last page with values.
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

    /// Takes in a page. One without bounds has nothing but nulls.
    pub(super) fn add_page(&mut self, rows: usize, nulls: usize, bounds: Option<(&[u8], &[u8])>) {
        self.rows += rows as u64;
        self.nulls += nulls as u64;
        let (min, max) = bounds.map(|(min, max)| (truncated_min(min).0, truncated_max(max).0)).unwrap_or_default();
        self.index.append(bounds.is_none(), min, max, nulls as i64);
        self.index.append_histograms(&None, &self.histogram(rows as u64, nulls as u64));
        let Some((min, max)) = bounds else { return };
        if let Some((last_min, last_max)) = &self.last {
            self.is_ascending &= **last_min <= *min && **last_max <= *max;
            self.is_descending &= **last_min >= *min && **last_max >= *max;
        }
        let chunk = self.bounds.get_or_insert_with(|| (min.to_vec(), max.to_vec()));
        replace_if(&mut chunk.0, min, |known| min < known);
        replace_if(&mut chunk.1, max, |known| max > known);
        let last = self.last.get_or_insert_default();
        replace_if(&mut last.0, min, |_| true);
        replace_if(&mut last.1, max, |_| true);
    }

    /// How many rows have no value, and how many one; nothing where all must have one.
    fn histogram(&self, rows: u64, nulls: u64) -> Option<LevelHistogram> {
        self.is_nullable.then(|| LevelHistogram::from(vec![nulls as i64, (rows - nulls) as i64]))
    }

    /// The histogram of the whole chunk.
    pub(super) fn levels(&self) -> Option<LevelHistogram> {
        self.histogram(self.rows, self.nulls)
    }

    /// The statistics of the whole chunk.
    pub(super) fn of_chunk(&self) -> Statistics {
        let min = self.bounds.as_ref().map(|(min, _)| truncated_min(min));
        let max = self.bounds.as_ref().map(|(_, max)| truncated_max(max));
        let is_exact = |bound: &Option<(Vec<u8>, bool)>| bound.as_ref().is_some_and(|(_, is_cut)| !is_cut);
        let (min_is_exact, max_is_exact) = (is_exact(&min), is_exact(&max));
        let bytes = |bound: Option<(Vec<u8>, bool)>| bound.map(|(bytes, _)| ByteArray::from(bytes));
        let statistics = ValueStatistics::new(bytes(min), bytes(max), None, Some(self.nulls), false);
        Statistics::ByteArray(statistics.with_min_is_exact(min_is_exact).with_max_is_exact(max_is_exact))
    }

    /// The column index.
    pub(super) fn into_index(mut self) -> Result<ColumnIndexMetaData, ParquetError> {
        self.index.set_boundary_order(match (self.is_ascending, self.is_descending) {
            (true, _) => BoundaryOrder::ASCENDING,
            (false, true) => BoundaryOrder::DESCENDING,
            (false, false) => BoundaryOrder::UNORDERED,
        });
        self.index.build()
    }
}

fn replace_if(known: &mut Vec<u8>, new: &[u8], is_better: impl Fn(&[u8]) -> bool) {
    if is_better(known) {
        known.clear();
        known.extend_from_slice(new);
    }
}

/// Where text has to be cut so that characters stay whole: at most at `MAX_BYTES`.
fn cut(text: &[u8]) -> usize {
    let is_start = |at: &usize| text[*at] & 0xc0 != 0x80;
    (MAX_BYTES - 3..=MAX_BYTES).rev().find(is_start).unwrap_or(MAX_BYTES)
}

/// A value that is not larger, of at most 64 bytes, and whether it is another one.
fn truncated_min(value: &[u8]) -> (Vec<u8>, bool) {
    if value.len() <= MAX_BYTES { (value.to_vec(), false) } else { (value[..cut(value)].to_vec(), true) }
}

/// A value that is not smaller, of at most 64 bytes if there is such a one, and whether it is another one.
fn truncated_max(value: &[u8]) -> (Vec<u8>, bool) {
    if value.len() <= MAX_BYTES {
        return (value.to_vec(), false);
    }
    let larger = std::str::from_utf8(&value[..cut(value)]).ok().and_then(incremented);
    larger.map_or_else(|| (value.to_vec(), false), |larger| (larger, true))
}

/// The text up to its last character that has a next one of the same length, with that one in its place.
fn incremented(text: &str) -> Option<Vec<u8>> {
    text.char_indices().rev().find_map(|(at, last)| {
        let next = char::from_u32(last as u32 + 1).filter(|next| next.len_utf8() == last.len_utf8())?;
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
            let (max, is_cut) = truncated_max(text.as_bytes());
            prop_assert!(*max >= *text.as_bytes() && std::str::from_utf8(&max).is_ok());
            prop_assert_eq!(is_cut, max != text.as_bytes());
            prop_assert!(!is_cut || max.len() <= MAX_BYTES);
        }
    }

    #[test]
    fn a_bound_that_cannot_be_made_larger_stays_whole() {
        let text = "\u{10ffff}".repeat(40);
        assert_eq!(truncated_max(text.as_bytes()), (text.clone().into_bytes(), false));
    }
}
