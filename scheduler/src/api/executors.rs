//! Executors.

use super::Api;
use axum::Json;
use axum::extract::State;
use millwork_api::{Executor, Executors};

/// Lists the executors that are connected.
#[utoipa::path(get, path = "/api/v1/executors", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Executors)
))]
pub(super) async fn list_executors(State(api): State<Api>) -> Json<Executors> {
    Json(load_executors(&api))
}

/// The executors that are connected to this process.
pub(crate) fn load_executors(api: &Api) -> Executors {
    let Some(scheduler) = api.service.leader() else {
        return Executors { leads: false, items: Vec::new() };
    };
    let tasks = api.numbers.known().tasks;
    let connected = scheduler.engine().executors().into_iter();
    let executor = |e: crate::engine::ExecutorInfo| {
        let tasks = tasks.get(&e.id).copied().unwrap_or_default();
        Executor { id: e.id, host: e.host, vcores: e.vcores, tasks }
    };
    Executors { leads: true, items: connected.map(executor).collect() }
}
