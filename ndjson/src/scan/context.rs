//! State of the scans of one lane.

use super::batch::{BATCH_ROWS, BatchBuilder};
use crate::columns::TextColumn;
use crate::json::Field;
use crate::keys::KeyIndex;
use crate::ledger::RangeLedger;
use crate::progress::TaskCounters;
use crate::rejects::RejectSink;
use crate::rows::{Column, Rows};
use crate::spec::{OutputColumn, RowSource};
use millwork_manifest::FileFault;
use std::sync::Arc;

/// Limit of the text memory that is kept between batches: 16 MiB, plus a little for each column without values, so that
/// huge values do not occupy memory later.
pub(super) const MAX_SPARE_BYTES: usize = 16 << 20;

/// State shared by the successive scans of one lane.
pub struct ScanContext {
    pub source: Arc<RowSource>,
    pub keys: KeyIndex,
    pub rejects: RejectSink,
    pub ledger: Vec<RangeLedger>,
    /// Files that cannot be converted, each for a reason of its own. Their ranges are not in the ledger.
    pub faults: Vec<FileFault>,
    /// Bytes of stored objects consumed by finished and current scans.
    pub stored_bytes: u64,
    /// Number of rows returned to callers.
    pub given_rows: u64,
    /// Counters of the task.
    pub(super) counters: Arc<TaskCounters>,
    pub(super) builder: BatchBuilder,
}

impl ScanContext {
    pub fn new(source: Arc<RowSource>, rejects: RejectSink) -> Self {
        let keys = KeyIndex::new(&source.layout.keys, source.names);
        let keys = match source.ignores_others {
            true => keys.ignoring_others(),
            false => keys.with_late(source.max_late_columns),
        };
        let builder = BatchBuilder::new(&source);
        let counters = Arc::default();
        let (ledger, faults) = (Vec::new(), Vec::new());
        Self { source, keys, rejects, ledger, faults, stored_bytes: 0, given_rows: 0, counters, builder }
    }

    /// Sets the counters of the task.
    pub fn counting(self, counters: Arc<TaskCounters>) -> Self {
        Self { counters, ..self }
    }

    /// Makes batches of thousands of columns as long as others: for callers that use rows directly, where the cost of a
    /// column is proportional to its values.
    pub fn make_long_batches(&mut self) {
        self.builder.max_rows = BATCH_ROWS;
    }

    /// Reuses the memory of rows that are no longer needed.
    pub fn recycle(&mut self, rows: Rows) {
        let mut room = MAX_SPARE_BYTES;
        let late = (self.source.layout.keys.len()..).map(OutputColumn::Input);
        for (place, column) in self.source.output.iter().copied().chain(late).zip(rows.columns) {
            if let (OutputColumn::Input(index), Column::Text(values)) = (place, column)
                && let Some(Some(column)) = self.builder.columns.get_mut(index)
            {
                column.recycle(values, &mut room);
            }
        }
    }

    /// Adds a column for each key that was not known before, after all others.
    #[cold]
    fn widen(&mut self) {
        let late = self.keys.late();
        self.builder.columns.resize_with(self.source.layout.keys.len() + late.len(), || Some(TextColumn::default()));
        self.builder.late = late.into();
    }

    /// Adds a line whose keys are resolved. Returns the number of replaced characters in it.
    #[inline(always)]
    pub(super) fn append(&mut self, bytes: &[u8], fields: &[Field], line: u64, length: usize) -> u64 {
        if self.builder.columns.len() < self.source.layout.keys.len() + self.keys.late().len() {
            self.widen();
        }
        self.builder.append(bytes, fields, &self.keys, line, length)
    }
}
