//! Executors.

use super::Api;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

/// The executors that are connected.
#[derive(Serialize, ToSchema)]
pub(super) struct Executors {
    /// Whether this process runs the manifests. Executors connect to the one that does: a standby has none.
    leads: bool,
    items: Vec<Executor>,
}

/// An executor that is connected.
#[derive(Serialize, ToSchema)]
struct Executor {
    /// Its id.
    id: String,
    /// Where it can be reached.
    #[schema(example = "10.0.0.7:50051")]
    host: String,
    /// How many tasks it runs at once.
    vcores: u32,
    /// How many tasks it ran when that was last looked at, at most some seconds ago.
    tasks: u64,
}

/// Lists the executors that are connected.
#[utoipa::path(get, path = "/api/v1/executors", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Executors)
))]
pub(super) async fn list_executors(State(api): State<Api>) -> Json<Executors> {
    let Some(scheduler) = api.service.leader() else {
        return Json(Executors { leads: false, items: Vec::new() });
    };
    let tasks = api.numbers.known().tasks;
    let connected = scheduler.engine().executors().into_iter();
    let executor = |e: crate::engine::ExecutorInfo| {
        let tasks = tasks.get(&e.id).copied().unwrap_or_default();
        Executor { id: e.id, host: e.host, vcores: e.vcores, tasks }
    };
    Json(Executors { leads: true, items: connected.map(executor).collect() })
}
