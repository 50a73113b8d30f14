//! The columns of an output, and the builder of one text column.

use datafusion::arrow::array::{ArrayRef, StringArray};
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

/// A nullable text column that is filled row by row. Rows that are skipped are null, at no cost until the end.
#[derive(Default)]
pub(crate) struct TextColumn {
    text: Vec<u8>,
    /// One more than the rows so far.
    offsets: Vec<i32>,
    /// A set bit for each row with a value.
    validity: Vec<u8>,
    values: usize,
}

impl TextColumn {
    /// Puts a value in `row`, which is the last row so far or a later one. A value that is there is replaced.
    ///
    /// `value` must be valid UTF-8, and appends what `write` does to the column's text.
    #[inline(always)]
    pub(crate) fn set(&mut self, row: usize, write: impl FnOnce(&mut Vec<u8>)) {
        self.clear(row);
        let end = self.text.len() as i32;
        self.offsets.resize(row + 1, end);
        write(&mut self.text);
        self.offsets.push(self.text.len() as i32);
        if self.validity.len() <= row / 8 {
            self.validity.resize(row / 8 + 1, 0);
        }
        self.validity[row / 8] |= 1 << (row % 8);
        self.values += 1;
    }

    /// Makes the value of `row` null, if it has one.
    #[inline(always)]
    pub(crate) fn clear(&mut self, row: usize) {
        if self.offsets.len() > row + 1 {
            self.text.truncate(self.offsets[row] as usize);
            self.offsets.truncate(row + 1);
            self.validity[row / 8] &= !(1 << (row % 8));
            self.values -= 1;
        }
    }

    /// The array of `rows` rows; the column starts again.
    pub(crate) fn finish(&mut self, rows: usize) -> ArrayRef {
        let end = self.text.len() as i32;
        self.offsets.resize(rows + 1, end);
        self.validity.resize(rows.div_ceil(8), 0);
        let done = std::mem::take(self);
        let nulls = (done.values < rows).then(|| {
            let validity = BooleanBuffer::new(Buffer::from_vec(done.validity), 0, rows);
            NullBuffer::new(validity)
        });
        self.text.reserve(done.text.len());
        self.offsets.reserve(rows + 1);
        // SAFETY: offsets start at 0 and never fall, the last is the text's length, and every value is a whole
        // string of UTF-8: the scanner cuts valid UTF-8 at ASCII bytes, and escapes are encoded as characters.
        let array = unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(done.offsets));
            StringArray::new_unchecked(offsets, Buffer::from_vec(done.text), nulls)
        };
        Arc::new(array)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::arrow::array::{Array, AsArray};

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
        let array = column.finish(11);
        let expected =
            StringArray::from(vec![None, Some("é"), None, Some(""), None, None, None, None, None, Some("z"), None]);
        assert_eq!(array.as_string::<i32>(), &expected);
        set(&mut column, 0, "again");
        assert_eq!(column.finish(1).as_string::<i32>(), &StringArray::from(vec![Some("again")]));
        assert_eq!(column.finish(2).null_count(), 2);
    }

    #[test]
    fn names_of_metadata_columns_are_kept_free() {
        let keys = ["_date", "x", "_date_1", "_source_line"].map(String::from).to_vec();
        let layout = ColumnLayout::new(keys);
        assert_eq!(layout.names, ["_date_2", "x", "_date_1", "_source_line_1"]);
        assert_eq!(layout.renamed().count(), 2);
    }
}
