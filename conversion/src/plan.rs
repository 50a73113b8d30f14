//! From a surveyed manifest to the physical plan of an attempt: one partition for each output file, one stage.

use crate::ledger::{FileLedger, add_up};
use crate::ndjson::ColumnNames;
use crate::query::Query;
use crate::reorder::{as_io, reorder_columns};
use crate::report::TaskReport;
use crate::sink::{OutputCompression, ParquetPartsSink, ROW_GROUPS_PER_FILE, SinkOptions, encoded_size};
use crate::source::{FileRange, NdjsonSource, RowSource};
use crate::survey::{Columns, OutputRate, Survey};
use datafusion::arrow::array::RecordBatch;
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millwork_manifest::{Failure, FailureClass, Manifest};
use millwork_storage::{RewriteTail, Staging};
use std::sync::Arc;

/// The ratio of output to content where no line of the sample is a row.
const UNKNOWN_RATIO: f64 = 0.3;

/// How manifests are converted.
#[derive(Clone, Debug)]
pub struct ConversionOptions {
    /// The query.
    pub query: Query,
    /// How keys become column names.
    pub names: ColumnNames,
    /// The size an output file should have.
    pub target_file_bytes: u64,
    /// How the output is compressed.
    pub compression: OutputCompression,
}

impl Default for ConversionOptions {
    fn default() -> Self {
        Self {
            query: Query::default(),
            names: ColumnNames::default(),
            target_file_bytes: 128 << 20,
            compression: OutputCompression::default(),
        }
    }
}

/// An attempt that is ready to be submitted.
pub struct PlannedAttempt {
    /// The plan: one partition a task. Each returns one row, its [`TaskReport`].
    pub plan: Arc<dyn ExecutionPlan>,
    /// The columns it was planned with.
    pub columns: Columns,
    logical: String,
}

/// Plans an attempt at a manifest with these columns, for executors that have up to `slots` threads for it.
pub async fn plan_attempt(
    manifest: &Manifest,
    survey: &Survey,
    columns: Columns,
    staging: Staging,
    options: &ConversionOptions,
    slots: usize,
) -> Result<PlannedAttempt, Failure> {
    let layout = columns.layout();
    let rows = RowSource {
        manifest_id: manifest.id.clone(),
        date: manifest.date,
        ingested_at: manifest.created_at,
        names: options.names,
        output: RowSource::all_columns(&layout),
        layout,
        staging: Some(staging.clone()),
    };
    let mut sink = SinkOptions {
        manifest_id: manifest.id.clone(),
        staging,
        target_file_bytes: options.target_file_bytes,
        compression: options.compression,
        lanes: 1,
        row_group_input_bytes: 0,
        starts: Vec::new(),
    };
    let content: f64 = survey.ranges.iter().map(|range| survey.content_bytes(range)).sum();
    let find_rate = || async {
        match content <= options.target_file_bytes as f64 {
            // One output file, however well it compresses.
            true => Ok(OutputRate { ratio: UNKNOWN_RATIO, row_group_bytes: 0.0 }),
            false => output_rate(survey, &rows, &sink, options).await,
        }
    };
    let rate = survey.rate(find_rate).await?;
    let groups = file_groups(survey, &rate, options.target_file_bytes);
    sink.row_group_input_bytes = row_group_input_bytes(survey, &rate, options.target_file_bytes);
    sink.starts = groups.iter().filter_map(|group| group.first()).map(|range| (range.file, range.start)).collect();
    // Another slot than this task's may be free by the end of it; a lone task has all of them from the start.
    sink.lanes = if slots > 1 { (2 * slots).div_ceil(groups.len()).max(2) } else { 1 };
    let (scan, logical) = options.query.plan_files(NdjsonSource::new(rows), groups).await?;
    let plan = Arc::new(ParquetPartsSink::new(scan, sink));
    Ok(PlannedAttempt { plan, columns, logical })
}

impl PlannedAttempt {
    /// The plan as text: what the query means, and what the tasks do.
    pub fn explain(&self) -> String {
        let physical = displayable(self.plan.as_ref()).set_show_schema(false).indent(false).to_string();
        format!("logical plan\n{}\n\nphysical plan\n{physical}", self.logical)
    }
}

