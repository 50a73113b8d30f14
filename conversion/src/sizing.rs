//! Sizes of tasks, row groups and files: from the capacity, and from what a sample of the input becomes.

use crate::options::ConversionOptions;
use crate::rates::OutputRate;
use crate::sink::{MorselSizes, ROW_GROUPS_PER_FILE, encoded_size, file_goal};
use crate::survey::Survey;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::error::ArrowError;
use datafusion::parquet::file::properties::WriterProperties;
use millwork_manifest::{Failure, FailureClass};
use millwork_ndjson::{FileRange, RowSource, Rows};
use std::sync::Arc;

/// Assumed ratio of output to content, used when no line of the sample is a row.
const UNKNOWN_RATIO: f64 = 0.3;
/// Limit of the lanes per task: a single thread writes the row groups of all lanes into files.
const LANES_OF_A_TASK: usize = 4;
/// Limit of the output files per task: a task is the unit of work that is lost with an executor, and that a new
/// executor can take.
pub(crate) const MAX_FILES_OF_A_TASK: usize = 4;
/// Excess that lets a file have one row group less: its row groups together may exceed their target sizes by this share
/// of one row group.
const MAX_EXCESS: f64 = 0.25;
/// Least content of a row group, as a multiple of the fixed cost of a row group.
const LEAST_WORTH: f64 = 2.0;
/// Least stored bytes of a row group's input, where the fixed cost of a row group is known.
const LEAST_MORSEL_BYTES: u64 = 2 << 20;
/// Least stored bytes of a row group's input, where the fixed cost is not known, as for a small manifest. Larger than
/// the other limit, since each additional row group weighs more in a small output.
const LEAST_UNKNOWN_BYTES: u64 = 4 << 20;

/// Executors and slots that can work on an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Number of executors; `usize::MAX` if it is not known yet.
    pub executors: usize,
    /// Number of slots of each executor that the attempt may use.
    pub slots: usize,
}

impl Capacity {
    /// Number of tasks that keeps all slots busy: the slots of one executor can share a task, those of different
    /// executors cannot.
    pub(crate) fn tasks(self) -> usize {
        self.executors.saturating_mul(self.slots.div_ceil(LANES_OF_A_TASK)).max(1)
    }

    /// Number of lanes for each of `tasks` tasks. A task that is alone on its executor gets all slots from the
    /// start; one of several gets more than its share, since slots of the others become free as they end.
    pub(crate) fn lanes(self, tasks: usize) -> usize {
        let of_an_executor = tasks.div_ceil(self.executors.clamp(1, tasks.max(1)));
        match self.slots {
            0 | 1 => 1,
            slots if of_an_executor <= 1 => slots,
            slots => (2 * slots).div_ceil(of_an_executor).max(2),
        }
    }
}

/// Measures the output rate, unless the plan does not depend on it.
pub(crate) async fn find_rate(
    survey: &Survey,
    rows: &RowSource,
    options: &ConversionOptions,
    capacity: Capacity,
) -> Result<OutputRate, Failure> {
    let unknown = OutputRate { ratio: UNKNOWN_RATIO, row_group_bytes: 0.0 };
    // The content fits into a single output file, however well it compresses.
    if survey.all_content_bytes() <= options.target_file_bytes as f64 {
        return Ok(unknown);
    }
    // A single task, which writes several files, measures by itself when a file is full.
    let is_precise = capacity.tasks() > 1;
    let find = || output_rate(survey, rows, options, is_precise);
    Ok(options.rates.of(&rows.layout.keys, is_precise, find).await?.unwrap_or(unknown))
}

