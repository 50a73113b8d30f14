//! The columns of an output, and the builder of one text column.

use datafusion::arrow::array::{ArrayRef, AsArray, StringArray};
use datafusion::arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::sync::Arc;

/// The names of the metadata columns, in the order in which they follow the input columns.
pub(crate) const METADATA_COLUMNS: [&str; 5] =
    ["_source_file", "_source_line", "_manifest_id", "_date", "_ingested_at"];

/// The input columns of a plan: the normalized keys, in order of first appearance, and the names they get.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ColumnLayout {
    pub(crate) keys: Vec<String>,
    pub(crate) names: Vec<String>,
}

impl ColumnLayout {
    /// Names the columns. A key named like a metadata column becomes `name_1`, or the next number that no other
    /// key has.
    pub(crate) fn new(keys: Vec<String>) -> Self {
        let taken: HashSet<&str> = keys.iter().map(String::as_str).collect();
        let free = |key: &String| {
            let mut names = (1u64..).map(|n| format!("{key}_{n}"));
            names.find(|name| !taken.contains(name.as_str())).unwrap_or_default()
        };
        let is_metadata = |key: &String| METADATA_COLUMNS.contains(&key.as_str());
        let names = keys.iter().map(|key| if is_metadata(key) { free(key) } else { key.clone() }).collect();
        Self { keys, names }
    }

    /// The keys that were given another name, with that name.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        self.keys.iter().zip(&self.names).filter(|(key, name)| key != name).map(|(k, n)| (k.as_str(), n.as_str()))
    }
}

/// No more room is made in advance.
const MAX_RESERVED_BYTES: usize = 1 << 20;
/// A column without a value keeps no more memory for text: little, as there may be twenty thousand.
const MAX_IDLE_BYTES: usize = 512;

/// A nullable text column that is filled row by row. Rows that are skipped are null, at no cost until the end.
#[derive(Default)]
pub(crate) struct TextColumn {
    text: Vec<u8>,
    /// Where the text of each row up to `rows` starts, and where the last ends; what follows means nothing.
    offsets: Vec<i32>,
    /// A set bit for each row with a value.
    validity: Vec<u8>,
    rows: usize,
    values: usize,
    /// How many bytes of text the last array had.
    last_bytes: usize,
}

impl TextColumn {
    /// Puts a value in `row`, which is the last row so far or a later one. A value that is there is replaced.
    ///
    /// `write` must append valid UTF-8 to the column's text.
    #[inline(always)]
    pub(crate) fn set(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.clear(row);
        if self.offsets.len() <= row + 1 {
            self.make_room(row);
        }
        let start = self.text.len() as i32;
        self.offsets[self.rows..=row].fill(start);
        write(&mut self.text);
        self.offsets[row + 1] = self.text.len() as i32;
        self.validity[row / 8] |= 1 << (row % 8);
        self.rows = row + 1;
        self.values += 1;
    }

    /// Makes the value of `row` null, if it has one.
    #[inline(always)]
    pub(crate) fn clear(&mut self, row: usize) {
        if self.rows > row {
            self.text.truncate(self.offsets[row] as usize);
            self.rows = row;
            self.validity[row / 8] &= !(1 << (row % 8));
            self.values -= 1;
        }
    }

    #[cold]
    fn make_room(&mut self, row: usize) {
        let rows = (row + 1).max(2 * self.offsets.len()).next_multiple_of(64);
        self.offsets.resize(rows + 1, 0);
        self.validity.resize(rows / 8, 0);
        self.text.reserve(self.last_bytes);
    }

    /// The array of `rows` rows, none if all of them are null; the column starts again.
    pub(crate) fn finish(&mut self, rows: usize) -> Option<ArrayRef> {
        if self.values == 0 {
            self.rows = 0;
            if self.text.capacity() > MAX_IDLE_BYTES {
                self.text = Vec::new();
            }
            return None;
        }
        self.offsets.resize(rows + 1, 0);
        self.offsets[self.rows..].fill(self.text.len() as i32);
        self.validity.resize(rows.div_ceil(8), 0);
        let last_bytes = self.text.len().min(MAX_RESERVED_BYTES);
        let done = std::mem::replace(self, Self { last_bytes, ..Self::default() });
        let nulls = (done.values < rows).then(|| {
            let validity = BooleanBuffer::new(Buffer::from_vec(done.validity), 0, rows);
            NullBuffer::new(validity)
        });
        // SAFETY: offsets start at 0 and never fall, the last is the text's length, and every value is a whole
        // string of UTF-8: the scanner cuts valid UTF-8 at ASCII bytes, and escapes are encoded as characters.
        let array = unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(done.offsets));
            StringArray::new_unchecked(offsets, Buffer::from_vec(done.text), nulls)
        };
        Some(Arc::new(array))
    }

    /// The memory that waits for text.
    #[cfg(test)]
    pub(super) fn spare_bytes(&self) -> usize {
        self.text.capacity()
    }

    /// Forgets what was set.
    pub(crate) fn reset(&mut self) {
        self.validity.fill(0);
        self.text.clear();
        (self.rows, self.values) = (0, 0);
    }

    /// Takes the memory of an array that nobody needs any more, if it is not shared; that of its text only if it is no more
    /// than `room`, which it is taken from.
    pub(crate) fn recycle(&mut self, array: ArrayRef, room: &mut usize) {
        let Some(strings) = array.as_string_opt::<i32>().cloned() else { return };
        drop(array);
        let (offsets, text, _) = strings.into_parts();
        let (offsets, text) = (offsets.into_inner().into_inner().into_vec(), text.into_vec());
        if let (Ok(offsets), Ok(mut text), true) = (offsets, text, self.offsets.is_empty()) {
            self.validity = vec![0; offsets.len().div_ceil(8)];
            self.offsets = offsets;
            if let Some(rest) = room.checked_sub(text.capacity()) {
                text.clear();
                (self.text, *room) = (text, rest);
            }
        }
    }
}

