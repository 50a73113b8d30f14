//! Statistics of current work.

use super::Api;
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Utc};
use millwork_api::{Converted, FilesInState, RunsInState, Stats};

/// Numbers of the work that goes on: runs, files, executors, throughput.
#[utoipa::path(get, path = "/api/v1/stats", tag = "cluster", responses(
    (status = 200, description = "All numbers", body = Stats)
))]
pub(super) async fn get_stats(State(api): State<Api>) -> Json<Stats> {
    Json(load_stats(&api).await)
}

/// Current statistics, counted within the last seconds.
pub(crate) async fn load_stats(api: &Api) -> Stats {
    api.numbers.await_fresh().await;
    latest_stats(api)
}

/// Statistics as they were counted last.
pub(super) fn latest_stats(api: &Api) -> Stats {
    let known = api.numbers.ask();
    let fleet = api.service.leader().map(|scheduler| scheduler.engine());
    let (executors, tasks) = fleet.map(|engine| (engine.executors(), engine.used_slots())).unwrap_or_default();
    let age = |at: DateTime<Utc>| (Utc::now() - at).as_seconds_f64().max(0.0);
    Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: api.numbers.started.elapsed().as_secs(),
        leads: api.service.leader().is_some(),
        runs_counted_at: known.runs.as_ref().map(|counted| counted.at),
        queue_age_seconds: known.oldest_queued().map(age),
        files_counted_at: known.files.as_ref().map(|counted| counted.at),
        executors: executors.len() as u64,
        slots: executors.iter().map(|executor| u64::from(executor.vcores)).sum(),
        slots_used: tasks.values().sum(),
        bytes_per_second: known.bytes_per_second,
        backlog_seconds: known.backlog_seconds(),
        forecast: known.forecast(),
        converted: Converted { input_bytes: known.input_bytes, output_bytes: known.output_bytes, rows: known.rows },
        runs: known
            .counts()
            .iter()
            .map(|count| RunsInState { state: count.state, runs: count.runs, bytes: count.bytes, oldest: count.oldest })
            .collect(),
        files: known
            .files
            .iter()
            .flat_map(|counted| &counted.values)
            .map(|&(state, total)| FilesInState { state, files: total.files, bytes: total.bytes })
            .collect(),
    }
}