/// Output rate, measured by converting a sample; `None` if no line of the sample is a row.
///
/// The fixed cost of a row group weighs more in a sample than in the output. The rate per byte of content is
/// therefore what the second half of the sample adds to the first.
async fn output_rate(
    survey: &Survey,
    rows: &RowSource,
    options: &ConversionOptions,
    is_precise: bool,
) -> Result<Option<OutputRate>, Failure> {
    let halves = survey.sample_batches(rows, is_precise);
    let content = halves.each_ref().map(|half| half.content_bytes as f64);
    let mut schema = rows.full_schema();
    let (mut sample, mut first_sample) = (Vec::new(), 0);
    for half in halves {
        first_sample = sample.len();
        if options.query.is_default() {
            sample.extend(half.rows);
            continue;
        }
        let bug = |e: ArrowError| Failure::new(FailureClass::Bug, e);
        let full = rows.full_schema();
        let batches = half.rows.iter().map(|some| some.to_batch(&full)).collect::<Result<_, _>>().map_err(bug)?;
        let Some(made) = options.query.run_on(full, batches).await? else { return Ok(None) };
        for batch in made {
            schema = batch.schema();
            sample.push(Rows::from_batch(&batch).map_err(bug)?);
        }
    }
    if sample.is_empty() {
        return Ok(None);
    }
    let properties = Arc::new(options.compression.writer_properties(&rows.manifest_id));
    let (first, all) = encoded_sizes(&schema, &sample, first_sample, &properties)?;
    let added = all.saturating_sub(first);
    tracing::debug!(content_bytes = content[1], first, added, "converted a sample");
    let ratio = added as f64 / content[1].max(1.0);
    let row_group_bytes = (first as f64 - ratio * content[0]).max(0.0);
    Ok(Some(OutputRate { ratio, row_group_bytes }))
}

/// Sizes of the first of some rows and of all of them, encoded at the same time.
fn encoded_sizes(
    schema: &SchemaRef,
    rows: &[Rows],
    first: usize,
    properties: &Arc<WriterProperties>,
) -> Result<(u64, u64), Failure> {
    let size =
        |rows: &[Rows]| encoded_size(schema, rows, properties.clone()).map_err(|e| Failure::new(FailureClass::Bug, e));
    let (first, all) = std::thread::scope(|scope| {
        let first = scope.spawn(|| size(&rows[..first]));
        let all = size(rows);
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), all)
    });
    Ok((first?, all?))
}

/// Stored bytes of input per row group: each expected file gets whole row groups, and none is so small that its fixed
/// cost outweighs its content.
pub(crate) fn morsel_sizes(survey: &Survey, rate: &OutputRate, target_file_bytes: u64) -> MorselSizes {
    let stored: u64 = survey.ranges.iter().map(|range| range.end - range.start).sum();
    let expected = expected_bytes(survey, rate, target_file_bytes);
    // The result is capped at the size of the whole input.
    let stored_for = |output: f64| (stored as f64 * output / expected.max(1.0)).min(stored as f64).max(1.0) as u64;
    let file = file_goal(expected, target_file_bytes as f64, true);
    let row_groups = (file / target_file_bytes as f64 * ROW_GROUPS_PER_FILE as f64 - MAX_EXCESS).ceil().max(1.0);
    let least = if rate.row_group_bytes > 0.0 { LEAST_MORSEL_BYTES } else { LEAST_UNKNOWN_BYTES };
    let least = stored_for(rate.row_group_bytes * LEAST_WORTH).max(least);
    MorselSizes { whole: stored_for(file / row_groups), least }
}

/// Size of the output that the input is expected to become, in bytes.
pub(crate) fn expected_bytes(survey: &Survey, rate: &OutputRate, target_file_bytes: u64) -> f64 {
    let content = survey.all_content_bytes();
    let row_groups = (content * rate.ratio / target_file_bytes as f64 * ROW_GROUPS_PER_FILE as f64).max(1.0);
    content * rate.ratio + rate.row_group_bytes * row_groups
}

/// Cuts the files, in order, into one group per task. Each makes an output file of about the target size, or several if
/// fewer tasks are wanted.
pub(crate) fn file_groups(
    survey: &Survey,
    rate: &OutputRate,
    target_file_bytes: u64,
    (wanted, max_files): (usize, usize),
) -> Vec<Vec<FileRange>> {
    let expected = expected_bytes(survey, rate, target_file_bytes);
    let content = survey.all_content_bytes();
    let mut goals = task_goals(expected, target_file_bytes as f64, wanted, max_files).into_iter().peekable();
    let mut groups: Vec<Vec<FileRange>> = Vec::new();
    let (mut before, mut goal_end) = (0.0, 0.0);
    for range in &survey.ranges {
        let bytes = survey.weighted_bytes(range) * expected / content.max(1.0);
        // A range goes to the group whose goal contains its middle; no group stays empty.
        let is_past = groups.is_empty() || before + bytes / 2.0 > goal_end;
        if let Some(goal) = goals.next_if(|_| is_past) {
            groups.push(Vec::new());
            goal_end += goal;
        }
        before += bytes;
        if let Some(group) = groups.last_mut() {
            group.push(range.clone());
        }
    }
    groups
}

