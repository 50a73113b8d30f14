//! Row groups: the rule by which one ends, and its data on the way to the file.

use super::{PartError, SinkOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::file::properties::WriterProperties;
use millwork_ndjson::{MAX_COLUMNS, Rows};
use millwork_parquet_text::{EncodedRowGroup, RowGroupEncoder, RowGroups};
use std::sync::Arc;

/// Row groups per file of the target size: a file can then be ended near its goal.
pub(crate) const ROW_GROUPS_PER_FILE: u64 = 4;
/// Limit of the rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Limit of the column chunks that a task writes, not counting columns that are added: its report has to hold their
/// footers.
const TASK_CHUNKS: usize = MAX_COLUMNS * ROW_GROUPS_PER_FILE as usize;
/// Limit of the factor by which row groups grow so that a task stays within [`TASK_CHUNKS`].
const MAX_GROWTH: u64 = 8;

/// Limit of the memory of open pages and dictionaries of a row group: 256 MiB, eight times the size of a row group of
/// the default target. Reached only with thousands of columns of short distinct values, each of which takes tens of
/// bytes in a hash table.
const MAX_OPEN_BYTES: usize = 256 << 20;

/// Limit of the row groups of a task with this many columns.
pub(crate) fn max_row_groups(columns: usize) -> usize {
    (TASK_CHUNKS / columns.max(1)).max(1)
}

/// An encoded row group on its way to the file.
pub(super) struct EncodedGroup {
    pub(super) encoded: EncodedRowGroup,
    pub(super) rows: u64,
    pub(super) encoded_bytes: u64,
    /// Bytes of stored input consumed since the previous row group of the morsel.
    pub(super) input_bytes: u64,
}

impl EncodedGroup {
    pub(super) fn close(encoder: &mut RowGroupEncoder, input_bytes: u64) -> Result<Self, PartError> {
        let rows = encoder.rows() as u64;
        let encoded = encoder.close()?;
        Ok(Self { encoded_bytes: encoded.bytes(), encoded, rows, input_bytes })
    }
}

/// Columns and limits that the row groups of a task share.
pub(super) struct RowGroupShape {
    pub(super) columns: Arc<RowGroups>,
    target_bytes: u64,
    /// Limit of the row groups that a morsel may make.
    morsel_groups: usize,
}

impl RowGroupShape {
    /// Row group shape for a task of this many morsels.
    pub(super) fn new(schema: SchemaRef, options: &SinkOptions, morsels: usize) -> Result<Self, PartError> {
        let morsel_groups = (max_row_groups(schema.fields().len()) / morsels.max(1)).max(1);
        let columns = Arc::new(RowGroups::new(schema, Arc::new(options.writer_properties()))?);
        let target_bytes = (options.target_file_bytes / ROW_GROUPS_PER_FILE).max(1);
        Ok(Self { columns, target_bytes, morsel_groups })
    }

    /// Tells whether a row group is complete. `before` is the number of earlier row groups of its morsel, `consumed`
    /// the share of the morsel's input read so far.
    pub(super) fn is_full(&self, group: &RowGroupEncoder, before: usize, consumed: impl Fn() -> f64) -> bool {
        let bytes = group.estimated_bytes() as u64;
        if group.open_bytes() >= MAX_OPEN_BYTES {
            return true;
        }
        if group.rows() < ROW_GROUP_ROWS && bytes < self.target_bytes {
            return false;
        }
        let consumed = consumed();
        bytes >= self.target_bytes * MAX_GROWTH
            || is_due(before, self.morsel_groups, consumed) && is_enough_left(before, consumed)
    }
}

/// Tells whether the next row group may end, if the row groups of a morsel are spread evenly over its input.
fn is_due(before: usize, morsel_groups: usize, consumed: f64) -> bool {
    let next = before + 1;
    next < morsel_groups && next as f64 <= consumed * morsel_groups as f64
}

/// Tells whether the rest of a morsel makes at least half a row group, judging by those so far; a smaller rest joins
/// the current one.
fn is_enough_left(before: usize, consumed: f64) -> bool {
    (1.0 - consumed) * (before + 1) as f64 >= consumed / 2.0
}

/// Size in bytes of a file with a sample of rows as its only row group.
pub(crate) fn encoded_size(
    schema: &SchemaRef,
    rows: &[Rows],
    properties: Arc<WriterProperties>,
) -> Result<u64, PartError> {
    if rows.is_empty() {
        return Ok(0);
    }
    let columns = Arc::new(RowGroups::new(schema.clone(), properties)?);
    let mut encoder = RowGroupEncoder::new(columns.clone())?;
    rows.iter().try_for_each(|rows| encoder.write(rows))?;
    let mut file = columns.start_file(Vec::new())?;
    let mut row_group = file.next_row_group()?;
    for chunk in encoder.close()?.chunks {
        chunk.append_to(&mut row_group)?;
    }
    row_group.close()?;
    Ok(file.into_inner()?.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_rows_make_few_row_groups() {
        for (columns, morsels) in [(MAX_COLUMNS, 1), (MAX_COLUMNS, 3), (MAX_COLUMNS, 4), (3000, 8), (50, 16)] {
            let morsel_groups = max_row_groups(columns) / morsels;
            // Every batch would fill a row group; the end of the input ends the last one.
            let ended =
                |before, batch| before + usize::from(is_due(before, morsel_groups, f64::from(batch) / 10_000.0));
            let groups = (1..=10_000).fold(0, ended) + 1;
            assert_eq!(groups, morsel_groups, "{columns} {morsels}");
            assert!(groups * morsels * columns <= TASK_CHUNKS);
        }
    }

    #[test]
    fn a_little_rest_makes_no_row_group_of_its_own() {
        for (before, consumed, is_enough) in
            [(0, 0.5, true), (0, 0.66, true), (0, 0.7, false), (1, 0.79, true), (1, 0.81, false)]
        {
            assert_eq!(is_enough_left(before, consumed), is_enough, "{before} {consumed}");
        }
    }
}
