//! Routes of the API, by subject.

use super::Api;
use super::{
    audit, config, costs, dates, doctor, events, executors, files, health, manifests, mended, metrics, openapi, plans,
    preview, quarantine, rejected, run_actions, run_detail, run_parts, runs, schedulers, series, services, state,
    stats, why,
};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that need no token, and reveal nothing about manifests, runs or files.
pub(super) fn checks() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::leaderz))
}

/// Routes with a time limit.
pub(super) fn timed() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .merge(manifests_and_runs_routes())
        .merge(files_routes())
        .merge(operations_routes())
        .merge(diagnoses_routes())
        .merge(services_routes())
        .merge(numbers_routes())
}

/// Manifests and their runs.
fn manifests_and_runs_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(manifests::submit_manifest))
        .routes(routes!(manifests::get_manifest))
        .routes(routes!(runs::list_runs))
        .routes(routes!(run_detail::get_run))
        .routes(routes!(run_parts::list_run_files))
        .routes(routes!(run_parts::list_run_ledger))
        .routes(routes!(rejected::list_rejected))
        .routes(routes!(mended::put_back_lines))
        .routes(routes!(run_actions::cancel_run))
        .routes(routes!(run_actions::retry_run))
        .routes(routes!(run_actions::force_run))
        .routes(routes!(run_actions::prioritise_run))
}

/// Files and quarantined ones.
fn files_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(files::list_files))
        .routes(routes!(files::get_file))
        .routes(routes!(preview::get_preview))
        .routes(routes!(quarantine::list_quarantine))
}

/// Operations on the state, change plans and their records.
fn operations_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(doctor::get_doctor))
        .routes(routes!(state::get_file_state))
        .routes(routes!(state::query_by_status))
        .routes(routes!(state::get_stats))
        .routes(routes!(state::get_processing_timeline))
        .routes(routes!(state::find_orphans))
        .routes(routes!(state::validate_consistency, state::mend_consistency))
        .routes(routes!(state::reset_stuck_files))
        .routes(routes!(state::update_state))
        .routes(routes!(state::batch_update))
        .routes(routes!(plans::make_plan))
        .routes(routes!(plans::get_plan))
        .routes(routes!(plans::apply_plan))
        .routes(routes!(audit::list_audit))
}

/// Diagnoses.
fn diagnoses_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(why::get_file_why))
        .routes(routes!(why::get_run_why))
        .routes(routes!(why::get_date_why))
        .routes(routes!(why::get_executor_why))
        .routes(routes!(why::get_attention))
}

/// Processes of this deployment, and what lies between them.
fn services_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(executors::list_executors))
        .routes(routes!(schedulers::list_schedulers))
        .routes(routes!(services::get_cluster))
        .routes(routes!(services::list_builders))
        .routes(routes!(services::list_locks))
        .routes(routes!(services::list_drafts))
        .routes(routes!(services::list_queues))
        .routes(routes!(services::list_dead_letters))
        .routes(routes!(config::get_config))
}

/// Numbers, costs, and the description of the API.
fn numbers_routes() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(stats::get_stats))
        .routes(routes!(dates::list_dates))
        .routes(routes!(dates::get_date))
        .routes(routes!(dates::recount_date))
        .routes(routes!(series::get_series))
        .routes(routes!(costs::get_run_cost))
        .routes(routes!(costs::get_costs))
        .routes(routes!(openapi::get_openapi))
        .routes(routes!(metrics::get_metrics))
}

/// Routes whose answers last as long as the client listens.
pub(super) fn streamed() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events::get_events))
}
