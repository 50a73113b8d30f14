//! Row groups: when one ends, and what is known of it on its way to the file.

use super::{PartError, SinkOptions};
use crate::encode::{EncodedChunk, RowGroupEncoder, RowGroups};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// A row group ends at about this share of the target file size: a file has a few, and can be ended near its goal.
pub(crate) const ROW_GROUPS_PER_FILE: u64 = 4;
/// Or at this many rows.
const ROW_GROUP_ROWS: usize = 1 << 20;

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
}

impl RowGroupShape {
    pub(super) fn new(schema: SchemaRef, options: &SinkOptions) -> Result<Self, PartError> {
        let columns = Arc::new(RowGroups::new(schema, Arc::new(options.writer_properties()))?);
        Ok(Self { columns, target_bytes: (options.target_file_bytes / ROW_GROUPS_PER_FILE).max(1) })
    }

    /// Whether a row group has all it should have.
    pub(super) fn is_full(&self, group: &RowGroupEncoder) -> bool {
        group.rows() >= ROW_GROUP_ROWS || group.estimated_bytes() as u64 >= self.target_bytes
    }
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
