//! Dates in numbers: kept as files and runs change, so that no question counts them.

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query};
use super::words;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState};
use millwork_tracking::{DateTotals, RunState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::{IntoParams, ToSchema};

/// Dates, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct Dates {
    /// The dates, at most 1,000 of them.
    items: Vec<DateNumbers>,
}

/// All there is of a date, in numbers.
#[derive(Serialize, ToSchema)]
pub(super) struct DateNumbers {
    /// The date.
    #[schema(value_type = String, format = Date)]
    date: DatePrefix,
    /// Its files by state; states without files are left out.
    files: Vec<DateFiles>,
    /// Its refused files by reason.
    refused: Vec<DateRefused>,
    /// Its runs by state; states without runs are left out. On DynamoDB, those that have ended.
    runs: Vec<DateRuns>,
    /// Stored bytes of the input of its committed runs.
    input_bytes: u64,
    /// Bytes of Parquet of these.
    output_bytes: u64,
    /// Output files of these.
    outputs: u64,
    /// Rows of these.
    rows: u64,
    /// Lines that these rejected.
    rejected: u64,
    /// Time that their tasks computed, in seconds.
    cpu_seconds: f64,
    /// When the oldest pending file arrived; null if none is pending.
    #[schema(required)]
    oldest_pending: Option<DateTime<Utc>>,
    /// When a run of it was last committed.
    #[schema(required)]
    last_commit: Option<DateTime<Utc>>,
}

/// Files of a date in one state.
#[derive(Serialize, ToSchema)]
struct DateFiles {
    #[schema(schema_with = words::file_state)]
    state: FileState,
    /// How many.
    files: u64,
    /// Their bytes.
    bytes: u64,
}

/// Files of a date that were refused for one reason.
#[derive(Serialize, ToSchema)]
struct DateRefused {
    /// The reason.
    reason: String,
    /// How many.
    files: u64,
}

/// Runs of a date in one state.
#[derive(Serialize, ToSchema)]
struct DateRuns {
    #[schema(schema_with = words::run_state)]
    state: RunState,
    /// How many.
    runs: u64,
}

impl DateNumbers {
    pub(super) fn new(date: DatePrefix, totals: DateTotals) -> Self {
        let DateTotals { files, refused, runs, output, oldest_pending, last_commit } = totals;
        let of_state = |(state, total): (FileState, millwork_tracking::FileTotal)| DateFiles {
            state,
            files: total.files,
            bytes: total.bytes,
        };
        Self {
            date,
            files: files.into_iter().map(of_state).collect(),
            refused: refused.into_iter().map(|(reason, files)| DateRefused { reason, files }).collect(),
            runs: runs.into_iter().map(|(state, runs)| DateRuns { state, runs }).collect(),
            input_bytes: output.input_bytes,
            output_bytes: output.output_bytes,
            outputs: output.outputs,
            rows: output.rows,
            rejected: output.rejected,
            cpu_seconds: output.cpu_micros as f64 / 1e6,
            oldest_pending,
            last_commit,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct DateQuery {
    /// The earliest date.
    #[param(value_type = String, format = Date, required = false)]
    pub(super) from: Option<DatePrefix>,
    /// The latest date.
    #[param(value_type = String, format = Date, required = false)]
    pub(super) to: Option<DatePrefix>,
}

/// Lists dates with their numbers, the newest first, at most 1,000. They are kept as files and runs change; a crash can leave
/// DynamoDB's wrong until they are counted anew.
#[utoipa::path(get, path = "/api/v1/dates", tag = "numbers", params(DateQuery), responses(
    (status = 200, description = "The dates", body = Dates)
))]
pub(super) async fn list_dates(
    State(api): State<Api>,
    Query(DateQuery { from, to }): Query<DateQuery>,
) -> Result<Json<Dates>, ApiError> {
    let dates = api.service.store().date_totals(from, to).await?;
    Ok(Json(Dates { items: dates.into_iter().map(|(date, totals)| DateNumbers::new(date, totals)).collect() }))
}

/// One date, in numbers. One of which nothing is known has none.
#[utoipa::path(get, path = "/api/v1/dates/{date}", tag = "numbers", params(("date" = String, Path, description = "The date, as YYYY-MM-DD")), responses(
    (status = 200, description = "Its numbers", body = DateNumbers),
    (status = 404, description = "`no-such-date`", body = super::error::ErrorBody)
))]
pub(super) async fn get_date(
    State(api): State<Api>,
    Path(date): Path<DatePrefix>,
) -> Result<Json<DateNumbers>, ApiError> {
    let found = api.service.store().date_totals(Some(date), Some(date)).await?.pop();
    let (date, totals) = found
        .ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "no-such-date", format!("nothing is known of {date}")))?;
    Ok(Json(DateNumbers::new(date, totals)))
}

/// Counts a date anew, which heals what a crash left wrong. Its cost grows with the files and runs of the date.
#[utoipa::path(post, path = "/api/v1/dates/{date}/recount", tag = "numbers", params(("date" = String, Path, description = "The date, as YYYY-MM-DD")), responses(
    (status = 200, description = "Its numbers, as they were counted", body = DateNumbers)
))]
pub(super) async fn recount_date(
    State(api): State<Api>,
    Path(date): Path<DatePrefix>,
) -> Result<Json<DateNumbers>, ApiError> {
    Ok(Json(DateNumbers::new(date, api.service.store().recount_totals(date).await?)))
}

/// Sums of files by state over all dates.
pub(super) fn sums(dates: &[(DatePrefix, DateTotals)]) -> BTreeMap<FileState, millwork_tracking::FileTotal> {
    let mut sums: BTreeMap<FileState, millwork_tracking::FileTotal> = BTreeMap::new();
    for (state, total) in dates.iter().flat_map(|(_, totals)| &totals.files) {
        let sum = sums.entry(*state).or_default();
        sum.files = sum.files.saturating_add(total.files);
        sum.bytes = sum.bytes.saturating_add(total.bytes);
    }
    sums
}
