//! The HTTP API, version 1: what people and programs ask of a scheduler.
//!
//! Everything is answered from the store, so that a standby answers it too; only what goes on in this process (progress,
//! executors, events) needs the scheduler that runs the manifests. Nothing on the way of a request grows with the number
//! of runs: what must be counted is counted in the background ([`numbers`]).

pub(crate) mod audit;
mod auth;
pub(crate) mod error;
mod events;
pub(crate) mod executors;
mod extract;
pub(crate) mod files;
mod health;
mod limits;
mod manifests;
mod metrics;
mod numbers;
mod openapi;
mod options;
mod pages;
pub(crate) mod plans;
pub(crate) mod quarantine;
mod run_actions;
pub(crate) mod run_detail;
pub(crate) mod run_parts;
pub(crate) mod runs;
mod serve;
pub(crate) mod show;
pub(crate) mod stats;
mod throughput;
mod why;

pub use auth::read_token;
pub use options::{HttpDoor, HttpOptions};
pub use serve::ApiServer;

use crate::service::Service;
use auth::Access;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use error::ApiError;
use health::Health;
use limits::Places;
use millwork_api::ErrorCode;
use millwork_process::Metrics;
use numbers::Numbers;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// How long a request may take, but for events.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Says in each answer whether this process runs the manifests.
const ROLE: HeaderName = HeaderName::from_static("millwork-role");

/// What all handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    service: Service,
    numbers: Arc<Numbers>,
    metrics: Metrics,
    health: Health,
    /// Cancelled when the process is about to end.
    stop: CancellationToken,
}

/// The API's routes. All but the health checks ask for access.
fn router(service: Service, access: Access, places: Places, stop: CancellationToken) -> anyhow::Result<Router> {
    let metrics = metrics::install()?;
    let numbers = Arc::new(Numbers::new(service.clone()));
    let counting = tokio::spawn(numbers.clone().keep_current(metrics.clone()));
    let health = Health::new(service.clone(), counting.abort_handle());
    let api = Api { service, numbers, metrics, health, stop };
    let (checks, _) = checks().split_for_parts();
    let (timed, _) = timed().split_for_parts();
    let (streamed, _) = streamed().split_for_parts();
    let asked = timed
        .layer(middleware::from_fn_with_state(places.clone(), limits::limit_requests))
        .merge(streamed.layer(middleware::from_fn_with_state(places, limits::limit_streams)))
        .fallback(|| async { ApiError::new(ErrorCode::NotFound, "no such path") })
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(access, auth::check_access));
    let routes = checks
        .method_not_allowed_fallback(wrong_method)
        .merge(asked)
        .layer(middleware::from_fn_with_state(api.clone(), say_role));
    Ok(watched(routes).with_state(api))
}

/// Whatever happens to a request, it is answered and counted.
fn watched<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(CatchPanicLayer::custom(error::of_panic)).layer(middleware::from_fn(metrics::count_request))
}

/// What needs no token, and tells nothing of manifests, runs or files.
fn checks() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(health::healthz))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::leaderz))
}

/// What is answered at once, or not at all.
fn timed() -> OpenApiRouter<Api> {
    OpenApiRouter::new()
        .routes(routes!(manifests::submit_manifest))
        .routes(routes!(manifests::get_manifest))
        .routes(routes!(runs::list_runs))
        .routes(routes!(run_detail::get_run))
        .routes(routes!(run_parts::list_run_files))
        .routes(routes!(run_parts::list_run_ledger))
        .routes(routes!(run_actions::cancel_run))
        .routes(routes!(run_actions::retry_run))
        .routes(routes!(run_actions::force_run))
        .routes(routes!(run_actions::prioritise_run))
        .routes(routes!(files::list_files))
        .routes(routes!(files::get_file))
        .routes(routes!(quarantine::list_quarantine))
        .routes(routes!(why::get_file_why))
        .routes(routes!(why::get_run_why))
        .routes(routes!(why::get_date_why))
        .routes(routes!(why::get_executor_why))
        .routes(routes!(why::get_attention))
        .routes(routes!(executors::list_executors))
        .routes(routes!(plans::make_plan))
        .routes(routes!(plans::get_plan))
        .routes(routes!(plans::apply_plan))
        .routes(routes!(audit::list_audit))
        .routes(routes!(stats::get_stats))
        .routes(routes!(openapi::get_openapi))
        .routes(routes!(metrics::get_metrics))
}

/// What goes on as long as somebody listens.
fn streamed() -> OpenApiRouter<Api> {
    OpenApiRouter::new().routes(routes!(events::get_events))
}

async fn wrong_method() -> ApiError {
    ApiError::new(ErrorCode::WrongMethod, "this path does not take this method: see `allow`")
}

async fn say_role(State(api): State<Api>, request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let role = if api.service.leader().is_some() { "leader" } else { "standby" };
    response.headers_mut().insert(ROLE, HeaderValue::from_static(role));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::StatusCode;
    use axum::routing::get;
    use tower::ServiceExt;

    #[tokio::test]
    async fn a_panic_is_an_answer_in_the_one_shape() {
        async fn broken() -> &'static str {
            panic!("a secret")
        }
        let routes = watched(Router::new().route("/", get(broken)));
        let response = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(body["error"]["code"], "bug");
        assert!(!body.to_string().contains("secret"), "{body}");
    }
}
