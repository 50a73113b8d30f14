//! Executors.

use super::Api;
use crate::engine::{ExecutorNow, GoneExecutor};
use axum::Json;
use axum::extract::State;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::ManifestId;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap};
use utoipa::ToSchema;

/// The executors that are connected, and those that have left.
#[derive(Serialize, ToSchema)]
pub(super) struct Executors {
    /// Whether this process runs the manifests. Executors connect to the one that does: a standby has none.
    leads: bool,
    items: Vec<Executor>,
    /// Those that left since yesterday, while this process ran the manifests: the last 200, the newest first.
    gone: Vec<LeftExecutor>,
}

/// An executor that is connected.
#[derive(Serialize, ToSchema)]
struct Executor {
    /// Its id.
    id: String,
    /// The address that it called from.
    #[schema(example = "10.0.0.7:50051")]
    host: String,
    /// Name of the machine it runs on; empty if it does not know.
    machine: String,
    /// Its version.
    version: String,
    /// When it came.
    since: DateTime<Utc>,
    /// When it last said something: it does so each second.
    last_seen: DateTime<Utc>,
    /// Since when it takes no more tasks; null if it does.
    #[schema(required)]
    draining_since: Option<DateTime<Utc>>,
    /// How many tasks it runs at once.
    vcores: u32,
    /// How many tasks it runs now.
    tasks: u64,
    /// The runs that these are of.
    runs: Vec<String>,
    /// Bytes of input that they read a second.
    bytes_per_second: f64,
    /// Memory that its process has, in bytes; null if it does not know.
    #[schema(required)]
    memory_bytes: Option<u64>,
    /// Limit of that, in bytes; null if it does not know one.
    #[schema(required)]
    memory_limit_bytes: Option<u64>,
    /// Tasks that it finished.
    finished_tasks: u64,
    /// Tasks that it failed.
    failed_tasks: u64,
}

/// An executor that has left.
#[derive(Serialize, ToSchema)]
struct LeftExecutor {
    /// Its id.
    id: String,
    /// The address that it called from.
    host: String,
    /// Its version.
    version: String,
    /// How many tasks it ran at once.
    vcores: u32,
    /// When it came.
    since: DateTime<Utc>,
    /// When it left.
    left_at: DateTime<Utc>,
    /// Why.
    reason: String,
    /// Tasks that it had then, which others had to do again.
    lost_tasks: u64,
}

/// How long those that have left are shown.
const SHOW_GONE: Duration = Duration::days(1);

/// Lists the executors that are connected, and those that left since yesterday.
#[utoipa::path(get, path = "/api/v1/executors", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Executors)
))]
pub(super) async fn list_executors(State(api): State<Api>) -> Json<Executors> {
    let Some(scheduler) = api.service.leader() else {
        return Json(Executors { leads: false, items: Vec::new(), gone: Vec::new() });
    };
    let (runs, engine) = (scheduler.runs_by_job(), scheduler.engine());
    let items = engine.executors_now().into_iter().map(|now| executor(now, &runs)).collect();
    let yesterday = Utc::now() - SHOW_GONE;
    let gone = engine.gone_executors().into_iter().filter(|gone| gone.left_at >= yesterday).map(left).collect();
    Json(Executors { leads: true, items, gone })
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
