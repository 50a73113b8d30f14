//! Rows on their way to a batch.

use crate::columns::TextColumn;
use crate::json::{Field, ValueKind};
use crate::keys::KeyIndex;
use crate::rows::{Column, Rows};
use crate::short::push_text;
use crate::spec::{OutputColumn, RowSource};
use crate::unescape::unescape;
use arrow::array::{ArrayRef, Int64Array, TimestampMicrosecondArray};
use std::sync::Arc;

/// Limit of the rows of a batch.
pub(super) const BATCH_ROWS: usize = 4096;
/// Limit of the values of a record batch, including nulls; a batch of wide rows nevertheless has at least
/// [`MIN_BATCH_ROWS`].
const BATCH_VALUES: usize = 2_000_000;
const MIN_BATCH_ROWS: usize = 64;
/// Limit of the bytes of lines in a batch, per column and within bounds: a batch stays in the CPU cache until it is
/// encoded, and each column has some values.
const BATCH_BYTES_OF_A_COLUMN: usize = 8 << 10;
const MIN_BATCH_BYTES: usize = 1 << 20;
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Builder of a batch of rows.
pub(super) struct BatchBuilder {
    /// Columns of the layout, then those of added keys; `None` for a column that the query does not read.
    pub(super) columns: Vec<Option<TextColumn>>,
    /// Names of the added columns, of keys unknown to the plan.
    pub(super) late: Arc<[String]>,
    line_numbers: Vec<i64>,
    pub(super) rows: usize,
    bytes: usize,
    pub(super) max_rows: usize,
    max_bytes: usize,
}

impl BatchBuilder {
    pub(super) fn new(source: &RowSource) -> Self {
        // The last column may be that of unused keys.
        let count = source.layout.keys.len() + usize::from(source.ignores_others);
        let mut columns: Vec<Option<TextColumn>> = std::iter::repeat_with(|| None).take(count).collect();
        for column in &source.output {
            if let OutputColumn::Input(index) = column {
                columns[*index] = Some(TextColumn::default());
            }
        }
        let max_bytes = (BATCH_BYTES_OF_A_COLUMN * columns.len()).clamp(MIN_BATCH_BYTES, MAX_BATCH_BYTES);
        let max_rows = (BATCH_VALUES / columns.len().max(1)).clamp(MIN_BATCH_ROWS, BATCH_ROWS);
        Self { columns, late: Arc::default(), line_numbers: Vec::new(), rows: 0, bytes: 0, max_rows, max_bytes }
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows >= self.max_rows || self.bytes >= self.max_bytes
    }

    /// Adds a row. Returns the number of replaced characters in it.
    #[inline(always)]
    pub(super) fn append(&mut self, bytes: &[u8], fields: &[Field], keys: &KeyIndex, line: u64, length: usize) -> u64 {
        let row = self.rows;
        let mut replaced = 0;
        for field in fields {
            let Some(column) = &mut self.columns[keys.column(field) as usize] else { continue };
            let (start, end) = (field.start as usize, field.end as usize);
            match field.kind {
                // SAFETY: lines are valid UTF-8, and the scanner cuts them at ASCII characters.
                ValueKind::Text | ValueKind::Verbatim => unsafe {
                    column.set(row, |text| push_text(text, bytes, start, end));
                },
                ValueKind::Null => column.clear(row),
                // SAFETY: text between escapes is cut at ASCII characters, and escapes are appended as whole
                // characters.
                ValueKind::Escaped => unsafe {
                    column.set(row, |text| replaced += unescape(&bytes[start..end], text));
                },
            }
        }
        self.line_numbers.push(line as i64);
        self.rows += 1;
        self.bytes += length;
        replaced
    }

    pub(super) fn reset(&mut self) {
        self.columns.iter_mut().flatten().for_each(TextColumn::reset);
        self.line_numbers.clear();
        (self.rows, self.bytes) = (0, 0);
    }

    pub(super) fn finish(&mut self, source: &RowSource, file: &str) -> Rows {
        let count = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let line_numbers = std::mem::take(&mut self.line_numbers);
        let lines: ArrayRef = Arc::new(Int64Array::from(line_numbers));
        let text = |column: &mut Option<TextColumn>| {
            column.as_mut().and_then(|column| column.finish(count)).map_or(Column::Nulls, Column::Text)
        };
        let mut columns = Vec::with_capacity(source.output.len() + self.late.len());
        // Each column is read at most once; duplicates are made by a projection above the scan.
        for column in &source.output {
            columns.push(match column {
                OutputColumn::Input(index) => text(&mut self.columns[*index]),
                OutputColumn::SourceFile => Column::Constant(file.into()),
                OutputColumn::SourceLine => Column::Other(lines.clone()),
                OutputColumn::ManifestId => Column::Constant(source.manifest_id.as_str().into()),
                OutputColumn::Date => Column::Constant(source.date.to_string().into()),
                OutputColumn::IngestedAt => {
                    let micros = vec![source.ingested_at.timestamp_micros(); count];
                    Column::Other(Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC")))
                }
            });
        }
        let known = source.layout.keys.len();
        columns.extend(self.columns[known..known + self.late.len()].iter_mut().map(text));
        Rows { count, columns, late: self.late.clone() }
    }
}
