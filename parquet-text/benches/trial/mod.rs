//! The steps of a conversion, each by itself.

// Who includes it uses some of it.
#![allow(dead_code)]

#[path = "../../../ndjson/benches/lines/mod.rs"]
pub(crate) mod lines;

use chrono::DateTime;
use millwork_ndjson::{
    ColumnLayout, ColumnNames, FileRange, FileScan, InMemory, KeyIndex, Limits, MAX_LATE_COLUMNS, RejectSink,
    RowSource, Rows, ScanContext, in_order, learn_keys, merge_keys, scan_line,
};
use millwork_parquet_text::{RowGroupEncoder, RowGroups};
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::collections::HashMap;
use std::error::Error;
use std::sync::Arc;

/// Scans lines. Returns how many fields they have.
pub(crate) fn scan(lines: &[u8]) -> usize {
    let (mut fields, mut at, mut count) = (Vec::new(), 0, 0);
    while at < lines.len() {
        let Ok((_, newline)) = scan_line(lines, at, &mut fields) else { return count };
        count += fields.len();
        at = newline + 1;
    }
    count
}

/// Makes columns of lines.
pub(crate) struct Trial {
    source: Arc<RowSource>,
    range: FileRange,
}

impl Trial {
    /// Makes a trial whose columns are the keys of these lines.
    pub(crate) fn new(lines: &[u8]) -> Result<Self, Box<dyn Error>> {
        let range = FileRange {
            file: 0,
            uri: "file:///2025-12-23.ndjson".parse()?,
            inside: None,
            etag: String::new(),
            size_bytes: lines.len() as u64,
            start: 0,
            end: lines.len() as u64,
            compression: millwork_manifest::Compression::None,
            lines_before: 0,
        };
        let mut index = KeyIndex::learning(ColumnNames::Exact);
        learn_keys(&mut index, &range, 0, lines)?;
        let mut keys = HashMap::new();
        merge_keys(&mut keys, index.seen_keys());
        let layout = ColumnLayout::new(in_order(keys).into_iter().map(|new| new.key).collect());
        let source = RowSource {
            manifest_id: "bench".parse()?,
            date: "2025-12-23".parse()?,
            ingested_at: DateTime::UNIX_EPOCH,
            names: ColumnNames::Exact,
            output: RowSource::all_columns(&layout),
            layout,
            max_late_columns: MAX_LATE_COLUMNS,
            ignores_others: false,
            limits: Limits::default(),
            plan: 0,
            staging: None,
        };
        Ok(Self { source: Arc::new(source), range })
    }

    /// Makes rows of the lines and throws them away. Returns how many there were.
    pub(crate) fn count(&self, lines: &[u8]) -> Result<usize, Box<dyn Error>> {
        let mut count = 0;
        self.each(lines, |context, rows| {
            count += rows.len();
            context.recycle(rows);
        })?;
        Ok(count)
    }

    /// Makes rows of the lines.
    pub(crate) fn rows(&self, lines: &[u8]) -> Result<Vec<Rows>, Box<dyn Error>> {
        let mut all = Vec::new();
        self.each(lines, |_, rows| all.push(rows))?;
        Ok(all)
    }

    fn each(&self, lines: &[u8], mut take: impl FnMut(&mut ScanContext, Rows)) -> Result<(), Box<dyn Error>> {
        let mut context = ScanContext::new(self.source.clone(), RejectSink::nowhere());
        let mut scan = FileScan::new(&context, &self.range, InMemory::new(lines));
        while let Some(rows) = scan.next_rows(&mut context)? {
            take(&mut context, rows);
        }
        Ok(())
    }

    /// Encodes rows as a row group. Returns its size in bytes.
    pub(crate) fn encode(&self, rows: &[Rows]) -> Result<u64, ParquetError> {
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
        let columns = RowGroups::new(self.source.full_schema(), Arc::new(properties))?;
        let mut encoder = RowGroupEncoder::new(Arc::new(columns))?;
        rows.iter().try_for_each(|rows| encoder.write(rows))?;
        Ok(encoder.close()?.bytes())
    }
}