/// Appends `bytes[start..end]`, which is short more often than not.
#[inline(always)]
pub(crate) fn push_text(text: &mut Vec<u8>, bytes: &[u8], start: usize, end: usize) {
    const SHORT: usize = 16;
    let length = end - start;
    match bytes[start..].first_chunk::<SHORT>().filter(|_| length <= SHORT) {
        // Copying sixteen bytes is one move.
        Some(chunk) => {
            let kept = text.len() + length;
            text.extend_from_slice(chunk);
            text.truncate(kept);
        }
        None => text.extend_from_slice(&bytes[start..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::Array;

    #[test]
    fn skipped_rows_are_null_and_the_last_value_counts() {
        let mut column = TextColumn::default();
        let set = |column: &mut TextColumn, row, text: &str| column.set(row, |t| t.extend_from_slice(text.as_bytes()));
        set(&mut column, 1, "old");
        set(&mut column, 1, "é");
        set(&mut column, 3, "");
        set(&mut column, 4, "gone");
        column.clear(4);
        column.clear(5);
        set(&mut column, 9, "z");
        let array = column.finish(11).unwrap();
        let expected =
            StringArray::from(vec![None, Some("é"), None, Some(""), None, None, None, None, None, Some("z"), None]);
        assert_eq!(array.as_string::<i32>(), &expected);
        set(&mut column, 0, "again");
        assert_eq!(column.finish(1).unwrap().as_string::<i32>(), &StringArray::from(vec![Some("again")]));
        assert!(column.finish(2).is_none());
        set(&mut column, 7, "gone");
        column.clear(7);
        assert!(column.finish(9).is_none());
        set(&mut column, 0, "once more");
        assert_eq!(column.finish(2).unwrap().as_string::<i32>(), &StringArray::from(vec![Some("once more"), None]));
    }

    #[test]
    fn memory_is_used_again() {
        let mut column = TextColumn::default();
        for rows in [3000, 10, 2000] {
            for row in (0..rows).filter(|row| row % 3 > 0) {
                column.set(row, |text| push_text(text, b"0123456789abcdefghijklmnopqrstuvwxyz", row % 20, 20));
            }
            let array = column.finish(rows).unwrap();
            for row in 0..rows {
                let value = array.is_valid(row).then(|| array.as_string::<i32>().value(row).to_owned());
                let expected = (row % 3 > 0).then(|| "0123456789abcdefghij"[row % 20..].to_owned());
                assert_eq!(value, expected);
            }
            column.recycle(array, &mut { usize::MAX });
            // What was in the memory before is none of the next values, nor of those after a batch without any.
            assert!(column.finish(rows).is_none());
            column.set(5, |text| text.push(b'x'));
            column.reset();
        }
    }

    #[test]
    fn only_so_much_memory_is_kept() {
        let mut columns: Vec<TextColumn> = (0..10).map(|_| TextColumn::default()).collect();
        let mut kept_after = |filled: &[usize]| {
            filled.iter().for_each(|column| columns[*column].set(0, |text| text.resize(1 << 20, b'x')));
            let mut room = 4 << 20;
            for column in &mut columns {
                if let Some(array) = column.finish(1) {
                    column.recycle(array, &mut room);
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
    fn the_memory_of_an_array_without_values_can_be_taken() {
        let mut column = TextColumn::default();
        for row in [0, 5, 90] {
            column.recycle(Arc::new(StringArray::new_null(100)), &mut { usize::MAX });
            column.set(row, |text| text.push(b'x'));
            let array = column.finish(100).unwrap();
            let values: Vec<_> = (0..100).filter(|row| array.is_valid(*row)).collect();
            assert_eq!((values, array.as_string::<i32>().value(row)), (vec![row], "x"));
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
