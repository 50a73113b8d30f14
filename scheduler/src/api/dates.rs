//! Totals of dates, kept up to date as files and runs change, so that no request has to count.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Path, Query};
use crate::audit::Deed;
use axum::Json;
use axum::extract::State;
use millwork_api::{DateFiles, DateNumbers, DateQuery, DateRefused, DateRuns, Dates, ErrorBody, ErrorCode};
use millwork_manifest::{DatePrefix, FileState};
use millwork_tracking::DateTotals;
use std::collections::BTreeMap;

/// Converts the totals of a date to the API's type.
fn numbers(date: DatePrefix, totals: DateTotals) -> DateNumbers {
    let DateTotals { files, refused, runs, output, oldest_pending, last_commit } = totals;
    let of_state = |(state, total): (FileState, millwork_tracking::FileTotal)| DateFiles {
        state,
        files: total.files,
        bytes: total.bytes,
    };
    DateNumbers {
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
    Ok(Json(Dates { items: dates.into_iter().map(|(date, totals)| numbers(date, totals)).collect() }))
}

/// Numbers of one date. A date of which nothing is known has none.
#[utoipa::path(get, path = "/api/v1/dates/{date}", tag = "numbers", params(("date" = String, Path, description = "The date, as YYYY-MM-DD")), responses(
    (status = 200, description = "Its numbers", body = DateNumbers),
    (status = 404, description = "`not-found`", body = ErrorBody)
))]
pub(super) async fn get_date(
    State(api): State<Api>,
    Path(date): Path<DatePrefix>,
) -> Result<Json<DateNumbers>, ApiError> {
    let found = api.service.store().date_totals(Some(date), Some(date)).await?.pop();
    let (date, totals) =
        found.ok_or_else(|| ApiError::new(ErrorCode::NotFound, format!("nothing is known of {date}")))?;
    Ok(Json(numbers(date, totals)))
}

/// Counts a date anew, which heals what a crash left wrong. Its cost grows with the files and runs of the date.
#[utoipa::path(post, path = "/api/v1/dates/{date}/recount", tag = "numbers", params(("date" = String, Path, description = "The date, as YYYY-MM-DD")), responses(
    (status = 200, description = "Its numbers, as they were counted", body = DateNumbers)
))]
pub(super) async fn recount_date(
    State(api): State<Api>,
    Asker(who): Asker,
    Path(date): Path<DatePrefix>,
) -> Result<Json<DateNumbers>, ApiError> {
    let after = "its numbers are counted anew".to_owned();
    let deed = Deed { action: "recount", subject: date.to_string(), before: None, after, reason: None };
    let store = api.service.store().clone();
    let totals = api.service.audited(&who, deed, async move { store.recount_totals(date).await }).await?;
    Ok(Json(numbers(date, totals)))
}

/// Sums files by state over all dates.
pub(crate) fn sums(dates: &[(DatePrefix, DateTotals)]) -> BTreeMap<FileState, millwork_tracking::FileTotal> {
    let mut sums: BTreeMap<FileState, millwork_tracking::FileTotal> = BTreeMap::new();
    for (state, total) in dates.iter().flat_map(|(_, totals)| &totals.files) {
        let sum = sums.entry(*state).or_default();
        sum.files = sum.files.saturating_add(total.files);
        sum.bytes = sum.bytes.saturating_add(total.bytes);
    }
    sums
}
