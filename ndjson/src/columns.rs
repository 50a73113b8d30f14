//! Columns of an output, and the builder of a text column.

use super::defects::ScanError;
use crate::limits::{MAX_COLUMNS, MAX_NAME_BYTES};
use crate::rows::TextValues;
use arrow::array::StringArray;
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Names of the metadata columns, in the order in which they follow the input columns.
pub const METADATA_COLUMNS: [&str; 5] = ["_source_file", "_source_line", "_manifest_id", "_date", "_ingested_at"];

/// Input columns of a plan: normalized keys in order of first occurrence, and their column names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ColumnLayout {
    pub keys: Vec<String>,
    pub names: Vec<String>,
}

impl ColumnLayout {
    /// Names the columns. A key with the name of a metadata column becomes `name_1`, or the next number that no other
    /// key has.
    pub fn new(keys: Vec<String>) -> Self {
        let taken: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let free = |key: &String| {
            let mut names = (1u64..).map(|n| format!("{key}_{n}"));
            names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
        };
        let is_metadata = |key: &String| METADATA_COLUMNS.contains(&key.as_str());
        let names = keys.iter().map(|key| if is_metadata(key) { free(key) } else { key.clone() }).collect();
        Self { keys, names }
    }

    /// Keys that were renamed, with their column names.
    pub fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().zip(&self.names).filter(|(key, name)| key != name).map(|(k, n)| (k.as_str(), n.as_str()))
    }
}

/// Refuses a manifest with too many columns, or with column names of too many bytes in total. `uri` returns the file of
/// the last column.
pub fn check_columns(columns: usize, bytes: usize, uri: impl FnOnce() -> String) -> Result<(), ScanError> {
    match columns > MAX_COLUMNS {
        true => Err(ScanError::TooManyColumns(uri())),
        false if bytes > MAX_NAME_BYTES => Err(ScanError::LongNames(uri())),
        false => Ok(()),
    }
}

/// Limit of the memory that is reserved in advance, in bytes.
const MAX_RESERVED_BYTES: usize = 1 << 20;
/// Limit of the text memory that a column without values keeps, in bytes: small, since there may be 20,000 columns.
const MAX_IDLE_BYTES: usize = 512;

/// A nullable text column that is filled row by row. Skipped rows are null, at no cost.
#[derive(Default)]
pub(crate) struct TextColumn {
    text: Vec<u8>,
    /// Start of each value, and end of the last; empty before the first value.
    offsets: Vec<i32>,
    /// Validity bitmap: a set bit for each row with a value.
    validity: Vec<u8>,
    /// Number of rows up to the last with a value.
    rows: usize,
    /// Bytes of text and number of values in the previous batch, for which memory is reserved.
    last_bytes: usize,
    last_values: usize,
}

impl TextColumn {
    /// Sets the value of `row`, which is the last row so far or a later one. An existing value is replaced.
    ///
    /// # Safety
    ///
    /// `row` must not be before the last row. `write` must only append to the column's text, in whole characters of
    /// valid UTF-8. [`Self::finish`] builds an array of both without further checks.
    #[inline(always)]
    pub(crate) unsafe fn set(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.clear(row);
        if self.validity.len() <= row / 8 {
            self.make_room(row);
        }
        write(&mut self.text);
        self.offsets.push(self.text.len() as i32);
        self.validity[row / 8] |= 1 << (row % 8);
        self.rows = row + 1;
    }

    /// Makes `row` null, if it has a value.
    #[inline(always)]
    pub(crate) fn clear(&mut self, row: usize) {
        if self.rows > row {
            self.offsets.pop();
            self.text.truncate(self.offsets.last().map_or(0, |start| *start as usize));
            self.rows = row;
            self.validity[row / 8] &= !(1 << (row % 8));
        }
    }

    #[cold]
    fn make_room(&mut self, row: usize) {
        self.validity.resize((row / 8 + 1).max(2 * self.validity.len()).next_multiple_of(64), 0);
        if self.offsets.is_empty() {
            self.offsets.reserve(self.last_values + 1);
            self.offsets.push(0);
            self.text.reserve(self.last_bytes);
        }
    }

