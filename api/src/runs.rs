//! Runs in listings and on their own.

use crate::{AnyOf, AttemptWork, Limit, RunOutput, RunProgress, words};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FailureClass, FileState, ManifestId, RunState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// The run of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// The manifest, which names the run.
    #[schema(value_type = String)]
    pub manifest_id: ManifestId,
    /// The date of all its files.
    #[schema(value_type = String, format = Date)]
    pub date: DatePrefix,
    /// Place of the manifest's document; `inline:…` if it came in a request.
    pub manifest_uri: String,
    #[schema(schema_with = words::run_state)]
    pub state: RunState,
    /// Runs of higher priority start first; of the same, the oldest.
    pub priority: i32,
    /// The files of the manifest.
    pub files: u64,
    /// Bytes of its files, as far as the manifest tells; those that were read, once the run is committed. None if neither is known.
    #[schema(required)]
    pub bytes: Option<u64>,
    /// Attempts started so far.
    pub attempts: u32,
    /// Attempts that failed since somebody queued the run.
    pub failures: u32,
    /// Number of the manifest's output: 1, and one more each time the run is forced.
    pub generation: u32,
    /// Moment from which the next attempt may start, after a failure that can pass.
    #[schema(required)]
    pub not_before: Option<DateTime<Utc>>,
    /// True if somebody wants the run cancelled, and it has not come to that yet.
    pub cancel_requested: bool,
    /// Failure of the run, or of the attempt before. A completed run has one if it was forced and that failed: its output is the
    /// one before.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// Moment it was queued first.
    pub created_at: DateTime<Utc>,
    /// Moment of its last change.
    pub updated_at: DateTime<Utc>,
    /// Moment its newest attempt started.
    #[schema(required)]
    pub started_at: Option<DateTime<Utc>>,
    /// Moment its output was decided on.
    #[schema(required)]
    pub committed_at: Option<DateTime<Utc>>,
    /// Moment it ended.
    #[schema(required)]
    pub ended_at: Option<DateTime<Utc>>,
    /// From the start of the attempt that made its output to the decision on it, in seconds; null before that.
    #[schema(required)]
    pub seconds: Option<f64>,
    /// Summary of what it produced, once it is committed.
    #[schema(required)]
    pub summary: Option<RunSummary>,
}

/// Summary of what a run produced.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// Rows in the output.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of Parquet.
    pub output_bytes: u64,
    /// Output files.
    pub outputs: u64,
    /// Executors that made it.
    pub executors: u64,
    /// Time that its tasks computed, in seconds.
    pub cpu_seconds: f64,
}

/// Failure of a run or an attempt.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Failure {
    #[schema(schema_with = words::failure_class)]
    pub class: FailureClass,
    /// Account of what happened, naming the file and line where there is one.
    pub message: String,
    /// The one input file that is at fault, if it is one.
    #[schema(required)]
    pub file: Option<String>,
}

/// Runs that a listing shows, newest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RunQuery {
    /// Only runs in one of these states, with commas between them; `status` is an older name.
    #[serde(default, alias = "status", skip_serializing_if = "AnyOf::is_empty")]
    #[schema(schema_with = words::text, required = false)]
    #[param(schema_with = words::run_states, style = Form, explode = false, required = false)]
    pub state: AnyOf<RunState>,
    /// Only runs of manifests of this date.
    #[schema(value_type = Option<String>, format = Date)]
    #[param(value_type = String, format = Date, required = false)]
    pub date: Option<DatePrefix>,
    /// Only runs with a failure of one of these kinds, with commas between them.
    #[serde(default, skip_serializing_if = "AnyOf::is_empty")]
    #[schema(schema_with = words::text, required = false)]
    #[param(schema_with = words::failure_classes, style = Form, explode = false, required = false)]
    pub failure_class: AnyOf<FailureClass>,
    /// Only runs whose manifest's id begins so. A page then looks at a bounded number of runs, and can be empty though there are more;
    /// it is the same with several states or classes, and with times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, required = false)]
    pub prefix: Option<String>,
    /// Only runs that were queued first at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, format = DateTime, required = false)]
    pub since: Option<DateTime<Utc>>,
    /// Only runs that were queued first before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, format = DateTime, required = false)]
    pub until: Option<DateTime<Utc>>,
    /// Number of runs at most.
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    pub cursor: Option<String>,
}

