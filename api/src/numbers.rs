//! Totals of dates, and time series.

use crate::words;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, RunState};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Dates, newest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Dates {
    /// The dates, at most 1,000 of them.
    pub items: Vec<DateNumbers>,
}

/// All there is of a date, in numbers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DateNumbers {
    /// The date.
    #[schema(value_type = String, format = Date)]
    pub date: DatePrefix,
    /// Files of the date by state; states without files are left out.
    pub files: Vec<DateFiles>,
    /// Refused files of the date by reason.
    pub refused: Vec<DateRefused>,
    /// Runs of the date by state; states without runs are left out. On DynamoDB, only runs that have ended.
    pub runs: Vec<DateRuns>,
    /// Stored bytes of the input of its committed runs.
    pub input_bytes: u64,
    /// Bytes of Parquet files of completed runs.
    pub output_bytes: u64,
    /// Output files of completed runs.
    pub outputs: u64,
    /// Rows of completed runs.
    pub rows: u64,
    /// Lines that completed runs rejected.
    pub rejected: u64,
    /// Time that the tasks of completed runs computed, in seconds.
    pub cpu_seconds: f64,
    /// Arrival of the oldest pending file; null if none is pending.
    #[schema(required)]
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Moment a run of it was last committed.
    #[schema(required)]
    pub last_commit: Option<DateTime<Utc>>,
}

/// Files of a date in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DateFiles {
    #[schema(schema_with = words::file_state)]
    pub state: FileState,
    /// Number of files in this state.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Files of a date that were refused for one reason.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DateRefused {
    /// The reason.
    pub reason: String,
    /// Number of files that were refused for this reason.
    pub files: u64,
}

/// Runs of a date in one state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DateRuns {
    #[schema(schema_with = words::run_state)]
    pub state: RunState,
    /// Number of runs in this state.
    pub runs: u64,
}

/// Range of dates.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DateQuery {
    /// The earliest date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = Date, required = false)]
    #[param(value_type = String, format = Date, required = false)]
    pub from: Option<DatePrefix>,
    /// The latest date.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = Date, required = false)]
    #[param(value_type = String, format = Date, required = false)]
    pub to: Option<DatePrefix>,
}

/// Quantity that a series shows over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SeriesName {
    /// Valid files that arrived, per second.
    ArrivalFiles,
    /// Stored bytes of valid files that arrived, per second.
    ArrivalBytes,
    /// Stored input bytes of completed runs, per second.
    ThroughputIn,
    /// Bytes of Parquet output of completed runs, per second.
    ThroughputOut,
    /// Unconverted bytes, at the end of each step.
    BacklogBytes,
    /// Rows of completed runs.
    Rows,
    /// Lines that completed runs rejected.
    Rejected,
    /// Number of completed runs.
    CompletedRuns,
    /// Number of runs that failed permanently.
    FailedRuns,
    /// Busy task slots, on average.
    BusySlots,
}

/// A number over time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    /// Quantity that the series shows.
    pub name: SeriesName,
    /// Beginning of the range.
    pub from: DateTime<Utc>,
    /// End of the range.
    pub to: DateTime<Utc>,
    /// Seconds of a step.
    pub step: i64,
    /// The steps of which something is known, oldest first.
    pub points: Vec<Point>,
}

/// A number of one step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Point {
    /// Beginning of the step.
    pub at: DateTime<Utc>,
    /// The number.
    pub value: f64,
}

/// Query for a time series.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SeriesQuery {
    /// Quantity that the series shows.
    #[param(inline)]
    pub name: SeriesName,
    /// Beginning of the range; an hour before its end if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(required = false)]
    pub from: Option<DateTime<Utc>>,
    /// End of the range; now if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(required = false)]
    pub to: Option<DateTime<Utc>>,
    /// Seconds of a step, a multiple of 60; as many as make at most 360 points if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(minimum = 60, required = false)]
    pub step: Option<i64>,
}

/// Outlook of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Outlook {
    /// No backlog.
    Empty,
    /// Shrinking backlog; `low_seconds` to `high_seconds` is the forecast of its end.
    Draining,
    /// Growing or constant backlog: input arrives as fast as it can be converted, or faster.
    Growing,
    /// No forecast: no run has completed yet, or no executor is connected.
    Unknown,
}

/// Forecast of the backlog.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Forecast {
    /// Outlook of the backlog.
    pub outlook: Outlook,
    /// Bytes that are not converted: pending files, and runs that have not ended.
    pub backlog_bytes: u64,
    /// Time until it is done, in seconds, at the earliest.
    #[schema(required)]
    pub low_seconds: Option<f64>,
    /// Time until it is done, in seconds, if arrivals stay as they are.
    #[schema(required)]
    pub drain_seconds: Option<f64>,
    /// Time until it is done, in seconds, at the latest; null if it may grow.
    #[schema(required)]
    pub high_seconds: Option<f64>,
    /// Bytes of valid files that come a second.
    #[schema(required)]
    pub arrival_bytes_per_second: Option<f64>,
    /// Bytes of input that all slots convert a second when they are busy.
    #[schema(required)]
    pub capacity_bytes_per_second: Option<f64>,
}
