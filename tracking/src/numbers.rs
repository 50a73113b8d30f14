//! Long-lived statistics: totals of dates, time series, and notes of processes.
//!
//! No decisions depend on them. Totals of dates are updated as files and runs change, in SQLite in the same
//! transaction, and can be recounted.

use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{FileState, RunState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limit of the dates in one answer: more than two years.
pub const MAX_DATES: usize = 1000;
/// Limit of the notes of one kind in one answer: more processes than any installation has.
pub const MAX_NOTES: usize = 1000;

/// Number and bytes of the files in one state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTotal {
    /// Number of files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Totals of a date.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DateTotals {
    /// Files by state; states without files are omitted.
    pub files: BTreeMap<FileState, FileTotal>,
    /// Quarantined files by reason.
    pub refused: BTreeMap<String, u64>,
    /// Runs by state. In DynamoDB, only ended ones.
    pub runs: BTreeMap<RunState, u64>,
    /// Sums of the results of its committed runs.
    pub output: RunSummary,
    /// Time at which the oldest pending file arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Time at which a run of the date was last committed, or completed.
    pub last_commit: Option<DateTime<Utc>>,
}

/// Summary of a run's result, for listings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Rows in the output.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of the Parquet output.
    pub output_bytes: u64,
    /// Number of output files.
    #[serde(default)]
    pub outputs: u64,
    /// Number of executors that worked on it.
    #[serde(default)]
    pub executors: u64,
    /// CPU time of its tasks, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Estimated read requests to object storage.
    #[serde(default)]
    pub reads: u64,
    /// Estimated write requests to object storage.
    #[serde(default)]
    pub writes: u64,
    /// Number of files with lines of which none became a row. Not included in sums of dates.
    #[serde(default)]
    pub without_rows: u64,
}

impl RunSummary {
    /// Summary from the result of a commit; `None` if it has no such form.
    pub fn of_result(result: &serde_json::Value) -> Option<Self> {
        let number = |name: &str| result.get(name).and_then(serde_json::Value::as_u64);
        let list = |name: &str| result.get(name).and_then(serde_json::Value::as_array);
        let executors: std::collections::BTreeSet<&str> =
            list("outputs")?.iter().filter_map(|output| output.get("executor")?.as_str()).collect();
        let is_without_rows = |file: &&serde_json::Value| {
            let number = |name: &str| file.get(name).and_then(serde_json::Value::as_u64);
            number("rows") == Some(0) && number("rejected").is_some_and(|rejected| rejected > 0)
        };
        let without_rows = list("ledger").into_iter().flatten().filter(is_without_rows).count();
        Some(Self {
            rows: number("rows")?,
            rejected: number("rejected")?,
            input_bytes: number("input_bytes")?,
            output_bytes: number("output_bytes")?,
            outputs: list("outputs")?.len() as u64,
            executors: executors.len() as u64,
            cpu_micros: number("cpu_micros").unwrap_or(0),
            reads: result.pointer("/storage/reads").and_then(serde_json::Value::as_u64).unwrap_or(0),
            writes: result.pointer("/storage/writes").and_then(serde_json::Value::as_u64).unwrap_or(0),
            without_rows: without_rows as u64,
        })
    }

    /// Sum of two summaries.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            rows: self.rows.saturating_add(other.rows),
            rejected: self.rejected.saturating_add(other.rejected),
            input_bytes: self.input_bytes.saturating_add(other.input_bytes),
            output_bytes: self.output_bytes.saturating_add(other.output_bytes),
            outputs: self.outputs.saturating_add(other.outputs),
            executors: self.executors.max(other.executors),
            cpu_micros: self.cpu_micros.saturating_add(other.cpu_micros),
            reads: self.reads.saturating_add(other.reads),
            writes: self.writes.saturating_add(other.writes),
            without_rows: 0,
        }
    }
}

/// Work of an attempt: duration of each step, and counts of its tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptWork {
    /// Steps, in order.
    #[serde(default)]
    pub steps: Vec<AttemptStep>,
    /// Stored bytes of input that were read.
    #[serde(default)]
    pub read_bytes: u64,
    /// Lines that became rows.
    #[serde(default)]
    pub rows: u64,
    /// Lines that were rejected.
    #[serde(default)]
    pub rejected: u64,
    /// CPU time of its tasks, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Number of tasks.
    #[serde(default)]
    pub tasks: u64,
}

impl AttemptWork {
    /// Work of the attempt in the result of a commit, if it contains it.
    pub fn of_result(result: &serde_json::Value) -> Option<Self> {
        serde_json::from_value(result.get("work")?.clone()).ok()
    }
}

/// Step of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptStep {
    /// Name of the step, such as `survey`.
    pub step: String,
    /// Time at which the step began.
    pub began_at: DateTime<Utc>,
    /// Duration of the step, in milliseconds.
    pub millis: u64,
}