/// A run with its attempts, what it produced, and how far it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunDetail {
    /// The run, as listings show it.
    #[serde(flatten)]
    pub run: Run,
    /// Newest attempts at the run, at most 100, oldest first.
    pub history: Vec<Attempt>,
    /// Events in the life of the run, in order.
    pub timeline: Vec<Moment>,
    /// Output of the run, once it is committed.
    #[schema(required)]
    pub result: Option<RunOutput>,
    /// Progress of the running attempt; null without one, and on a standby.
    #[schema(required)]
    pub progress: Option<RunProgress>,
}

/// An attempt at a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Moment it started.
    pub started_at: DateTime<Utc>,
    /// Moment it ended. One that never did was given up: its scheduler died, or its columns turned out to be others.
    #[schema(required)]
    pub ended_at: Option<DateTime<Utc>>,
    /// Failure of the attempt, if it failed.
    #[schema(required)]
    pub failure: Option<Failure>,
    /// Work of the attempt, as far as it is known: its steps with their times, and what its tasks did.
    #[schema(required)]
    pub work: Option<AttemptWork>,
}

/// Something that happened to a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Moment {
    /// Moment of it.
    pub at: DateTime<Utc>,
    /// Kind of the event.
    pub what: MomentKind,
    /// The attempt it is about.
    #[schema(required)]
    pub attempt: Option<u32>,
}

/// Kind of event in the life of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum MomentKind {
    /// Queueing of the run.
    Created,
    /// Start of an attempt.
    Started,
    /// Failure of an attempt.
    AttemptFailed,
    /// Commit of the run's output.
    Committed,
    /// End of the run, in the state given by `state`.
    Ended,
}

/// Query for a page of a run's files or ledger entries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PartQuery {
    /// Number of files at most. Each page costs as much as reading the whole manifest or ledger.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 10000, default = 100, required = false)]
    pub limit: Limit<10_000>,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    pub cursor: Option<String>,
}

/// A file of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunFile {
    /// URI of the file.
    pub uri: String,
    /// The size it must have, if the manifest tells.
    #[schema(required)]
    pub size_bytes: Option<u64>,
    /// The entity tag it must have, if the manifest tells.
    #[schema(required)]
    pub etag: Option<String>,
    /// State of the file now; null if the store has forgotten it.
    #[schema(schema_with = words::optional_file_state)]
    #[schema(required)]
    pub state: Option<FileState>,
    /// The manifest it is in now: another one if this run failed and the file was put in a newer manifest.
    #[schema(required)]
    pub manifest_id: Option<String>,
    /// Reason of the file's own failure or refusal, if it has one.
    #[schema(required)]
    pub reason: Option<String>,
}

impl Moment {
    /// Description of the moment. `state` is the present state of the run, for the moment of its end.
    pub fn words(&self, state: RunState) -> String {
        let of_attempt =
            |text: &str| self.attempt.map_or_else(|| text.to_owned(), |number| format!("attempt {number} {text}"));
        match self.what {
            MomentKind::Created => "queued".to_owned(),
            MomentKind::Started => of_attempt("started"),
            MomentKind::AttemptFailed => of_attempt("failed"),
            MomentKind::Committed => "committed".to_owned(),
            MomentKind::Ended => state.as_str().to_owned(),
        }
    }
}

impl MomentKind {
    /// Name of the moment in responses.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Started => "started",
            Self::AttemptFailed => "attempt-failed",
            Self::Committed => "committed",
            Self::Ended => "ended",
        }
    }
}

impl std::fmt::Display for MomentKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
