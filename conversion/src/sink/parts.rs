//! The output files of one task: row groups are appended to a file until it has its share of the output.

use super::row_groups::{EncodedGroup, RowGroupShape};
use super::{PartError, SinkOptions};
use crate::report::StagedPart;
use datafusion::parquet::errors::ParquetError;
use datafusion::parquet::file::writer::SerializedFileWriter;
use millwork_ndjson::TaskCounters;
use millwork_parquet_text::AddedColumns;
use millwork_storage::{StagingArea, StagingWriter};
use std::sync::Arc;

/// Bounds of a file's size, as shares of the target size: a file is not ended below the first, nor extended beyond the
/// second, except at the end of a manifest.
const LEAST_FILE: f64 = 0.75;
const LARGEST_FILE: f64 = 1.25;

/// Puts row groups into files of about the target size.
pub(super) struct PartsWriter {
    shape: Arc<RowGroupShape>,
    staging: StagingArea,
    target_file_bytes: u64,
    /// Number of the tasks, whose files are numbered by turns.
    tasks: usize,
    counters: Arc<TaskCounters>,
    open: Option<OpenPart>,
    done: Vec<tokio::task::JoinHandle<Result<StagedPart, PartError>>>,
    /// Stored input bytes of the task, of finished morsels, and of the current morsel so far.
    input_bytes: u64,
    consumed_bytes: u64,
    morsel_bytes: u64,
    /// Output bytes of the current morsel so far, and the recent output per byte of input.
    morsel_output_bytes: u64,
    rate: RecentRate,
    /// Bytes of finished files.
    written_bytes: u64,
    /// Number of the next file.
    number: usize,
    /// True if this task has the end of the manifest, where a small file may remain.
    is_last_task: bool,
}

/// Recent output bytes per byte of input, as a moving average: input changes on the way, so that the total says little
/// of what is left.
#[derive(Clone, Copy, Debug, Default)]
struct RecentRate(Option<f64>);

/// Weight of the newest morsel in the moving average: with about four morsels per file, it reflects the last two files.
const NEWEST_WEIGHT: f64 = 0.3;

impl RecentRate {
    fn learn(&mut self, output_bytes: u64, input_bytes: u64) {
        if input_bytes > 0 {
            let newest = output_bytes as f64 / input_bytes as f64;
            self.0 = Some(self.0.map_or(newest, |rate| rate + NEWEST_WEIGHT * (newest - rate)));
        }
    }
}

struct OpenPart {
    writer: SerializedFileWriter<StagingWriter>,
    late: AddedColumns,
    rows: u64,
    row_groups: u64,
}

impl PartsWriter {
    pub(super) fn new(
        shape: Arc<RowGroupShape>,
        input_bytes: u64,
        task: usize,
        (options, staging, counters): (&SinkOptions, StagingArea, Arc<TaskCounters>),
    ) -> Self {
        let is_last_task = task + 1 >= options.starts.len();
        Self {
            shape,
            staging,
            target_file_bytes: options.target_file_bytes,
            tasks: options.starts.len().max(1),
            counters,
            open: None,
            done: Vec::new(),
            input_bytes,
            consumed_bytes: 0,
            morsel_bytes: 0,
            morsel_output_bytes: 0,
            rate: RecentRate::default(),
            written_bytes: 0,
            number: task,
            is_last_task,
        }
    }

    /// Appends a row group to the open file, or starts the next file with it.
    pub(super) fn append(&mut self, group: EncodedGroup) -> Result<(), PartError> {
        let counters = self.counters.clone();
        counters.timed(|| self.put(group))
    }

