//! Row groups: when one ends, and what is known of it on its way to the file.

use super::{PartError, SinkOptions};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::parquet::file::properties::WriterProperties;
use millwork_ndjson::{MAX_COLUMNS, Rows};
use millwork_parquet_text::{EncodedRowGroup, RowGroupEncoder, RowGroups};
use std::sync::Arc;

/// A row group ends at about this share of the target file size: a file has a few, and can be ended near its goal.
pub(crate) const ROW_GROUPS_PER_FILE: u64 = 4;
/// Limit of the rows of a row group.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// Limit of the column chunks that a task writes, but for those of columns that turn up: its report has to hold what footers say of them.
const TASK_CHUNKS: usize = MAX_COLUMNS * ROW_GROUPS_PER_FILE as usize;
/// Limit of the factor by which row groups become larger so that a task keeps to [`TASK_CHUNKS`].
const MAX_GROWTH: u64 = 8;

/// Limit of the memory of open pages and dictionaries of a row group, in bytes: 256 MiB, eight times what a row group of the default
/// target has in all. It is met only where thousands of columns have short values that differ, each of which takes tens of bytes of a
/// table.
const MAX_OPEN_BYTES: usize = 256 << 20;

/// Number of row groups of a task that there is room for.
pub(crate) fn max_row_groups(columns: usize) -> usize {
    (TASK_CHUNKS / columns.max(1)).max(1)
}

/// An encoded row group on its way to the file.
pub(super) struct EncodedGroup {
    pub(super) encoded: EncodedRowGroup,
    pub(super) rows: u64,
    pub(super) encoded_bytes: u64,
    /// Bytes of stored input that were consumed since the morsel's group before.
    pub(super) input_bytes: u64,
}

impl EncodedGroup {
    pub(super) fn close(encoder: &mut RowGroupEncoder, input_bytes: u64) -> Result<Self, PartError> {
        let rows = encoder.rows() as u64;
        let encoded = encoder.close()?;
        Ok(Self { encoded_bytes: encoded.bytes(), encoded, rows, input_bytes })
    }
}

/// Columns and limits that the row groups of one task have in common.
pub(super) struct RowGroupShape {
    pub(super) columns: Arc<RowGroups>,
    target_bytes: u64,
    /// Limit of the row groups that a morsel may make.
    morsel_groups: usize,
}

impl RowGroupShape {
    /// The shape of row groups for a task of this number of morsels.
    pub(super) fn new(schema: SchemaRef, options: &SinkOptions, morsels: usize) -> Result<Self, PartError> {
        let morsel_groups = (max_row_groups(schema.fields().len()) / morsels.max(1)).max(1);
        let columns = Arc::new(RowGroups::new(schema, Arc::new(options.writer_properties()))?);
        let target_bytes = (options.target_file_bytes / ROW_GROUPS_PER_FILE).max(1);
        Ok(Self { columns, target_bytes, morsel_groups })
    }

    /// Tells whether a row group has all it should have, after `before` others of its morsel and `consumed`, a share of the
    /// morsel's input.
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

/// Tells whether a morsel that makes row groups evenly may end the next one.
fn is_due(before: usize, morsel_groups: usize, consumed: f64) -> bool {
    let next = before + 1;
    next < morsel_groups && next as f64 <= consumed * morsel_groups as f64
}

/// Tells whether the rest of a morsel makes at least half of a row group, too, going by those so far: a little rest goes with them.
fn is_enough_left(before: usize, consumed: f64) -> bool {
    (1.0 - consumed) * (before + 1) as f64 >= consumed / 2.0
}

/// The size of a file with a sample of rows as its one row group, in bytes.
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
