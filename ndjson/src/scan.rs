//! Scan of a file, or a byte range of one, into rows of text columns and metadata.

mod batch;
mod context;
mod whole;

pub use context::ScanContext;

use super::blocks::{Blocks, MAX_LINE_BYTES, Next};
use super::defects::{ScanError, describe};
use super::input::Content;
use super::json::{Field, Scanned, scan_fields};
use super::keys::Position;
use super::lossy::{RawPlaces, lossy_line};
use super::reason::RejectReason;
use super::rejects::Rejection;
use crate::ledger::RangeLedger;
use crate::range::FileRange;
use crate::rows::Rows;

/// Limit of the fields of a line for which memory is kept between lines.
const MAX_SPARE_FIELDS: usize = 1 << 16;
/// Limit of the memory that is kept for the text of a line that is not UTF-8, in bytes.
const MAX_SPARE_TEXT_BYTES: usize = 1 << 20;

/// Scan of one byte range.
pub struct FileScan<R> {
    range: FileRange,
    blocks: Blocks<R>,
    /// Start of the next line in the current block.
    at: usize,
    has_block: bool,
    /// True if the whole current block is valid UTF-8.
    is_utf8: bool,
    is_done: bool,
    counts: RangeLedger,
    /// Rows and rejected lines that were already added to the task's counters.
    counted: (u64, u64),
    stored_before: u64,
    fields: Vec<Field>,
    /// Lossy text of a line that is not UTF-8.
    text: Vec<u8>,
}

