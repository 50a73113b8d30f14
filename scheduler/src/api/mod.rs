//! HTTP API of the scheduler, version 1.
//!
//! Answers come from the store, so that a standby can give them, too; only live data of the process (progress,
//! executors, events) needs the leader. The cost of a request does not grow with the number of runs: totals are counted
//! in the background ([`numbers`]).

pub(crate) mod audit;
mod auth;
mod config;
mod costs;
mod cursor;
mod dates;
mod doctor;
pub(crate) mod error;
mod event_log;
mod events;
pub(crate) mod executors;
mod extract;
pub(crate) mod files;
mod headers;
mod health;
mod history;
mod limits;
mod manifests;
mod mended;
mod metrics;
mod numbers;
mod openapi;
mod options;
mod origin;
mod pages;
pub(crate) mod permits;
pub(crate) mod plans;
mod preview;
pub(crate) mod quarantine;
mod rejected;
mod routes;
mod run_actions;
pub(crate) mod run_detail;
pub(crate) mod run_parts;
pub(crate) mod runs;
mod schedulers;
mod series;
mod services;
mod sessions;
mod shared;
pub(crate) mod show;
mod state;
pub(crate) mod stats;
mod throughput;
mod tokens;
mod totals;
mod watch;
mod why;

pub(crate) use audit::load_audit;
pub(crate) use auth::{Access, peer};
pub(crate) use dates::sums;
pub(crate) use doctor::{EXAMINED_AGAIN, load_examination};
pub(crate) use error::ApiError;
pub(crate) use executors::load_executors;
pub(crate) use files::{load_file, load_files};
pub(crate) use health::Pulse;
pub(crate) use limits::Places;
pub(crate) use mended::{mended_of, put_back};
pub use options::{HttpDoor, HttpOptions};
pub(crate) use origin::check_same_site;
pub(crate) use preview::load_preview;
pub(crate) use rejected::load_rejected;
pub(crate) use run_detail::load_run;
pub(crate) use run_parts::{load_run_files, load_run_ledger};
pub(crate) use runs::load_runs;
pub(crate) use schedulers::{Presence, leave, load_schedulers};
pub(crate) use services::{load_cluster, load_dead_letters, load_queues};
pub(crate) use sessions::{cookies, link_path};
pub(crate) use shared::Shared;
pub(crate) use stats::load_stats;
pub(crate) use tokens::Tokens;
pub use tokens::read_token;
pub(crate) use why::load_attention;

use crate::access::Caller;
use crate::service::Service;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::{Extension, Router};
use event_log::EventLog;
use health::Health;
use millwork_api::{ErrorCode, Prices};
use millwork_manifest::DatePrefix;
use millwork_process::Metrics;
use millwork_tracking::DateTotals;
use numbers::Numbers;
use permits::{Bounds, Permit};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;

/// Time limit of a request, except for event streams.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// Header in each answer that tells whether this process is the leader.
const ROLE: HeaderName = HeaderName::from_static("millwork-role");

/// State that all handlers share.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) service: Service,
    numbers: Arc<Numbers>,
    metrics: Metrics,
    pub(crate) prices: Prices,
    events: Arc<EventLog>,
    bounds: Bounds,
    attention: Shared<Arc<crate::why::Attention>>,
    pub(crate) date_totals: Shared<Vec<(DatePrefix, DateTotals)>>,
    examination: Arc<doctor::LastExamination>,
    pub(crate) history: Arc<history::History>,
    health: Health,
    /// Cancelled when the process is about to end.
    stop: CancellationToken,
}

impl Api {
    /// Starts what counts, watches and records in the background.
    fn start(
        service: Service,
        bounds: Bounds,
        (presence, pulse, prices): (Presence, Pulse, Prices),
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let metrics = metrics::install(service.certificates().clone())?;
        let numbers = Arc::new(Numbers::new(service.clone()));
        let (counting, stopped) = (numbers.clone().keep_current(metrics.clone(), presence), stop.clone());
        // Ends with the server, so that no heartbeat follows the removal of the last one.
        let counting = tokio::spawn(async move {
            tokio::select! {
                () = counting => {}
                () = stopped.cancelled() => {}
            }
        });
        tokio::spawn(watch::look_often(service.clone()));
        let api = Self {
            health: Health::new(service.clone(), pulse, counting.abort_handle()),
            service,
            numbers,
            metrics,
            prices,
            events: Arc::new(EventLog::new()),
            bounds,
            attention: Shared::default(),
            date_totals: Shared::default(),
            examination: Arc::default(),
            history: Arc::default(),
            stop,
        };
        tokio::spawn(event_log::keep(api.clone()));
        Ok(api)
    }

    /// Number of the latest change of a run that this process made.
    pub(crate) fn last_change(&self) -> u64 {
        self.events.number()
    }

    /// Takes a permit for an expensive request of a caller.
    pub(crate) async fn heavy(&self, caller: &Caller) -> Result<Permit, ApiError> {
        self.bounds.heavy.take(caller).await
    }
}

/// The API's routes, all but the health checks of which ask for access, and pages: those that are open to strangers, and those for
/// whoever is known.
pub(crate) fn router(
    service: Service,
    access: Access,
    places: Places,
    stop: CancellationToken,
    told: (Presence, Pulse, Prices),
    bounds: Bounds,
    (open, closed): (Router<Api>, Router<Api>),
) -> anyhow::Result<Router> {
    let api = Api::start(service, bounds.clone(), told, stop)?;
    let [checks, timed, streamed] =
        [routes::checks(), routes::timed(), routes::streamed()].map(|routes| routes.split_for_parts().0);
    let limited = |places| middleware::from_fn_with_state(places, limits::limit_requests);
    let pages = open
        .layer(limited(places.of_strangers()))
        .layer(middleware::from_fn_with_state(places.clone(), limits::receive_body_of_stranger))
        .merge(closed.layer(limited(places.clone())));
    let bounded = middleware::from_fn_with_state(bounds, permits::bound_memory);
    let asked = timed
        .layer(bounded)
        .layer(limited(places.clone()))
        .merge(streamed.layer(middleware::from_fn_with_state(places, limits::limit_streams)))
        .fallback(|| async { ApiError::new(ErrorCode::NotFound, "no such path") })
        .method_not_allowed_fallback(wrong_method)
        .layer(Extension(access.clone()))
        .layer(middleware::from_fn_with_state(access, auth::check_access));
    let routes = checks
        .method_not_allowed_fallback(wrong_method)
        .merge(asked)
        .merge(pages)
        .layer(middleware::from_fn(headers::add_headers))
        .layer(middleware::from_fn_with_state(api.clone(), say_role));
    Ok(watched(routes).with_state(api))
}

/// Wraps routes so that each request is answered, even after a panic, and counted.
fn watched<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.layer(CatchPanicLayer::custom(error::of_panic)).layer(middleware::from_fn(metrics::count_request))
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