/// The rate of output, from a trial on a sample.
///
/// What is paid once for a row group weighs more in a sample than in the output; so what counts for a byte of content is what
/// the second half of the sample adds to the first.
async fn output_rate(
    survey: &Survey,
    rows: &RowSource,
    sink: &SinkOptions,
    options: &ConversionOptions,
) -> Result<OutputRate, Failure> {
    let halves = survey.sample_batches(rows);
    let mut batches = Vec::new();
    let mut first_batches = 0;
    for half in &halves {
        first_batches = batches.len();
        batches.extend(match options.query.is_default() {
            true => half.batches.clone(),
            false => options.query.run_on(rows.full_schema(), half.batches.clone()).await?,
        });
    }
    if batches.is_empty() {
        return Ok(OutputRate { ratio: UNKNOWN_RATIO, row_group_bytes: 0.0 });
    }
    let size = |batches: &[RecordBatch]| encoded_size(batches, sink).map_err(|e| Failure::new(FailureClass::Bug, e));
    let (first, all) = std::thread::scope(|scope| {
        let first = scope.spawn(|| size(&batches[..first_batches]));
        let all = size(&batches);
        (first.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)), all)
    });
    let (first, all) = (first?, all?);
    let added = all.saturating_sub(first);
    tracing::debug!(content_bytes = halves[1].content_bytes, first, added, "converted a sample");
    let ratio = added as f64 / halves[1].content_bytes.max(1) as f64;
    let row_group_bytes = (first as f64 - ratio * halves[0].content_bytes as f64).max(0.0);
    Ok(OutputRate { ratio, row_group_bytes })
}

/// How many stored bytes make a row group.
fn row_group_input_bytes(survey: &Survey, rate: &OutputRate, target_file_bytes: u64) -> u64 {
    let stored: u64 = survey.ranges.iter().map(|range| range.end - range.start).sum();
    let content: f64 = survey.ranges.iter().map(|range| survey.content_bytes(range)).sum();
    let target = (target_file_bytes / ROW_GROUPS_PER_FILE) as f64;
    // Nothing is larger than all.
    (stored as f64 * target / (content * rate.ratio).max(1.0)).min(stored as f64).max(1.0) as u64
}