    fn put(&mut self, group: EncodedGroup) -> Result<(), PartError> {
        let open_bytes = self.open.as_ref().map_or(0, |open| open.writer.bytes_written() as u64);
        if open_bytes > 0 && self.is_time_for_next_file(open_bytes, &group) {
            self.finish_file();
        }
        self.morsel_bytes += group.input_bytes;
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let number = self.number;
                self.number += self.tasks;
                self.counters.began_part();
                self.open.insert(start_file(&self.shape, number, &self.staging)?)
            }
        };
        let before = open.writer.bytes_written() as u64;
        let mut row_group = open.writer.next_row_group()?;
        for chunk in group.encoded.chunks {
            chunk.append_to(&mut row_group)?;
        }
        row_group.close()?;
        open.late.append(group.encoded.late, open.row_groups as usize, &mut open.writer)?;
        let written = (open.writer.bytes_written() as u64).saturating_sub(before);
        self.morsel_output_bytes += written;
        self.counters.wrote(written);
        open.rows += group.rows;
        open.row_groups += 1;
        Ok(())
    }

    /// Notes the end of a morsel of this many stored bytes, whether it made rows or not.
    pub(super) fn end_morsel(&mut self, bytes: u64) {
        self.rate.learn(self.morsel_output_bytes, bytes);
        (self.consumed_bytes, self.morsel_bytes, self.morsel_output_bytes) = (self.consumed_bytes + bytes, 0, 0);
    }

    /// Tells whether the open file ends before this row group. The output that is left is predicted from the recent
    /// rate.
    fn is_time_for_next_file(&self, open_bytes: u64, group: &EncodedGroup) -> bool {
        let consumed = self.consumed_bytes + self.morsel_bytes;
        let so_far = (self.written_bytes + open_bytes) as f64 / consumed.max(1) as f64;
        let left = self.input_bytes.saturating_sub(consumed) as f64 * self.rate.0.unwrap_or(so_far);
        let target = self.target_file_bytes as f64;
        is_time(open_bytes as f64, group.encoded_bytes as f64, open_bytes as f64 + left, target, self.is_last_task)
    }

    /// Closes the open file and makes it durable in the background.
    fn finish_file(&mut self) {
        if let Some(open) = self.open.take() {
            self.written_bytes += open.writer.bytes_written() as u64;
            let counters = self.counters.clone();
            let finish = move || {
                let OpenPart { mut writer, late, rows, row_groups } = open;
                let rows_of_each: Vec<i64> = writer.flushed_row_groups().iter().map(|group| group.num_rows()).collect();
                let late_footer = late.finish(&rows_of_each, &mut writer)?;
                // Page indexes and footer are written next; they form the tail that may still change.
                let external = |e| ParquetError::External(Box::new(e));
                writer.flush().map_err(external)?;
                writer.inner_mut().start_tail().map_err(external)?;
                let file = writer.into_inner()?.finish()?;
                Ok(StagedPart { file, rows, row_groups, late_footer })
            };
            self.done.push(tokio::task::spawn_blocking(move || counters.timed(finish)));
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

/// Tells whether a file of `open` bytes ends before the next row group of `group` bytes. `rest` is the expected output
/// from the start of the file on, in bytes.
fn is_time(open: f64, group: f64, rest: f64, target: f64, is_last_task: bool) -> bool {
    let goal = file_goal(rest, target, is_last_task);
    let is_near_goal = open + group / 2.0 > goal && open >= target * LEAST_FILE;
    // A small file is better than an overlarge one only at the end of the manifest.
    let is_rest_a_file = is_last_task || rest - open > target / 2.0;
    goal < rest && is_rest_a_file && (is_near_goal || open + group > target * LARGEST_FILE)
}

/// Size of the first file of the remaining output, in bytes: the output is divided into as many equal files as bring
/// their size closest to the target, as a factor. At the end of a manifest, output for 1.25 to 1.7 files makes one file
/// of the target size and a smaller one.
pub(crate) fn file_goal(total: f64, target: f64, is_end: bool) -> f64 {
    let files = total / target;
    if is_end && files > LARGEST_FILE && files < 1.7 {
        return target;
    }
    let (few, many) = (files.floor().max(1.0), files.ceil().max(1.0));
    let is_few = files <= LARGEST_FILE || files / few < many / files;
    total / if is_few { few } else { many }
}

fn start_file(shape: &RowGroupShape, number: usize, staging: &StagingArea) -> Result<OpenPart, PartError> {
    let file = staging.create_output(number)?;
    Ok(OpenPart { writer: shape.columns.start_file(file)?, late: AddedColumns::default(), rows: 0, row_groups: 0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Simulates the files that a task makes of its row groups, when its prediction is off by a share that shrinks to
    /// nothing.
    fn files(groups: &[f64], error: f64, is_last_task: bool) -> Vec<f64> {
        let total: f64 = groups.iter().sum();
        let (mut files, mut open, mut done) = (Vec::new(), 0.0, 0.0);
        for group in groups {
            let left = total - done - open;
            let expected = open + left * (1.0 + error * left / total);
            if open > 0.0 && is_time(open, *group, expected, 1.0, is_last_task) {
                files.push(open);
                done += open;
                open = 0.0;
            }
            open += group;
        }
        files.push(open);
        files
    }

    proptest! {
        #[test]
        fn files_are_within_a_quarter_of_the_target(
            groups in prop::collection::vec(0.19f64..0.26, 4..40),
            error in -0.1f64..0.1,
            is_last_task: bool,
        ) {
            let made = files(&groups, error, is_last_task);
            let total: f64 = groups.iter().sum();
            let (last, others) = made.split_last().unwrap();
            prop_assert!((made.iter().sum::<f64>() - total).abs() < 1e-9);
            prop_assert!(others.iter().all(|file| (LEAST_FILE..=LARGEST_FILE).contains(file)), "{made:?}");
            if is_last_task {
                prop_assert!(*last <= 1.5, "{made:?}");
            } else if total > 1.8 {
                prop_assert!((0.45..=1.5).contains(last), "{made:?}");
            }
        }
    }

    /// Simulates the files of a task whose morsels of equal input make this much output, as shares of the target: one
    /// row group each, or several if that is more than a quarter.
    fn files_of_morsels(morsels: &[f64], is_last_task: bool) -> Vec<f64> {
        let (mut rate, mut files, mut open, mut written) = (RecentRate::default(), Vec::new(), 0.0, 0.0);
        for (done, output) in morsels.iter().enumerate() {
            let groups = (output / 0.25).ceil().max(1.0);
            for group in 0..groups as usize {
                let consumed = done as f64 + group as f64 / groups;
                let left =
                    (morsels.len() as f64 - consumed) * rate.0.map_or(written / consumed.max(1e-9), |rate| rate / 1e9);
                if open > 0.0 && is_time(open, output / groups, open + left, 1.0, is_last_task) {
                    files.push(std::mem::take(&mut open));
                }
                (open, written) = (open + output / groups, written + output / groups);
            }
            rate.learn((output * 1e9) as u64, 1);
        }
        files.push(open);
        files
    }

    #[test]
    fn input_that_compresses_differently_on_the_way_makes_files_of_the_target_size() {
        let halves = |first: f64, second: f64| [vec![first; 30], vec![second; 30]].concat();
        let by_turns: Vec<f64> = (0..60).map(|i| if i % 2 == 0 { 0.02 } else { 0.45 }).collect();
        for (morsels, is_last_task) in [halves(0.016, 0.5), halves(0.5, 0.016), halves(0.016, 0.25), by_turns]
            .iter()
            .flat_map(|morsels| [(morsels, false), (morsels, true)])
        {
            let made = files_of_morsels(morsels, is_last_task);
            let (last, others) = made.split_last().unwrap();
            assert!(others.iter().all(|file| (LEAST_FILE..=LARGEST_FILE + 0.01).contains(file)), "{made:?}");
            assert!(*last <= 1.76, "{made:?}");
        }
    }

    #[test]
    fn a_little_over_one_file_is_one_and_a_rest_only_at_the_end() {
        assert_eq!([0.3, 1.0, 1.25].map(|total| file_goal(total, 1.0, true)), [0.3, 1.0, 1.25]);
        assert_eq!([0.3, 1.0, 1.25].map(|total| file_goal(total, 1.0, false)), [0.3, 1.0, 1.25]);
        assert_eq!([1.26, 1.6].map(|total| file_goal(total, 1.0, true)), [1.0, 1.0]);
        assert_eq!([1.26, 1.6].map(|total| file_goal(total, 1.0, false)), [1.26, 0.8]);
        assert_eq!([1.8, 2.2, 3.0].map(|total| file_goal(total, 1.0, true)), [0.9, 1.1, 1.0]);
    }
}
