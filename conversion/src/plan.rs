//! From a surveyed manifest to the physical plan of an attempt: a single stage, with one partition per task.

use crate::check::Expected;
use crate::options::ConversionOptions;
use crate::sink::{MorselSizes, ParquetPartsSink, ROW_GROUPS_PER_FILE, SinkOptions, max_row_groups};
use crate::sizing::{Capacity, MAX_FILES_OF_A_TASK, expected_bytes, file_groups, find_rate, morsel_sizes};
use crate::source::NdjsonSource;
use crate::survey::{Columns, Survey};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use millwork_manifest::{Compression, Failure, Manifest};
use millwork_ndjson::{FileRange, Limits, MAX_LATE_COLUMNS, RowSource};
use millwork_storage::Staging;
use std::fmt;
use std::sync::Arc;

/// An attempt that is ready to be submitted.
pub struct PlannedAttempt {
    /// The plan: one partition per task, each of which returns one row, its [`crate::TaskReport`].
    pub plan: Arc<dyn ExecutionPlan>,
    /// The columns it was planned with.
    pub columns: Columns,
    /// Input of each task, in the order of the partitions.
    pub tasks: Vec<TaskInput>,
    pub(crate) expected: Arc<Expected>,
    logical: String,
    /// Bytes of output predicted from a measured rate; `None` if no rate was measured.
    pub(crate) expected_bytes: Option<f64>,
}

/// A plan as text, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Explained {
    /// Logical plan: the meaning of the query.
    pub logical: String,
    /// Physical plan: the work of the tasks.
    pub physical: String,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "logical plan\n{}\n\nphysical plan\n{}", self.logical, self.physical)
    }
}

/// Size of one task's input, which bounds the progress that the task may report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskInput {
    /// Stored bytes that it reads.
    pub bytes: u64,
    /// Upper limit of the number of lines, since each line has at least one byte of content.
    pub most_lines: u64,
}

impl TaskInput {
    fn of(ranges: &[FileRange], limits: &Limits) -> Self {
        let lines = |range: &FileRange| match range.compression {
            Compression::None => range.end - range.start,
            Compression::Gzip | Compression::Zstd => limits.content_bytes(range.size_bytes),
        };
        let bytes = ranges.iter().map(|range| range.end - range.start).sum();
        Self { bytes, most_lines: ranges.iter().map(lines).fold(0, u64::saturating_add) }
    }
}

/// Plans an attempt at a manifest with these columns.
pub async fn plan_attempt(
    manifest: &Manifest,
    survey: &Survey,
    columns: Columns,
    staging: Staging,
    options: &ConversionOptions,
    capacity: Capacity,
) -> Result<PlannedAttempt, Failure> {
    let rows = RowSource { staging: Some(staging.clone()), ..row_source(manifest, &columns, options) };
    let target = options.target_file_bytes;
    let rate = survey.rate(|| find_rate(survey, &rows, options, capacity)).await?;
    // A task whose output has many columns may write fewer files, because its report has to hold their footers.
    let max_files = max_row_groups(rows.output.len()) / ROW_GROUPS_PER_FILE as usize;
    let groups = file_groups(survey, &rate, target, (capacity.tasks(), max_files.clamp(1, MAX_FILES_OF_A_TASK)));
    let lanes = (capacity.lanes(groups.len()), morsel_sizes(survey, &rate, target));
    let sink = sink_options(manifest, staging, options, &groups, lanes);
    let known = Expected::of(manifest.id.clone(), options.query.is_default(), columns.names().len(), (survey, &groups));
    let tasks = groups.iter().map(|group| TaskInput::of(group, &options.limits)).collect();
    let (scan, logical) = options.query.plan_files(NdjsonSource::new(rows, options.storage.clone()), groups).await?;
    let fields = scan.schema().fields().iter().map(|field| field.name().clone()).collect();
    let expected = known.of_columns(fields);
    let plan = Arc::new(ParquetPartsSink::new(scan, sink));
    let expected_bytes = (survey.all_content_bytes() > target as f64).then(|| expected_bytes(survey, &rate, target));
    Ok(PlannedAttempt { plan, columns, tasks, expected: Arc::new(expected), logical, expected_bytes })
}

/// Describes the output of tasks with these groups, and the lanes and morsels of each.
fn sink_options(
    manifest: &Manifest,
    staging: Staging,
    options: &ConversionOptions,
    groups: &[Vec<FileRange>],
    (lanes, morsels): (usize, MorselSizes),
) -> SinkOptions {
    let starts = groups.iter().filter_map(|group| group.first()).map(|range| (range.file, range.start));
    SinkOptions {
        manifest_id: manifest.id.clone(),
        staging,
        target_file_bytes: options.target_file_bytes,
        compression: options.compression,
        lanes,
        morsels,
        traceparent: options.traceparent.clone(),
        starts: starts.collect(),
    }
}

/// Describes the rows of a manifest for the scan.
fn row_source(manifest: &Manifest, columns: &Columns, options: &ConversionOptions) -> RowSource {
    let layout = columns.layout();
    RowSource {
        manifest_id: manifest.id.clone(),
        date: manifest.date,
        ingested_at: manifest.created_at,
        names: options.names,
        output: RowSource::all_columns(&layout),
        layout,
        // A user's query determines the columns itself, so that none can be added afterwards.
        max_late_columns: if options.query.is_default() { MAX_LATE_COLUMNS } else { 0 },
        ignores_others: options.query.words().is_some(),
        limits: options.limits,
        plan: uuid::Uuid::new_v4().as_u64_pair().0,
        staging: None,
    }
}

/// Measures the output rate ahead of the run, and remembers it for the plan of the manifest's first attempt.
pub(crate) async fn find_rate_ahead(
    manifest: &Manifest,
    survey: &Survey,
    options: &ConversionOptions,
    capacity: Capacity,
) {
    let rows = row_source(manifest, &survey.columns(), options);
    // A failure is ignored here: planning measures the rate again, and reports it.
    let _ = find_rate(survey, &rows, options, capacity).await;
}

impl PlannedAttempt {
    /// The plan in words.
    pub fn explain(&self) -> Explained {
        let physical = displayable(self.plan.as_ref()).set_show_schema(false).indent(false).to_string();
        Explained { logical: self.logical.clone(), physical }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::survey::survey;
    use millwork_manifest::{FailureClass, ManifestFile};
    use millwork_ndjson::{ColumnNames, MAX_COLUMNS};

    pub(crate) fn manifest_of(root: &std::path::Path, files: usize) -> Manifest {
        let file = |number: usize| {
            let path = root.join(format!("2025-12-23-{number}.ndjson"));
            let uri = millwork_manifest::ObjectUri::from_path(&path).unwrap();
            ManifestFile { uri, size_bytes: None, etag: None, version_id: None }
        };
        Manifest {
            id: "test".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: chrono::DateTime::UNIX_EPOCH,
            files: (0..files).map(file).collect(),
            traceparents: Vec::new(),
        }
    }

    pub(crate) async fn surveyed_files(root: &std::path::Path, contents: &[&str]) -> Survey {
        for (number, lines) in contents.iter().enumerate() {
            std::fs::write(root.join(format!("2025-12-23-{number}.ndjson")), lines).unwrap();
        }
        survey(&manifest_of(root, contents.len()), &ConversionOptions::default()).await.unwrap()
    }

    pub(crate) async fn surveyed(root: &std::path::Path, lines: &str) -> Survey {
        surveyed_files(root, &[lines]).await
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
