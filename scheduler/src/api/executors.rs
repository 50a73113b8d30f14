//! Executors.

use super::Api;
use crate::engine::{ExecutorNow, GoneExecutor};
use axum::Json;
use axum::extract::State;
use chrono::{Duration, Utc};
use millwork_api::{Executor, Executors, LeftExecutor};
use millwork_manifest::ManifestId;
use std::collections::{BTreeSet, HashMap};

/// Time for which disconnected executors are shown: a day.
const SHOW_GONE: Duration = Duration::days(1);

/// Lists the executors that are connected, and those that left since yesterday.
#[utoipa::path(get, path = "/api/v1/executors", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Executors)
))]
pub(super) async fn list_executors(State(api): State<Api>) -> Json<Executors> {
    Json(load_executors(&api))
}

/// Executors that are connected to this process, and those that have left.
pub(crate) fn load_executors(api: &Api) -> Executors {
    let Some(scheduler) = api.service.leader() else {
        return Executors { leads: false, items: Vec::new(), gone: Vec::new() };
    };
    let (runs, engine) = (scheduler.runs_by_job(), scheduler.engine());
    let items = engine.executors_now().into_iter().map(|now| executor(now, &runs)).collect();
    let yesterday = Utc::now() - SHOW_GONE;
    let gone = engine.gone_executors().into_iter().filter(|gone| gone.left_at >= yesterday).map(left).collect();
    Executors { leads: true, items, gone }
}

fn executor(now: ExecutorNow, runs: &HashMap<String, ManifestId>) -> Executor {
    let of_tasks: BTreeSet<String> = now.jobs.iter().filter_map(|job| Some(runs.get(job)?.to_string())).collect();
    Executor {
        id: now.info.id,
        host: now.info.host,
        machine: now.info.machine,
        version: now.info.version,
        since: now.info.since,
        last_seen: now.last_seen,
        draining_since: now.draining_since,
        vcores: now.info.vcores,
        tasks: now.jobs.len() as u64,
        runs: of_tasks.into_iter().collect(),
        bytes_per_second: now.bytes_per_second,
        memory_bytes: now.memory_bytes,
        memory_limit_bytes: now.info.memory_limit_bytes,
        finished_tasks: now.finished,
        failed_tasks: now.failed,
    }
}

fn left(gone: GoneExecutor) -> LeftExecutor {
    LeftExecutor {
        id: gone.info.id,
        host: gone.info.host,
        version: gone.info.version,
        vcores: gone.info.vcores,
        since: gone.info.since,
        left_at: gone.left_at,
        reason: gone.reason,
        lost_tasks: gone.lost_tasks,
    }
}
