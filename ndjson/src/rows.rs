//! Rows between a scan and the encoder, as columns.
//!
//! Scans and the encoder use their own form for text, in which the cost of a column is proportional to its values,
//! since most columns of wide data are mostly empty. For a query that does more than select columns, rows are converted
//! to record batches.

use arrow::array::{Array, ArrayRef, AsArray, ByteView, RecordBatch, RecordBatchOptions, StringArray, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::compute::{cast, filter, is_not_null};
use arrow::datatypes::{DataType, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// Rows of a block of lines.
pub struct Rows {
    pub count: usize,
    /// Columns of the schema, followed by columns of keys that the plan did not know.
    pub columns: Vec<Column>,
    /// Names of the latter.
    pub late: Arc<[String]>,
}

/// A column of these rows.
#[derive(Clone)]
pub enum Column {
    /// Text column, null in all rows.
    Nulls,
    Text(TextValues),
    /// Text column with the same value in every row.
    Constant(Arc<str>),
    /// Column of another type than text.
    Other(ArrayRef),
}

/// Nullable text: the existing values, one after another, and the rows that have one.
#[derive(Clone)]
pub struct TextValues {
    /// Values of the rows that are not null.
    pub values: StringArray,
    /// Rows that have a value; `None` if all have.
    pub validity: Option<NullBuffer>,
}

impl Rows {
    /// Number of rows.
    pub fn len(&self) -> usize {
        self.count
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Converts a record batch.
    pub fn from_batch(batch: &RecordBatch) -> Result<Self, ArrowError> {
        let columns = batch.columns().iter().map(Column::from_array).collect::<Result<_, _>>()?;
        Ok(Self { count: batch.num_rows(), columns, late: Arc::default() })
    }

    /// Converts the rows to a record batch of this schema.
    pub fn to_batch(&self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        // There may be no columns, so that the number of rows is explicit.
        let options = RecordBatchOptions::new().with_row_count(Some(self.count));
        let arrays = self.columns.iter().map(|column| column.to_array(self.count)).collect();
        RecordBatch::try_new_with_options(schema.clone(), arrays, &options)
    }
}

impl Column {
    /// Tells whether this column has `rows` rows.
    pub fn has(&self, rows: usize) -> bool {
        match self {
            Self::Nulls | Self::Constant(_) => true,
            Self::Text(text) => text.validity.as_ref().map_or(text.values.len(), NullBuffer::len) == rows,
            Self::Other(array) => array.len() == rows,
        }
    }

    fn to_array(&self, rows: usize) -> ArrayRef {
        match self {
            Self::Nulls => Arc::new(StringArray::new_null(rows)),
            Self::Text(text) => Arc::new(text.to_array()),
            Self::Constant(text) => repeated(text, rows),
            Self::Other(array) => array.clone(),
        }
    }

    fn from_array(array: &ArrayRef) -> Result<Self, ArrowError> {
        if !matches!(array.data_type(), DataType::Utf8 | DataType::Utf8View) {
            return Ok(Self::Other(array.clone()));
        }
        if let Some(value) = array.as_string_view_opt().and_then(only_value) {
            return Ok(Self::Constant(value.into()));
        }
        if array.null_count() == array.len() {
            return Ok(Self::Nulls);
        }
        let text = cast(array, &DataType::Utf8)?;
        let text = text.as_string::<i32>();
        let Some(validity) = text.nulls().filter(|nulls| nulls.null_count() > 0) else {
            return Ok(Self::Text(TextValues { values: text.clone(), validity: None }));
        };
        let values = match without_nulls(text, validity) {
            Some(values) => values,
            None => filter(text, &is_not_null(text)?)?.as_string::<i32>().clone(),
        };
        Ok(Self::Text(TextValues { values, validity: Some(validity.clone()) }))
    }
}

impl TextValues {
    /// Converts the values to an array of all rows.
    pub fn to_array(&self) -> StringArray {
        let Some(validity) = &self.validity else { return self.values.clone() };
        let ends = self.values.value_offsets();
        let mut value = 0;
        let offset = |is_valid: bool| {
            value += usize::from(is_valid);
            ends[value]
        };
        let offsets: Vec<i32> = std::iter::once(ends[0]).chain(validity.iter().map(offset)).collect();
        // SAFETY: the offsets are a subset of those of an array with the same text, in order.
        unsafe {
            let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets));
            StringArray::new_unchecked(offsets, self.values.values().clone(), Some(validity.clone()))
        }
    }
}

/// The values of an array without nulls, if null rows have empty text, which is the usual case.
fn without_nulls(text: &StringArray, validity: &NullBuffer) -> Option<StringArray> {
    let all = text.value_offsets();
    let mut offsets = Vec::with_capacity(all.len() - validity.null_count());
    offsets.push(all[0]);
    for (ends, is_valid) in all.windows(2).zip(validity) {
        if is_valid {
            offsets.push(ends[1]);
        } else if ends[0] != ends[1] {
            return None;
        }
    }
    // SAFETY: only offsets of empty text were removed.
    Some(unsafe {
        let offsets = OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets));
        StringArray::new_unchecked(offsets, text.values().clone(), None)
    })
}

