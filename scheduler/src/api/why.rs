//! Diagnoses of files, runs, dates and executors, and the list of causes that need a person.
//!
//! An unknown name gets a diagnosis that lists similar names, not a 404.

use super::Api;
use super::error::ApiError;
use super::extract::{Path, Query};
use crate::why::Attention;
use axum::Json;
use axum::extract::State;
use chrono::Utc;
use millwork_api::{ErrorCode, UriQuery};
use millwork_diagnosis::Diagnosis;
use millwork_manifest::{DatePrefix, ManifestId};
use std::sync::Arc;
use std::time::Duration;

/// Diagnosis of a file: what holds it up, what happens next and when, what may be done. A file that is not known is
/// looked for in the places of input, for 10 s at most; nothing outside them is looked at.
#[utoipa::path(get, path = "/api/v1/files/why", tag = "why", params(UriQuery), responses(
    (status = 200, description = "The diagnosis", body = Diagnosis)
))]
pub(super) async fn get_file_why(
    State(api): State<Api>,
    Query(UriQuery { uri }): Query<UriQuery>,
) -> Result<Json<Diagnosis>, ApiError> {
    Ok(Json(api.service.inspector().file(&uri, Utc::now()).await?))
}

/// Diagnosis of a run.
#[utoipa::path(get, path = "/api/v1/runs/{id}/why", tag = "why",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")),
    responses((status = 200, description = "The diagnosis", body = Diagnosis)))]
pub(super) async fn get_run_why(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
) -> Result<Json<Diagnosis>, ApiError> {
    Ok(Json(api.service.inspector().run(&id, Utc::now()).await?))
}

/// Tells why a date is not done. Of one with more than 300 runs, refused or failed files the totals are taken.
#[utoipa::path(get, path = "/api/v1/dates/{date}/why", tag = "why",
    params(("date" = String, Path, description = "The date, as `YYYY-MM-DD`", pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$")),
    responses((status = 200, description = "The diagnosis", body = Diagnosis)))]
pub(super) async fn get_date_why(
    State(api): State<Api>,
    Path(date): Path<DatePrefix>,
) -> Result<Json<Diagnosis>, ApiError> {
    Ok(Json(api.service.inspector().date(date, Utc::now()).await?))
}

/// Diagnosis of an executor: what it is at. Only the scheduler that runs the manifests knows executors.
#[utoipa::path(get, path = "/api/v1/executors/{id}/why", tag = "why",
    params(("id" = String, Path, description = "The executor's id")),
    responses((status = 200, description = "The diagnosis", body = Diagnosis)))]
pub(super) async fn get_executor_why(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Diagnosis>, ApiError> {
    Ok(Json(api.service.inspector().executor(&id, Utc::now()).await?))
}

/// Time that such a look may take for those who ask for other things, too: 3 s.
const ATTENTION_TIME: Duration = Duration::from_secs(3);

/// Causes that need a person, as last computed: shared by all pages and clients of a scheduler.
pub(crate) async fn load_attention(api: &Api) -> Result<Arc<Attention>, ApiError> {
    let inspector = api.service.inspector();
    let look = async move {
        let late = |_| ApiError::new(ErrorCode::Busy, "what needs somebody could not be found out in time");
        Ok(Arc::new(tokio::time::timeout(ATTENTION_TIME, inspector.attention(Utc::now())).await.map_err(late)??))
    };
    api.attention.get(None, look).await
}

/// Causes that need a person now, each with all its subjects: those with the most subjects first. `at` is the time of the look: looks take a
/// fiftieth of the time at most, and where one takes long, the last one is told while the next is made.
#[utoipa::path(get, path = "/api/v1/attention", tag = "why", responses(
    (status = 200, description = "The causes", body = Attention)
))]
pub(super) async fn get_attention(State(api): State<Api>) -> Result<Json<Attention>, ApiError> {
    match load_attention(&api).await {
        Ok(found) => Ok(Json(Attention::clone(&found))),
        // A caller of this endpoint can wait for a fresh result.
        Err(_) => Ok(Json(api.service.inspector().attention(Utc::now()).await?)),
    }
}
