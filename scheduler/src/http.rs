//! The HTTP API, version 1.
//!
//! Errors have one shape: `{"error": {"code": "…", "message": "…"}}`.

use crate::intake::{MAX_MANIFEST_BYTES, read_manifest};
use crate::service::Service;
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use chrono::Utc;
use millwork_manifest::{Manifest, ManifestId, ObjectUri};
use millwork_storage::Storage;
use millwork_tracking::{Run, RunFilter, RunState, TrackingError};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// How many runs a listing returns at most.
const MAX_RUNS: usize = 1000;

/// The API's routes. With a token, all but the health checks ask for it.
pub fn router(service: Service, token: Option<String>) -> Router {
    let api = Router::new()
        .route("/api/v1/manifests", post(submit_manifest))
        .route("/api/v1/runs", get(list_runs))
        .route("/api/v1/runs/{id}", get(get_run))
        .route("/api/v1/executors", get(list_executors))
        .layer(DefaultBodyLimit::max(MAX_MANIFEST_BYTES as usize))
        .layer(middleware::from_fn(move |request, next| check_token(token.clone(), request, next)));
    Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .merge(api)
        .fallback(|| async { ApiError::new(StatusCode::NOT_FOUND, "not-found", "no such path") })
        .with_state(service)
}

/// Whether the API may listen here: beyond this machine only with a token, or where the operator takes the risk.
pub fn check_listen(address: SocketAddr, has_token: bool, insecure: bool) -> anyhow::Result<()> {
    anyhow::ensure!(
        address.ip().is_loopback() || has_token || insecure,
        "refusing to listen on {address}, which others can reach, without a token: set MILLWORK_TOKEN or \
         --token-file, or take the risk with --insecure"
    );
    Ok(())
}

async fn check_token(token: Option<String>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let given = given.and_then(|value| value.strip_prefix("Bearer "));
    match token {
        Some(token) if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) => {
            ApiError::new(StatusCode::UNAUTHORIZED, "unauthorized", "send the header `Authorization: Bearer TOKEN`")
                .into_response()
        }
        _ => next.run(request).await,
    }
}

/// Compares in a time that does not depend on where the texts differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

async fn ready(State(service): State<Service>) -> Response {
    let Some(scheduler) = service.leader() else {
        return ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "standby", "another scheduler runs the manifests")
            .into_response();
    };
    match scheduler.engine().slots().await {
        0 => ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "no-executors", "no executor is connected").into_response(),
        slots => format!("ready: {slots} task slots\n").into_response(),
    }
}

#[derive(Deserialize)]
struct SubmitOptions {
    /// Run a failed manifest again.
    #[serde(default)]
    retry: bool,
}

/// A manifest, as where its document is or as the document itself.
#[derive(Deserialize)]
#[serde(untagged)]
enum Submission {
    At { uri: String },
    Inline(serde_json::Map<String, serde_json::Value>),
}

async fn submit_manifest(
    State(service): State<Service>,
    Query(options): Query<SubmitOptions>,
    body: axum::body::Bytes,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::new(StatusCode::BAD_REQUEST, "bad-manifest", e);
    let submission: Submission = serde_json::from_slice(&body).map_err(|e| bad(&e))?;
    let (manifest, uri) = match submission {
        Submission::At { uri } => {
            let uri: ObjectUri = uri.parse().map_err(|e| bad(&e))?;
            let manifest = read_manifest(&Storage::from_env(), &uri).await.map_err(|e| bad(&e))?;
            (manifest, uri.to_string())
        }
        Submission::Inline(document) => {
            let text = serde_json::to_vec(&document).map_err(|e| bad(&e))?;
            let manifest = Manifest::parse("inline", &text, Utc::now()).map_err(|e| bad(&e))?;
            let uri = format!("inline:{}", manifest.id);
            (manifest, uri)
        }
    };
    let mut run = service.submit(manifest.clone(), &uri, 0).await?;
    if options.retry && matches!(run.state, RunState::Failed | RunState::Cancelled) {
        run = service.retry(&manifest.id).await?;
    }
    Ok((StatusCode::ACCEPTED, Json(run)))
}

#[derive(Serialize)]
struct Listing<T> {
    items: Vec<T>,
}

#[derive(Deserialize)]
struct ListOptions {
    limit: Option<usize>,
}

async fn list_runs(
    State(service): State<Service>,
    Query(options): Query<ListOptions>,
) -> Result<Json<Listing<Run>>, ApiError> {
    let limit = options.limit.unwrap_or(100).clamp(1, MAX_RUNS);
    let runs = service.store().list_runs(&RunFilter { limit, ..RunFilter::default() }).await?;
    Ok(Json(Listing { items: runs.items }))
}

async fn get_run(State(service): State<Service>, Path(id): Path<String>) -> Result<Json<Run>, ApiError> {
    let id: ManifestId = id.parse().map_err(|e| ApiError::new(StatusCode::BAD_REQUEST, "bad-id", e))?;
    let missing = || ApiError::new(StatusCode::NOT_FOUND, "no-such-run", format!("no run of manifest `{id}`"));
    service.store().run(&id).await?.map(Json).ok_or_else(missing)
}

async fn list_executors(State(service): State<Service>) -> Json<Listing<crate::engine::ExecutorInfo>> {
    let items = match service.leader() {
        Some(scheduler) => scheduler.engine().executors().await,
        None => Vec::new(),
    };
    Json(Listing { items })
}

/// An error as the API tells it.
#[derive(Debug)]
struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl std::fmt::Display) -> Self {
        Self { status, code, message: message.to_string() }
    }
}

impl From<TrackingError> for ApiError {
    fn from(error: TrackingError) -> Self {
        match &error {
            TrackingError::Taken { .. } | TrackingError::Conflict { .. } => {
                Self::new(StatusCode::CONFLICT, "conflict", error)
            }
            _ => Self::new(StatusCode::SERVICE_UNAVAILABLE, "state", error),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let body = serde_json::json!({"error": {"code": self.code, "message": self.message}});
        (self.status, Json(body)).into_response()
    }
}
