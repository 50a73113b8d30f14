//! The files of one task: row groups are put into one until it has its share.

use super::row_groups::{EncodedGroup, RowGroupShape};
use super::{PartError, SinkOptions};
use crate::report::StagedPart;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::writer::SerializedFileWriter;
use millwork_storage::StagingWriter;
use std::sync::Arc;

/// Puts row groups into files of about the target size.
pub(super) struct PartsWriter {
    shape: Arc<RowGroupShape>,
    options: SinkOptions,
    open: Option<OpenPart>,
    done: Vec<tokio::task::JoinHandle<Result<StagedPart, PartError>>>,
    /// Bytes of stored input the task has, how many of them finished morsels had, and how many the morsel so far.
    input_bytes: u64,
    consumed_bytes: u64,
    morsel_bytes: u64,
    /// Bytes of finished files.
    written_bytes: u64,
    /// The number of the next file.
    number: usize,
}

struct OpenPart {
    writer: SerializedFileWriter<StagingWriter>,
    rows: u64,
    row_groups: u64,
}

impl PartsWriter {
    pub(super) fn new(shape: Arc<RowGroupShape>, input_bytes: u64, task: usize, options: SinkOptions) -> Self {
        Self {
            shape,
            options,
            open: None,
            done: Vec::new(),
            input_bytes,
            consumed_bytes: 0,
            morsel_bytes: 0,
            written_bytes: 0,
            number: task,
        }
    }

    /// Puts a row group into the open file, or the next.
    pub(super) fn append(&mut self, group: EncodedGroup) -> Result<(), PartError> {
        let open_bytes = self.open.as_ref().map_or(0, |open| open.writer.bytes_written() as u64);
        if open_bytes > 0 && self.is_time_for_next_file(open_bytes, &group) {
            self.finish_file();
        }
        self.morsel_bytes += group.input_bytes;
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let number = self.number;
                self.number += self.options.starts.len().max(1);
                self.open.insert(start_file(&self.shape, number, &self.options)?)
            }
        };
        let mut row_group = open.writer.next_row_group()?;
        for chunk in group.chunks {
            chunk.append_to(&mut row_group)?;
        }
        row_group.close()?;
        open.rows += group.rows;
        open.row_groups += 1;
        Ok(())
    }

    /// Notes the end of a morsel of so many bytes, whether they became rows or not.
    pub(super) fn end_morsel(&mut self, bytes: u64) {
        (self.consumed_bytes, self.morsel_bytes) = (self.consumed_bytes + bytes, 0);
    }

    /// Whether the open file ends before this row group.
    ///
    /// What the task will write is predicted from what it has written so far, and shared out among files that come close to the
    /// target size.
    fn is_time_for_next_file(&self, open_bytes: u64, group: &EncodedGroup) -> bool {
        let written = (self.written_bytes + open_bytes) as f64;
        let consumed = (self.consumed_bytes + self.morsel_bytes).max(1) as f64;
        let total = written * (self.input_bytes as f64 / consumed).max(1.0);
        let rest = total - self.written_bytes as f64;
        let goal = file_goal(rest, self.options.target_file_bytes as f64);
        goal < rest && open_bytes as f64 + group.encoded_bytes as f64 / 2.0 > goal
    }

    /// Closes the open file; making it durable goes on in the background.
    fn finish_file(&mut self) {
        if let Some(open) = self.open.take() {
            self.written_bytes += open.writer.bytes_written() as u64;
            self.done.push(tokio::task::spawn_blocking(move || {
                let (mut open, rows, row_groups) = (open.writer, open.rows, open.row_groups);
                // Page indexes and footer follow.
                let external = |e| ParquetError::External(Box::new(e));
                open.flush().map_err(external)?;
                open.inner_mut().start_tail().map_err(external)?;
                let file = open.into_inner()?.finish()?;
                Ok(StagedPart { file, rows, row_groups })
            }));
        }
    }

    /// Closes the last file, and waits until all are durable.
    pub(super) async fn finish(mut self) -> Result<Vec<StagedPart>, PartError> {
        self.finish_file();
        let mut parts = Vec::new();
        for part in self.done {
            parts.push(part.await??);
        }
        Ok(parts)
    }
}

/// The bytes that the first file of some output should have, given what is left to write in all.
///
/// Equal shares come closest to the target where there is enough for two and more; a little over one file is one
/// whole file and a rest, since only the last file of a manifest may be small.
pub(crate) fn file_goal(total: f64, target: f64) -> f64 {
    let files = total / target;
    if files <= 1.25 {
        return total;
    }
    if files < 1.7 {
        return target;
    }
    // The number whose equal share is nearest to the target, as a factor.
    let (few, many) = (files.floor(), files.ceil());
    total / if files / few < many / files { few } else { many }
}

fn start_file(shape: &RowGroupShape, number: usize, options: &SinkOptions) -> Result<OpenPart, PartError> {
    let file = options.staging.create_output(number)?;
    Ok(OpenPart { writer: shape.columns.start_file(file)?, rows: 0, row_groups: 0 })
}