/// Length of the spans of a time series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A minute; kept for 48 hours.
    Minute,
    /// An hour; kept for 400 days.
    Hour,
}

impl Span {
    /// All lengths.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// Length in seconds.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    /// Retention of samples: two days by the minute, and more than a year by the hour, for comparison with the year
    /// before.
    pub fn keep(self) -> Duration {
        match self {
            Self::Minute => Duration::hours(48),
            Self::Hour => Duration::days(400),
        }
    }

    /// Start of the span that contains a time.
    pub fn begin(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = at.timestamp().div_euclid(self.seconds()) * self.seconds();
        DateTime::from_timestamp(seconds, 0).unwrap_or(at)
    }
}

/// Sums over a span of time, and the state at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Start of the span, in Unix seconds.
    pub at: i64,
    /// Observed part of the span, in seconds: less than the whole if there was no leader for some time.
    pub watched_seconds: f64,
    /// Number of valid files that arrived.
    pub arrived_files: u64,
    /// Bytes of these files.
    pub arrived_bytes: u64,
    /// Stored input bytes of completed runs.
    pub input_bytes: u64,
    /// Parquet bytes of these runs.
    pub output_bytes: u64,
    /// Rows of these runs.
    pub rows: u64,
    /// Rejected lines of these runs.
    pub rejected: u64,
    /// Number of completed runs.
    pub completed_runs: u64,
    /// Number of runs that failed finally.
    pub failed_runs: u64,
    /// Backlog in bytes at the end: pending files and open runs.
    pub backlog_bytes: u64,
    /// Busy time of all slots together, in seconds.
    pub busy_slot_seconds: f64,
    /// Number of slots at the end.
    pub slots: u64,
}

impl Sample {
    /// Adds a later part of the same span.
    pub fn add(&mut self, later: &Self) {
        self.watched_seconds += later.watched_seconds;
        self.arrived_files = self.arrived_files.saturating_add(later.arrived_files);
        self.arrived_bytes = self.arrived_bytes.saturating_add(later.arrived_bytes);
        self.input_bytes = self.input_bytes.saturating_add(later.input_bytes);
        self.output_bytes = self.output_bytes.saturating_add(later.output_bytes);
        self.rows = self.rows.saturating_add(later.rows);
        self.rejected = self.rejected.saturating_add(later.rejected);
        self.completed_runs = self.completed_runs.saturating_add(later.completed_runs);
        self.failed_runs = self.failed_runs.saturating_add(later.failed_runs);
        self.backlog_bytes = later.backlog_bytes;
        self.busy_slot_seconds += later.busy_slot_seconds;
        self.slots = later.slots;
    }
}

/// A note that a process stores until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Name of the note within its kind, such as that of a process, or [`LEARNT`].
    pub name: String,
    /// Time of writing.
    pub at: DateTime<Utc>,
    /// Content of the note.
    pub value: serde_json::Value,
}

/// Kind of notes: heartbeats of schedulers, leader and standbys.
pub const SCHEDULERS: &str = "scheduler";
/// Kind of notes: capacity measured by the leader; see [`Capacity`].
pub const CAPACITY: &str = "capacity";
/// Name of the only note of the preceding kind.
pub const LEARNT: &str = "learnt";

/// Kind of notes: that the totals of all dates were counted once, which stores from earlier versions need.
pub const TOTALS: &str = "totals";
/// Name of the only note of the preceding kind.
pub const COUNTED: &str = "counted";

/// Open work, and the speed of converting it, for the decision on the number of executors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Bytes of pending files.
    pub pending_bytes: u64,
    /// Bytes of open runs.
    pub run_bytes: u64,
    /// Input bytes that a busy slot converts per second, measured over hours; `None` until a run has completed.
    pub bytes_per_slot_second: Option<f64>,
    /// Number of slots of all executors.
    pub slots: u64,
    /// Number of busy slots.
    pub busy_slots: u64,
}

impl Capacity {
    /// Backlog in bytes.
    pub fn unfinished_bytes(&self) -> u64 {
        self.pending_bytes.saturating_add(self.run_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_begins_where_the_clock_says() {
        let at: DateTime<Utc> = "2025-12-23T14:03:59.5Z".parse().unwrap();
        assert_eq!(Span::Minute.begin(at).to_rfc3339(), "2025-12-23T14:03:00+00:00");
        assert_eq!(Span::Hour.begin(at).to_rfc3339(), "2025-12-23T14:00:00+00:00");
    }

    #[test]
    fn a_result_of_another_kind_has_no_summary() {
        assert_eq!(RunSummary::of_result(&"result".into()), None);
        let result = serde_json::json!({"rows": 3, "rejected": 1, "input_bytes": 9, "output_bytes": 5,
            "outputs": [{"executor": "a"}, {"executor": "a"}]});
        let summary = RunSummary::of_result(&result).unwrap();
        assert_eq!((summary.rows, summary.outputs, summary.executors), (3, 2, 1));
    }
}
