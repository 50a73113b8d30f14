//! Row groups: when one ends, and what is known of it on its way to the file.

use super::{PartError, SinkOptions};
use crate::encode::{EncodedChunk, RowGroupEncoder, RowGroups};
use crate::ndjson::MAX_COLUMNS;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// A row group ends at about this share of the target file size: a file has a few, and can be ended near its goal.
pub(crate) const ROW_GROUPS_PER_FILE: u64 = 4;
/// Or at this many rows.
const ROW_GROUP_ROWS: usize = 1 << 20;
/// A task writes no more column chunks than this, since its report has to hold what footers say of them …
const TASK_CHUNKS: usize = MAX_COLUMNS * ROW_GROUPS_PER_FILE as usize;
/// … as long as row groups need not become larger than others by this factor.
const MAX_GROWTH: u64 = 8;

/// How many row groups of a task there is room for.
pub(crate) fn max_row_groups(columns: usize) -> usize {
    (TASK_CHUNKS / columns.max(1)).max(1)
}

/// An encoded row group on its way to the file.
pub(super) struct EncodedGroup {
    pub(super) chunks: Vec<EncodedChunk>,
    pub(super) rows: u64,
    pub(super) encoded_bytes: u64,
    /// Bytes of stored input that were consumed since the lane's group before.
    pub(super) input_bytes: u64,
}

impl EncodedGroup {
    pub(super) fn close(encoder: &mut RowGroupEncoder, input_bytes: u64) -> Result<Self, PartError> {
        let rows = encoder.rows() as u64;
        let chunks = encoder.close()?;
        let encoded_bytes = chunks.iter().map(EncodedChunk::bytes).sum();
        Ok(Self { chunks, rows, encoded_bytes, input_bytes })
    }
}

/// What the row groups of one task have in common.
pub(super) struct RowGroupShape {
    pub(super) columns: Arc<RowGroups>,
    target_bytes: u64,
    /// How many row groups a lane may write.
    lane_groups: usize,
}

impl RowGroupShape {
    pub(super) fn new(schema: SchemaRef, options: &SinkOptions) -> Result<Self, PartError> {
        let lane_groups = (max_row_groups(schema.fields().len()) / options.lanes.max(1)).max(1);
        let columns = Arc::new(RowGroups::new(schema, Arc::new(options.writer_properties()))?);
        let target_bytes = (options.target_file_bytes / ROW_GROUPS_PER_FILE).max(1);
        Ok(Self { columns, target_bytes, lane_groups })
    }

    /// Whether a row group has all it should have, `before` others of its lane and `consumed`, a share of the lane's input.
    pub(super) fn is_full(&self, group: &RowGroupEncoder, before: usize, consumed: impl Fn() -> f64) -> bool {
        let bytes = group.estimated_bytes() as u64;
        let is_full = group.rows() >= ROW_GROUP_ROWS || bytes >= self.target_bytes;
        is_full && (is_due(before, self.lane_groups, consumed()) || bytes >= self.target_bytes * MAX_GROWTH)
    }
}

/// Whether a lane that writes row groups evenly may end the next one.
fn is_due(before: usize, lane_groups: usize, consumed: f64) -> bool {
    let next = before + 1;
    next < lane_groups && next as f64 <= consumed * lane_groups as f64
}

/// The size of a file with a sample of rows as its one row group, in bytes.
pub(crate) fn encoded_size(batches: &[RecordBatch], options: &SinkOptions) -> Result<u64, PartError> {
    let Some(first) = batches.first() else { return Ok(0) };
    let shape = RowGroupShape::new(first.schema(), options)?;
    let mut encoder = RowGroupEncoder::new(shape.columns.clone())?;
    for batch in batches {
        encoder.write(batch)?;
    }
    let mut file = shape.columns.start_file(Vec::new())?;
    let mut row_group = file.next_row_group()?;
    for chunk in encoder.close()? {
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
        for (columns, lanes) in [(MAX_COLUMNS, 1), (MAX_COLUMNS, 3), (MAX_COLUMNS, 4), (3000, 8), (50, 16)] {
            let lane_groups = max_row_groups(columns) / lanes;
            // Every batch would fill a row group; the end of the input ends the last one.
            let ended = |before, batch| before + usize::from(is_due(before, lane_groups, f64::from(batch) / 10_000.0));
            let groups = (1..=10_000).fold(0, ended) + 1;
            assert_eq!(groups, lane_groups, "{columns} {lanes}");
            assert!(groups * lanes * columns <= TASK_CHUNKS);
        }
    }
}