    /// Values of `rows` rows; `None` if all are null. The column then starts again.
    pub(crate) fn finish(&mut self, rows: usize) -> Option<TextValues> {
        let values = self.offsets.len().saturating_sub(1);
        if values == 0 {
            self.rows = 0;
            if self.text.capacity() > MAX_IDLE_BYTES {
                self.text = Vec::new();
            }
            return None;
        }
        let last_bytes = self.text.len().min(MAX_RESERVED_BYTES);
        let mut done = std::mem::replace(self, Self { last_bytes, last_values: values, ..Self::default() });
        let mut validity = None;
        if values < rows {
            done.validity.resize(rows.div_ceil(8), 0);
            let bits = BooleanBuffer::new(Buffer::from_vec(done.validity), 0, rows);
            // SAFETY: each value has set the bit of its row, or cleared it.
            validity = Some(unsafe { NullBuffer::new_unchecked(bits, rows - values) });
        } else {
            done.validity.clear();
            self.validity = done.validity;
        }
        // SAFETY: offsets start at 0 and never decrease, the last is the length of the text, and every value is
        // complete valid UTF-8, as callers of `set` guarantee.
        let values = unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(done.offsets));
            StringArray::new_unchecked(offsets, Buffer::from_vec(done.text), None)
        };
        Some(TextValues { values, validity })
    }

    /// Unused memory for text, in bytes.
    #[cfg(test)]
    pub(super) fn spare_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Discards all values.
    pub(crate) fn reset(&mut self) {
        self.validity.clear();
        self.offsets.clear();
        self.text.clear();
        self.rows = 0;
    }

    /// Reuses the memory of values that are no longer needed, if it is not shared; that of their text only if it fits
    /// in `room`, which is reduced by it.
    pub(crate) fn recycle(&mut self, values: TextValues, room: &mut usize) {
        let TextValues { values, validity } = values;
        let (offsets, text, _) = values.into_parts();
        let (offsets, text) = (offsets.into_inner().into_inner().into_vec(), text.into_vec());
        if let (Ok(mut offsets), Ok(mut text), true) = (offsets, text, self.offsets.is_empty()) {
            offsets.clear();
            self.offsets = offsets;
            if let Some(Ok(mut validity)) = validity.map(|validity| validity.into_inner().into_inner().into_vec()) {
                validity.clear();
                self.validity = validity;
            }
            if let Some(rest) = room.checked_sub(text.capacity()) {
                text.clear();
                (self.text, *room) = (text, rest);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::short::push_text;
    use arrow::array::Array;

    #[test]
    fn skipped_rows_are_null_and_the_last_value_counts() {
        let mut column = TextColumn::default();
        // SAFETY: `text` is valid UTF-8.
        let set = |column: &mut TextColumn, row, text: &str| unsafe {
            column.set(row, |t| t.extend_from_slice(text.as_bytes()))
        };
        set(&mut column, 1, "old");
        set(&mut column, 1, "é");
        set(&mut column, 3, "");
        set(&mut column, 4, "gone");
        column.clear(4);
        column.clear(5);
        set(&mut column, 9, "z");
        let array = column.finish(11).unwrap().to_array();
        let expected =
            StringArray::from(vec![None, Some("é"), None, Some(""), None, None, None, None, None, Some("z"), None]);
        assert_eq!(array, expected);
        set(&mut column, 0, "again");
        assert_eq!(column.finish(1).unwrap().to_array(), StringArray::from(vec![Some("again")]));
        assert!(column.finish(2).is_none());
        set(&mut column, 7, "gone");
        column.clear(7);
        assert!(column.finish(9).is_none());
        set(&mut column, 0, "once more");
        assert_eq!(column.finish(2).unwrap().to_array(), StringArray::from(vec![Some("once more"), None]));
    }

    #[test]
    fn memory_is_used_again() {
        let mut column = TextColumn::default();
        for rows in [3000, 10, 2000] {
            for row in (0..rows).filter(|row| row % 3 > 0) {
                // SAFETY: only ASCII is appended.
                unsafe {
                    column.set(row, |text| push_text(text, b"0123456789abcdefghijklmnopqrstuvwxyz", row % 20, 20))
                };
            }
            let values = column.finish(rows).unwrap();
            let array = values.to_array();
            for row in 0..rows {
                let value = array.is_valid(row).then(|| array.value(row).to_owned());
                let expected = (row % 3 > 0).then(|| "0123456789abcdefghij"[row % 20..].to_owned());
                assert_eq!(value, expected);
            }
            drop(array);
            column.recycle(values, &mut { usize::MAX });
            assert!(column.spare_bytes() > 0 && column.offsets.capacity() > 0);
            // Reused memory must not show old content in the next values, nor in those after a batch without any.
            assert!(column.finish(rows).is_none());
            // SAFETY: only ASCII is appended.
            unsafe { column.set(5, |text| text.push(b'x')) };
            column.reset();
        }
    }

    #[test]
    fn only_so_much_memory_is_kept() {
        let mut columns: Vec<TextColumn> = (0..10).map(|_| TextColumn::default()).collect();
        let mut kept_after = |filled: &[usize]| {
            for column in filled {
                // SAFETY: only ASCII is appended.
                unsafe { columns[*column].set(0, |text| text.resize(1 << 20, b'x')) };
            }
            let mut room = 4 << 20;
            for column in &mut columns {
                if let Some(values) = column.finish(1) {
                    column.recycle(values, &mut room);
                }
            }
            columns.iter().map(TextColumn::spare_bytes).sum::<usize>()
        };
        assert_eq!(kept_after(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]), 4 << 20);
        for turn in 0..30 {
            let kept = kept_after(&[turn % 10]);
            assert!((1 << 20..(1 << 20) + 10 * MAX_IDLE_BYTES).contains(&kept), "{kept}");
        }
    }

    #[test]
    fn names_of_metadata_columns_are_kept_free() {
        let keys = ["_date", "x", "_date_1", "_source_line"].map(String::from).to_vec();
        let layout = ColumnLayout::new(keys);
        assert_eq!(layout.names, ["_date_2", "x", "_date_1", "_source_line_1"]);
        assert_eq!(layout.renamed().count(), 2);
    }
}