/// Bytes that each task should write, given their total: one file each, or up to `max_files` if fewer tasks are wanted.
fn task_goals(total: f64, target: f64, wanted: usize, max_files: usize) -> Vec<f64> {
    let mut files = Vec::new();
    let mut rest = total;
    while rest > 0.0 || files.is_empty() {
        let goal = file_goal(rest, target, true);
        files.push(goal);
        rest -= goal;
    }
    let count = files.len();
    let tasks = wanted.clamp(count.div_ceil(max_files), count);
    (0..tasks).map(|task| files[task * count / tasks..(task + 1) * count / tasks].iter().sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::surveyed;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_file_but_the_last_is_within_a_quarter_of_the_target(files in 0.01f64..40.0) {
            let goals = task_goals(files * 128.0, 128.0, usize::MAX, 4);
            let sum: f64 = goals.iter().sum();
            prop_assert!((sum - files * 128.0).abs() < 1e-6);
            for goal in &goals[..goals.len() - 1] {
                prop_assert!((96.0..=160.0).contains(goal), "{goals:?}");
            }
            prop_assert!(goals[goals.len() - 1] <= 160.0);
        }

        #[test]
        fn tasks_share_files_evenly(files in 0.01f64..40.0, wanted in 0usize..12) {
            let all = task_goals(files * 128.0, 128.0, usize::MAX, 4);
            let goals = task_goals(files * 128.0, 128.0, wanted, 4);
            prop_assert!((goals.iter().sum::<f64>() - files * 128.0).abs() < 1e-6);
            prop_assert!(goals.len() <= all.len() && goals.len() >= wanted.min(all.len()));
            prop_assert!(goals.len() <= wanted || goals.len() == all.len().div_ceil(MAX_FILES_OF_A_TASK));
            let share = all.len().div_ceil(goals.len()).min(MAX_FILES_OF_A_TASK) as f64;
            prop_assert!(goals.iter().all(|goal| *goal <= share * 160.0), "{goals:?}");
        }
    }

    #[test]
    fn all_slots_have_something_to_do() {
        let planned = |executors, slots, files: usize| {
            let capacity = Capacity { executors, slots };
            let tasks = task_goals(files as f64, 1.0, capacity.tasks(), MAX_FILES_OF_A_TASK).len();
            (tasks, capacity.lanes(tasks))
        };
        // A lone executor gets one task as long as one thread can write what its slots produce, and up to four files
        // per task.
        assert_eq!([planned(1, 1, 2), planned(1, 2, 2), planned(1, 4, 1)], [(1, 1), (1, 2), (1, 4)]);
        assert_eq!([planned(1, 8, 2), planned(1, 2, 9)], [(2, 8), (3, 2)]);
        // Several executors get a task each, which has all slots of its executor.
        assert_eq!([planned(4, 4, 8), planned(4, 4, 2), planned(10, 8, 80)], [(4, 4), (2, 4), (20, 8)]);
        assert_eq!([planned(2, 1, 2), planned(2, 2, 40)], [(2, 1), (10, 2)]);
        // Capacity that is not known yet.
        assert_eq!([planned(usize::MAX, 1, 3), planned(1, 0, 1)], [(3, 1), (1, 1)]);
    }

    #[tokio::test]
    async fn the_least_morsel_is_worth_its_row_group() {
        let root = tempfile::tempdir().unwrap();
        let mut survey = surveyed(root.path(), "{\"a\":1}\n").await;
        survey.ranges[0].end = 512 << 20;
        let least = |row_group_bytes: f64| {
            let rate = OutputRate { ratio: 0.25, row_group_bytes };
            morsel_sizes(&survey, &rate, 128 << 20).least
        };
        assert_eq!([least(0.0), least(100.0)], [4 << 20, 2 << 20]);
        // Fixed cost of 4 MiB for each of the four row groups of a 128 MiB file: 28 MiB of input make twice as much
        // output.
        assert_eq!(least(f64::from(4 << 20)) >> 20, 28);
    }
}
