//! Costs of runs, compared with AWS Glue.

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query};
use super::run_detail::known;
use crate::commit::RunResult;
use crate::cost::used as used_by;
use axum::Json;
use axum::extract::State;
use millwork_api::{Cost, CostQuery, Costs, DateCost, ErrorBody, ErrorCode, RunCost, Used};
use millwork_manifest::{ManifestId, RunState};
use millwork_tracking::RunSummary;

/// Resources and cost of a run: CPU seconds and requests by the scheduler's prices (`--prices`), beside AWS Glue at the settings of
/// the pipeline that Millwork replaces.
#[utoipa::path(get, path = "/api/v1/runs/{id}/cost", tag = "numbers", params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 200, description = "What it took", body = RunCost),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: it is not committed", body = ErrorBody)
))]
pub(super) async fn get_run_cost(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
) -> Result<Json<RunCost>, ApiError> {
    let run = known(&api, &id).await?;
    let not_committed = || {
        let message =
            format!("run `{id}` is {} and has no output: what it took is told once it is committed", run.state);
        ApiError::new(ErrorCode::Conflict, message)
    };
    let result = RunResult::of(&run)?.ok_or_else(not_committed)?;
    let summary = RunSummary {
        input_bytes: result.input_bytes,
        output_bytes: result.output_bytes,
        cpu_micros: result.cpu_micros,
        reads: result.storage.reads,
        writes: result.storage.writes,
        ..RunSummary::default()
    };
    let (used, prices) = (used_by(1, &summary), api.prices);
    Ok(Json(RunCost { manifest_id: id, used, cost: Cost::of(&used, &prices), prices }))
}

/// Resources and costs of the committed runs of some dates, by date.
#[utoipa::path(get, path = "/api/v1/cost", tag = "numbers", params(CostQuery), responses(
    (status = 200, description = "What they took, by date", body = Costs)
))]
pub(super) async fn get_costs(
    State(api): State<Api>,
    Query(CostQuery { from, to, .. }): Query<CostQuery>,
) -> Result<Json<Costs>, ApiError> {
    let prices = api.prices;
    let mut sum = Used::default();
    let mut items = Vec::new();
    for (date, totals) in api.service.store().date_totals(from, to).await? {
        let runs = totals.runs.get(&RunState::Completed).copied().unwrap_or(0);
        let used = used_by(runs, &totals.output);
        if used == Used::default() {
            continue;
        }
        sum = sum.plus(used);
        items.push(DateCost { date, used, cost: Cost::of(&used, &prices) });
    }
    Ok(Json(Costs { items, used: sum, cost: Cost::of(&sum, &prices), prices }))
}