/// Cuts the files into groups of about one output file each, in order, so that all but the last come close to the
/// target size.
fn file_groups(survey: &Survey, rate: &OutputRate, target_file_bytes: u64) -> Vec<Vec<FileRange>> {
    let content: f64 = survey.ranges.iter().map(|range| survey.content_bytes(range)).sum();
    let row_groups = (content * rate.ratio / target_file_bytes as f64 * ROW_GROUPS_PER_FILE as f64).max(1.0);
    let ratio = rate.ratio + rate.row_group_bytes * row_groups / content.max(1.0);
    let expected: Vec<f64> = survey.ranges.iter().map(|range| survey.content_bytes(range) * ratio).collect();
    let goals = group_goals(expected.iter().sum(), target_file_bytes as f64);
    let mut groups: Vec<Vec<FileRange>> = Vec::new();
    let (mut before, mut goal_end, mut goals) = (0.0, 0.0, goals.into_iter().peekable());
    for (range, bytes) in survey.ranges.iter().zip(expected) {
        // The group in whose goal the middle of the range falls; no group stays empty.
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

/// The bytes that each file of an output should have, given what they are together.
///
/// Equal shares come closest to the target where there is enough for two and more; a little over one file is one
/// whole file and a rest, since only the last file of a manifest may be small.
fn group_goals(total: f64, target: f64) -> Vec<f64> {
    let files = total / target;
    if files <= 1.25 {
        return vec![total];
    }
    if files < 1.7 {
        return vec![target, total - target];
    }
    // The number whose equal share is nearest to the target, as a factor.
    let (few, many) = (files.floor(), files.ceil());
    let count = if files / few < many / files { few } else { many };
    vec![total / count; count as usize]
}

/// The results of an attempt's tasks, put together.
#[derive(Debug)]
pub struct AttemptOutcome {
    /// The tasks' reports, in the order of their input.
    pub reports: Vec<TaskReport>,
    /// What became of each file. It adds up.
    pub ledger: Vec<FileLedger>,
    /// The columns in order of first appearance, now that every line has been seen.
    pub columns: Columns,
    /// Where each column of the output stands in the files, if that is not its place.
    order: Option<Vec<usize>>,
}

impl AttemptOutcome {
    /// Settles the footers of the private files: their columns are put in their order, if they are not in it. To be called
    /// before the commit.
    pub fn settle(&mut self, staging: &Staging) -> Result<(), Failure> {
        let order = self.order.take();
        if order.is_none() && !staging.needs_settling() {
            return Ok(());
        }
        let reorder = |tail: &[u8]| reorder_columns(tail, order.as_deref().unwrap_or_default()).map_err(as_io);
        let reorder: RewriteTail<'_> = &reorder;
        let files = self.reports.iter_mut().flat_map(|report| &mut report.parts).map(|part| &mut part.file);
        let settled = staging.settle(files, order.as_ref().map(|_| reorder));
        settled.map_err(|e| Failure::new(FailureClass::Storage, e))
    }
}

/// What the tasks of an attempt amount to.
#[derive(Debug)]
pub enum Verdict {
    /// All is written and proved; it can be committed.
    Complete(AttemptOutcome),
    /// There are columns that the plan did not know: plan again with these.
    Replan(Columns),
    /// A task failed, or the ledger does not add up.
    Failed(Failure),
}

/// Judges an attempt by its tasks' reports.
pub fn judge(survey: &Survey, planned: &Columns, query: &Query, mut reports: Vec<TaskReport>) -> Verdict {
    reports.sort_by_key(|report| report.first);
    if let Some(failure) = reports.iter().find_map(|report| report.failure.clone()) {
        return Verdict::Failed(failure);
    }
    let first_seen = reports
        .iter()
        .flat_map(|report| report.first_seen.iter().enumerate().filter_map(|(column, at)| at.map(|at| (column, at))));
    let new_keys = reports.iter().flat_map(|report| report.new_keys.iter().cloned());
    let columns = match planned.after(first_seen, new_keys, &survey.files) {
        Ok(columns) => columns,
        Err(failure) => return Verdict::Failed(failure),
    };
    let has_new_keys = reports.iter().any(|report| !report.new_keys.is_empty());
    if has_new_keys {
        return Verdict::Replan(columns);
    }
    let written = |report: &TaskReport| report.parts.iter().map(|part| part.rows).sum::<u64>();
    let scanned = |report: &TaskReport| report.ledger.iter().map(|range| range.rows).sum::<u64>();
    if let Some(report) = reports.iter().find(|report| query.is_default() && written(report) != scanned(report)) {
        let message = format!("ledger: {} rows were read, {} written", scanned(report), written(report));
        return Verdict::Failed(Failure::new(FailureClass::Bug, message));
    }
    // A query of the user's says itself in which order its columns stand.
    let order = if query.is_default() { planned.places_of(&columns) } else { None };
    let ranges: Vec<_> = reports.iter().flat_map(|report| report.ledger.iter().cloned()).collect();
    match add_up(&survey.files, &ranges) {
        Ok(ledger) => Verdict::Complete(AttemptOutcome { reports, ledger, columns, order }),
        Err(error) => Verdict::Failed(Failure::new(FailureClass::Bug, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ndjson::{MAX_COLUMNS, NewKey, Position};
    use crate::survey::survey;
    use millwork_manifest::ManifestFile;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_file_but_the_last_is_within_a_quarter_of_the_target(files in 0.01f64..40.0) {
            let goals = group_goals(files * 128.0, 128.0);
            let sum: f64 = goals.iter().sum();
            prop_assert!((sum - files * 128.0).abs() < 1e-6);
            for goal in &goals[..goals.len() - 1] {
                prop_assert!((96.0..=160.0).contains(goal), "{goals:?}");
            }
            prop_assert!(goals[goals.len() - 1] <= 160.0);
        }
    }

    async fn surveyed(root: &std::path::Path, lines: &str) -> Survey {
        let path = root.join("2025-12-23-a.ndjson");
        std::fs::write(&path, lines).unwrap();
        let uri = millwork_manifest::ObjectUri::from_path(&path).unwrap();
        let manifest = Manifest {
            id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: vec![ManifestFile { uri, size_bytes: None, etag: None, version_id: None }],
        };
        survey(&manifest, ColumnNames::Exact).await.unwrap()
    }

    #[tokio::test]
    async fn tasks_that_find_too_many_keys_between_them_fail_the_manifest() {
        let root = tempfile::tempdir().unwrap();
        let survey = surveyed(root.path(), "{\"a\":1}\n").await;
        let report = |task: usize, keys: usize| {
            let new = |key: usize| {
                let at = Position { file: 0, offset: (task * keys + key + 10) as u64 };
                NewKey { key: format!("{task}-{key}"), at }
            };
            TaskReport { new_keys: (0..keys).map(new).collect(), ..TaskReport::default() }
        };
        let judged =
            |keys| judge(&survey, &survey.columns(), &Query::default(), vec![report(0, keys), report(1, keys)]);
        assert!(matches!(judged(MAX_COLUMNS / 2 - 1), Verdict::Replan(_)));
        let Verdict::Failed(failure) = judged(MAX_COLUMNS / 2) else { panic!("too many columns") };
        assert_eq!((failure.class, failure.file), (FailureClass::Input, Some(survey.files[0].0.clone())));
        assert!(failure.message.contains("20000"), "{}", failure.message);
    }

    #[tokio::test]
    async fn a_pass_over_all_input_ends_at_the_limit() {
        let root = tempfile::tempdir().unwrap();
        let line = |i: usize| format!("{{\"k{i}\":\"{}\"}}\n", "x".repeat(400));
        let lines: String = (0..MAX_COLUMNS + 10).map(line).collect();
        let survey = surveyed(root.path(), &lines).await;
        let failure = survey.all_columns(ColumnNames::Exact).await.unwrap_err();
        assert_eq!((failure.class, failure.file), (FailureClass::Input, Some(survey.files[0].0.clone())));
    }
}
