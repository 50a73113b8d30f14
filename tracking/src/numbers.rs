//! Numbers that do not forget: totals of dates, series over time, and what processes leave word of.
//!
//! Nothing is decided by them. Those of dates are kept as files and runs change, in the same transaction where there is one, and
//! can be counted anew.

use crate::RunState;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::FileState;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Limit of the dates in one answer: more than two years of them.
pub const MAX_DATES: usize = 1000;
/// Limit of the notes of one kind in one answer: as many processes of a kind as any installation has.
pub const MAX_NOTES: usize = 1000;

/// Files in one state, and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileTotal {
    /// The files.
    pub files: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Numbers of all there is of a date.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DateTotals {
    /// Files by state; states without files are left out.
    pub files: BTreeMap<FileState, FileTotal>,
    /// Quarantined files by reason.
    pub refused: BTreeMap<String, u64>,
    /// Runs by state. In DynamoDB, only those that have ended.
    pub runs: BTreeMap<RunState, u64>,
    /// Sums of what its committed runs produced.
    pub output: RunSummary,
    /// Time at which the oldest pending file arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Time at which a run of the date was last committed, or completed.
    pub last_commit: Option<DateTime<Utc>>,
}

/// Summary of what a run produced, as lists show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    #[serde(default)]
    pub outputs: u64,
    /// Executors that made it.
    #[serde(default)]
    pub executors: u64,
    /// Time that its tasks computed, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Requests to object storage that it took and that read, by estimate.
    #[serde(default)]
    pub reads: u64,
    /// Requests to object storage that it took and that write, by estimate.
    #[serde(default)]
    pub writes: u64,
    /// Files with lines of which none became a row. Sums of dates leave them out.
    #[serde(default)]
    pub without_rows: u64,
}

impl RunSummary {
    /// Summary of a result as a commit brings it; none if it is no such result.
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

    /// The sum of two.
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

/// Work of an attempt: how long each step took, and what its tasks did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptWork {
    /// The steps, in order.
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
    /// Time that its tasks computed, in microseconds.
    #[serde(default)]
    pub cpu_micros: u64,
    /// Tasks.
    #[serde(default)]
    pub tasks: u64,
}

impl AttemptWork {
    /// Work of the attempt whose result a commit brings, if it tells.
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
    /// Time that the step took, in milliseconds.
    pub millis: u64,
}

/// Length of the spans that a series is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Span {
    /// A minute; kept for 48 hours.
    Minute,
    /// An hour; kept for 400 days.
    Hour,
}

impl Span {
    /// Spans of both lengths.
    pub const ALL: [Self; 2] = [Self::Minute, Self::Hour];

    /// Seconds of one.
    pub fn seconds(self) -> i64 {
        match self {
            Self::Minute => 60,
            Self::Hour => 3600,
        }
    }

    /// Time for which samples of this length are kept: two days are looked at minute by minute, and a year is compared with
    /// the one before.
    pub fn keep(self) -> Duration {
        match self {
            Self::Minute => Duration::hours(48),
            Self::Hour => Duration::days(400),
        }
    }

    /// Beginning of the span that a time is in.
    pub fn begin(self, at: DateTime<Utc>) -> DateTime<Utc> {
        let seconds = at.timestamp().div_euclid(self.seconds()) * self.seconds();
        DateTime::from_timestamp(seconds, 0).unwrap_or(at)
    }
}

/// Sums of what happened in a span of time, and the state at its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sample {
    /// Beginning of the span, in seconds since 1970.
    pub at: i64,
    /// Time of the span that was watched, in seconds: less than all of it where nobody led for some time.
    pub watched_seconds: f64,
    /// Files that came, valid ones, and their bytes.
    pub arrived_files: u64,
    /// Bytes of the files that came.
    pub arrived_bytes: u64,
    /// Stored bytes of input of runs that were completed.
    pub input_bytes: u64,
    /// Bytes of Parquet of those.
    pub output_bytes: u64,
    /// Rows of those.
    pub rows: u64,
    /// Lines that those rejected.
    pub rejected: u64,
    /// Runs that were completed.
    pub completed_runs: u64,
    /// Runs that failed for good.
    pub failed_runs: u64,
    /// Bytes that are not converted, at the end: pending files and runs that have not ended.
    pub backlog_bytes: u64,
    /// Seconds that slots were busy, all slots together.
    pub busy_slot_seconds: f64,
    /// Slots there were at the end.
    pub slots: u64,
}

impl Sample {
    /// Adds what happened in a later part of the same span.
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

/// A note that a process leaves of itself, until it expires.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Note {
    /// Name of the note among those of its kind, such as that of a process, or [`LEARNT`].
    pub name: String,
    /// Time at which the note was left.
    pub at: DateTime<Utc>,
    /// Content of the note.
    pub value: serde_json::Value,
}

/// Kind of notes: schedulers, whether they run manifests or stand by.
pub const SCHEDULERS: &str = "scheduler";
/// Kind of notes: what the scheduler that runs the manifests has learnt of its capacity; see [`Capacity`].
pub const CAPACITY: &str = "capacity";
/// Name of the one note of that kind.
pub const LEARNT: &str = "learnt";

/// Kind of notes: that the totals of all dates were counted once, since they are kept; stores of before have none to begin with.
pub const TOTALS: &str = "totals";
/// Name of the one note of that kind.
pub const COUNTED: &str = "counted";

/// Work that there is to do, and the speed of it: for whoever decides how many executors there should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Capacity {
    /// Bytes of pending files.
    pub pending_bytes: u64,
    /// Bytes of runs that have not ended.
    pub run_bytes: u64,
    /// Bytes of input that one busy slot converts a second, learnt over hours; none until a run has been completed.
    pub bytes_per_slot_second: Option<f64>,
    /// Slots of all executors.
    pub slots: u64,
    /// Slots that were busy.
    pub busy_slots: u64,
}

impl Capacity {
    /// Bytes that are not converted.
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