/// The common value of all rows, if they are views of one text.
fn only_value(array: &StringViewArray) -> Option<&str> {
    let first = array.views().first()?;
    let is_only = array.null_count() == 0 && array.views().iter().all(|view| view == first);
    is_only.then(|| array.value(0))
}

/// Repeats a text: every row is a view of the same bytes.
fn repeated(text: &str, rows: usize) -> ArrayRef {
    let bytes = text.as_bytes();
    let view = if bytes.len() <= 12 {
        let mut inline = [0u8; 16];
        inline[..4].copy_from_slice(&(bytes.len() as u32).to_le_bytes());
        inline[4..4 + bytes.len()].copy_from_slice(bytes);
        u128::from_le_bytes(inline)
    } else {
        ByteView::new(bytes.len() as u32, &bytes[..4]).as_u128()
    };
    let views = ScalarBuffer::from(vec![view; rows]);
    let buffers = if bytes.len() <= 12 { vec![] } else { vec![Buffer::from(bytes)] };
    // SAFETY: the view is inline, or covers the whole of the only buffer, which is valid UTF-8.
    Arc::new(unsafe { StringViewArray::new_unchecked(views, buffers, None) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_and_batches_hold_the_same(
            texts in prop::collection::vec(prop::option::of("[ab]{0,3}|[a-zé]{0,20}"), 1..200),
            constant in "[ab]{0,3}|[a-zé]{0,20}",
            start in 0usize..100,
        ) {
            let rows = texts.len();
            let all = StringArray::from_iter_values((0..rows).map(|row| "x".repeat(row % 5)));
            let validity = NullBuffer::from_iter(texts.iter().map(Option::is_some));
            let under_nulls = StringArray::new(all.offsets().clone(), all.values().clone(), Some(validity));
            let columns: Vec<(&str, ArrayRef, bool)> = vec![
                ("text", Arc::new(StringArray::from(texts.clone())), true),
                ("all", Arc::new(StringArray::from_iter_values(texts.iter().flatten().cycle().take(rows).map(String::as_str).chain(
                    std::iter::repeat_n("", rows)).take(rows))), true),
                ("views", Arc::new(StringViewArray::from(texts.clone())), true),
                ("under nulls", Arc::new(under_nulls), true),
                ("none", Arc::new(StringArray::new_null(rows)), true),
                ("constant", repeated(&constant, rows), false),
                ("number", Arc::new(Int64Array::from_iter_values(0..rows as i64)), false),
            ];
            let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
            let start = start.min(rows - 1);
            let batch = batch.slice(start, rows - start);
            let rows = Rows::from_batch(&batch).unwrap();
            prop_assert!(matches!(&rows.columns[4..6], [Column::Nulls, Column::Constant(text)] if **text == *constant));
            for (column, array) in rows.columns.iter().zip(batch.columns()) {
                prop_assert!(column.has(rows.count));
                let read = cast(&column.to_array(rows.count), &DataType::Utf8).unwrap();
                prop_assert_eq!(&read, &cast(array, &DataType::Utf8).unwrap());
            }
        }
    }
}