impl<R: Content> FileScan<R> {
    /// Creates a scan of `range`, whose decompressed bytes `content` provides.
    pub fn new(context: &ScanContext, range: &FileRange, content: R) -> Self {
        let counts = RangeLedger { file: range.file, start: range.start, ..RangeLedger::default() };
        Self {
            range: range.clone(),
            blocks: Blocks::new(content, range.start),
            at: 0,
            has_block: false,
            is_utf8: true,
            is_done: false,
            counts,
            counted: (0, 0),
            stored_before: context.stored_bytes,
            fields: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Bytes of content up to the end of the last scanned line.
    pub fn content_bytes(&self) -> u64 {
        self.blocks.offset() - self.range.start + self.at as u64
    }

    /// Returns the next rows; `None` at the end of the range, after adding its ledger to the context's.
    ///
    /// After a key without a column, no more rows are built: the rest is only scanned for further keys, since the
    /// attempt has to be planned again.
    pub fn next_rows(&mut self, context: &mut ScanContext) -> Result<Option<Rows>, ScanError> {
        while !self.is_done {
            if !self.has_block && !self.next_block(context)? {
                self.finish(context)?;
                return self.take_rows(context);
            }
            self.scan_block(context)?;
            if context.keys.has_new_keys() {
                context.keys.check_columns(&self.range)?;
                context.builder.reset();
            } else if context.builder.is_full() {
                return self.take_rows(context);
            }
        }
        Ok(None)
    }

    fn take_rows(&mut self, context: &mut ScanContext) -> Result<Option<Rows>, ScanError> {
        if context.builder.rows == 0 {
            return Ok(None);
        }
        self.release();
        Ok(Some(context.builder.finish(&context.source, self.range.uri.as_str())))
    }

    /// Frees the memory of a long line, which was copied into rows.
    fn release(&mut self) {
        if self.blocks.release(self.at) {
            self.at = 0;
        }
        self.fields.clear();
        self.fields.shrink_to(MAX_SPARE_FIELDS);
        self.text.clear();
        self.text.shrink_to(MAX_SPARE_TEXT_BYTES);
    }

    /// Moves to the next block of lines, skipping lines that are too long; returns false at the end.
    fn next_block(&mut self, context: &mut ScanContext) -> Result<bool, ScanError> {
        loop {
            self.release();
            context.counters.keep_pace();
            let next = self.blocks.advance();
            self.at = 0;
            let stored_bytes = self.stored_before + self.blocks.input().stored_bytes();
            let read = stored_bytes - context.stored_bytes;
            let RangeLedger { rows, rejected, .. } = self.counts;
            context.counters.scanned(read, rows - self.counted.0, rejected - self.counted.1);
            self.counted = (rows, rejected);
            context.stored_bytes = stored_bytes;
            let next = next.map_err(|e| self.blocks.input().explain(e))?;
            if let Some(format) = self.other_format() {
                self.reject_file(context, format)?;
                return Ok(false);
            }
            match next {
                Next::End => return Ok(false),
                Next::LongLine => self.reject_long_line(context)?,
                Next::Lines => {
                    self.has_block = true;
                    self.is_utf8 = simdutf8::basic::from_utf8(self.blocks.lines()).is_ok();
                    return Ok(true);
                }
            }
        }
    }

    fn finish(&mut self, context: &mut ScanContext) -> Result<(), ScanError> {
        self.is_done = true;
        self.blocks.input().check_unchanged()?;
        // Number of bytes actually read, which the ledger compares with the planned ones.
        self.counts.end = self.range.start + self.blocks.input().stored_bytes();
        context.ledger.push(std::mem::take(&mut self.counts));
        Ok(())
    }

    fn line_number(&self) -> u64 {
        self.range.lines_before + self.counts.lines
    }

    /// Scans lines of the current block until its end or until the batch is full.
    fn scan_block(&mut self, context: &mut ScanContext) -> Result<(), ScanError> {
        let base = self.blocks.offset();
        while self.at < self.blocks.lines().len() && !context.builder.is_full() {
            let start = self.at;
            self.counts.lines += 1;
            let block = self.blocks.lines();
            if !self.is_utf8 {
                self.scan_lossy_line(context)?;
                continue;
            }
            match scan_fields(block, start, &mut self.fields, &mut context.keys) {
                Ok((Scanned::Blank, newline)) => {
                    self.counts.blank += 1;
                    self.at = newline + 1;
                }
                Ok((Scanned::Object, newline)) => {
                    let replaced = &mut self.counts.replaced_characters;
                    let file = self.range.file;
                    let position = |at| Position { file, offset: base + u64::from(at) };
                    if context.keys.settle(block, &mut self.fields, replaced, position) {
                        let line = self.range.lines_before + self.counts.lines;
                        *replaced += context.append(block, &self.fields, line, newline - start);
                    }
                    self.counts.rows += 1;
                    self.at = newline + 1;
                }
                Err(defect) => {
                    let newline = start + memchr::memchr(b'\n', &block[start..]).unwrap_or(block.len() - start);
                    self.reject(context, start..newline, describe(defect, start))?;
                    self.at = newline + 1;
                }
            }
        }
        self.has_block = self.at < self.blocks.lines().len();
        Ok(())
    }

    /// Scans a line of a block that is not entirely valid UTF-8.
    fn scan_lossy_line(&mut self, context: &mut ScanContext) -> Result<(), ScanError> {
        let (base, start) = (self.blocks.offset(), self.at);
        let block = self.blocks.lines();
        let newline = start + memchr::memchr(b'\n', &block[start..]).unwrap_or(block.len() - start);
        self.text.clear();
        self.at = newline + 1;
        let Some(replaced) = lossy_line(&block[start..newline], &mut self.text) else {
            let message = format!("longer than {MAX_LINE_BYTES} bytes with U+FFFD for what is not UTF-8");
            return self.reject(context, start..newline, (RejectReason::TooLong, message));
        };
        match scan_fields(&self.text, 0, &mut self.fields, &mut context.keys) {
            Ok((Scanned::Blank, _)) => self.counts.blank += 1,
            Ok((Scanned::Object, _)) => {
                let in_keys = &mut self.counts.replaced_characters;
                let file = self.range.file;
                let mut places = RawPlaces::new(&block[start..newline]);
                let position = |at| Position { file, offset: base + start as u64 + places.of(at) };
                if context.keys.settle(&self.text, &mut self.fields, in_keys, position) {
                    let number = self.range.lines_before + self.counts.lines;
                    let lone = context.append(&self.text, &self.fields, number, newline - start);
                    self.counts.replaced_characters += lone + replaced;
                }
                self.counts.rows += 1;
            }
            Err(defect) => self.reject(context, start..newline, describe(defect, 0))?,
        }
        Ok(())
    }

    fn reject(
        &mut self,
        context: &mut ScanContext,
        line: std::ops::Range<usize>,
        (reason, message): (RejectReason, String),
    ) -> Result<(), ScanError> {
        let rejection = Rejection {
            source_file: self.range.uri.as_str(),
            line: self.line_number(),
            offset: self.blocks.offset() + line.start as u64,
            length: line.len() as u64,
            reason,
            message,
        };
        let written = context.rejects.write(&rejection, &self.blocks.lines()[line]);
        written.map_err(|e| ScanError::of_rejects(e, &self.range))?;
        self.counts.rejected += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ColumnNames, InMemory};
    use super::batch::BATCH_ROWS;
    use super::context::MAX_SPARE_BYTES;
    use super::*;
    use crate::columns::{ColumnLayout, TextColumn};
    use crate::ledger::add_up;
    use crate::limits::Limits;
    use crate::rejects::RejectSink;
    use crate::rows::Column;
    use crate::spec::RowSource;
    use chrono::DateTime;
    use millwork_manifest::Compression;
    use std::sync::Arc;

    fn context(keys: &[&str]) -> ScanContext {
        context_with(keys, 0)
    }

    fn context_with(keys: &[&str], max_late_columns: usize) -> ScanContext {
        let layout = ColumnLayout::new(keys.iter().map(|key| (*key).to_owned()).collect());
        let source = RowSource {
            manifest_id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            ingested_at: DateTime::UNIX_EPOCH,
            names: ColumnNames::Exact,
            output: RowSource::all_columns(&layout),
            layout,
            max_late_columns,
            ignores_others: false,
            limits: Limits::default(),
            plan: 0,
            staging: None,
        };
        ScanContext::new(Arc::new(source), RejectSink::nowhere())
    }

    fn whole(uri: &str) -> FileRange {
        FileRange {
            file: 0,
            uri: uri.parse().unwrap(),
            inside: None,
            etag: String::new(),
            size_bytes: 0,
            start: 0,
            end: 0,
            compression: Compression::None,
            lines_before: 0,
        }
    }

    /// Values of a text column.
    fn texts(rows: &Rows, column: usize) -> Vec<Option<String>> {
        match &rows.columns[column] {
            Column::Nulls => vec![None; rows.count],
            Column::Text(text) => text.to_array().iter().map(|value| value.map(str::to_owned)).collect(),
            Column::Constant(_) | Column::Other(_) => panic!("no text column"),
        }
    }

    fn scan(context: &mut ScanContext, content: &[u8], size: u64) {
        let range = FileRange { end: size, ..whole("file:///2025-12-23.ndjson") };
        let mut scan = FileScan::new(context, &range, InMemory::new(content));
        while let Some(batch) = scan.next_rows(context).unwrap() {
            context.recycle(batch);
        }
        assert!(scan.fields.capacity() <= MAX_SPARE_FIELDS);
    }

    #[test]
    fn columns_come_and_go_from_batch_to_batch() {
        let keys = ["a", "b", "c"];
        let mut context = context(&keys);
        // Batches of alternating keys; in each, the first rows lack the key, and some rows have it twice, or set it to
        // null.
        let (mut content, mut expected) = (String::new(), Vec::new());
        for row in 0..7 * BATCH_ROWS {
            let (batch, place) = (row / BATCH_ROWS, row % BATCH_ROWS);
            let key = keys[[0, 1, 0, 0, 2, 1, 0][batch]];
            let value = (place >= 100 * batch && place % 3 > 0).then(|| format!("{row}"));
            content += &match (&value, place % 500) {
                (Some(value), 7) => format!("{{\"{key}\":\"longer\",\"{key}\":{value}}}\n"),
                (Some(value), _) => format!("{{\"{key}\":{value}}}\n"),
                (None, 9) => format!("{{\"{key}\":1,\"{key}\":null}}\n"),
                (None, _) => "{}\n".to_owned(),
            };
            expected.push(keys.map(|column| value.clone().filter(|_| column == key)));
        }
        let size = content.len() as u64;
        let range = FileRange { end: size, ..whole("file:///2025-12-23.ndjson") };
        let mut scan = FileScan::new(&context, &range, InMemory::new(content.as_bytes()));
        let mut found = Vec::new();
        while let Some(batch) = scan.next_rows(&mut context).unwrap() {
            assert!(batch.count == BATCH_ROWS);
            let columns = [0, 1, 2].map(|column| texts(&batch, column));
            found.extend((0..batch.count).map(|row| [0, 1, 2].map(|column: usize| columns[column][row].clone())));
            context.recycle(batch);
        }
        assert!(found == expected);
    }

    #[test]
    fn columns_that_turn_up_follow_all_others() {
        let mut context = context_with(&["a"], 2);
        let (mut content, mut expected) = (String::new(), Vec::new());
        for row in 0..3 * BATCH_ROWS {
            let has = [row % 2 == 0, row >= BATCH_ROWS + 7, row >= BATCH_ROWS + 9 && row % 5 == 0];
            let values: Vec<_> = ["a", "y", "x"].into_iter().zip(has).filter(|(_, has)| *has).collect();
            let members: Vec<_> = values.iter().map(|(key, _)| format!("\"{key}\":{row}")).collect();
            content += &format!("{{{}}}\n", members.join(","));
            expected.push(has.map(|has| has.then(|| row.to_string())));
        }
        let range = FileRange { end: content.len() as u64, ..whole("file:///2025-12-23.ndjson") };
        let mut scan = FileScan::new(&context, &range, InMemory::new(content.as_bytes()));
        let (mut found, mut widths) = (Vec::new(), Vec::new());
        while let Some(batch) = scan.next_rows(&mut context).unwrap() {
            widths.push(batch.columns.len());
            let none = || vec![None; batch.count];
            let late = |at: usize| if batch.columns.len() > 6 { texts(&batch, 6 + at) } else { none() };
            let columns = [texts(&batch, 0), late(0), late(1)];
            found.extend((0..batch.count).map(|row| [0, 1, 2].map(|column: usize| columns[column][row].clone())));
            context.recycle(batch);
        }
        assert_eq!(widths, [6, 8, 8]);
        assert!(found == expected);
        let late: Vec<_> = context.keys.late_keys().map(|new| new.key).collect();
        assert_eq!((late, context.keys.has_new_keys()), (vec!["y".to_owned(), "x".to_owned()], false));
        // The limit of columns is reached: nothing more is built.
        scan_more(&mut context, b"{\"z\":1}\n{\"a\":1}\n");
        assert_eq!(context.keys.new_keys().len(), 1);
    }

    fn scan_more(context: &mut ScanContext, content: &[u8]) {
        let range = FileRange { end: content.len() as u64, ..whole("file:///2025-12-23.ndjson") };
        let mut scan = FileScan::new(context, &range, InMemory::new(content));
        assert!(scan.next_rows(context).unwrap().is_none());
    }

    #[test]
    fn a_reader_that_ends_early_does_not_add_up() {
        let content = b"{\"a\":1}\n{\"a\":2}\n";
        for (size, adds_up) in [(content.len() as u64, true), (content.len() as u64 + 1, false)] {
            let mut context = context(&["a"]);
            scan(&mut context, content, size);
            assert_eq!(add_up(&[("a".to_owned(), size)], &context.ledger).is_ok(), adds_up);
        }
    }

    #[test]
    fn places_of_keys_are_those_of_the_file() {
        let bad = vec![0xff; 100];
        let content = [b"{\"a\":\"".as_slice(), &bad, b"\",\"z\":1,\"new\":2}\n{\"b\":1}\n"].concat();
        let mut context = context(&["a", "b", "z"]);
        scan(&mut context, &content, content.len() as u64);
        let at = |key: &[u8]| memchr::memmem::find(&content, key).map(|at| Position { file: 0, offset: at as u64 + 1 });
        assert_eq!(context.keys.first_seen(), [at(b"\"a\""), at(b"\"b\""), at(b"\"z\"")]);
        assert_eq!(context.keys.new_keys().first().map(|new| new.at), at(b"\"new\""));
    }

    #[test]
    fn huge_lines_leave_no_memory_behind() {
        let keys: Vec<String> = (0..8).map(|i| format!("k{i}")).collect();
        let mut context = context(&keys.iter().map(String::as_str).collect::<Vec<_>>());
        let huge = "x".repeat(20 << 20);
        let mut content: String = keys.iter().map(|key| format!("{{\"{key}\":\"{huge}\"}}\n")).collect();
        content += &format!("{{{}\"k1\":1}}\n", "\"k0\":1,".repeat(2 * MAX_SPARE_FIELDS));
        let all: Vec<String> = keys.iter().map(|key| format!("\"{key}\":\"{}\"", &huge[..3 << 20])).collect();
        content += &format!("{{{}}}\n", all.join(","));
        scan(&mut context, content.as_bytes(), content.len() as u64);
        let kept: usize = context.builder.columns.iter().flatten().map(TextColumn::spare_bytes).sum();
        assert!(kept <= MAX_SPARE_BYTES, "{kept}");
    }
}
