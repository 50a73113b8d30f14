//! Manifests in, and out again.

use super::Api;
use super::error::{ApiError, ErrorBody};
use super::extract::{JsonText, Path, Query};
use super::run_actions::Priority;
use super::runs::Run;
use crate::intake::{MAX_MANIFEST_BYTES, ReadError, read_manifest};
use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::{DateTime, Utc};
use millwork_manifest::{Manifest, ManifestError, ManifestId, ObjectUri};
use millwork_storage::{Places, Storage};
use millwork_tracking::RunState;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SubmitQuery {
    /// Runs of higher priority start first; of the same, the oldest. A queued run takes the higher one of the two.
    #[serde(default, deserialize_with = "Priority::of_query")]
    #[param(value_type = i32, minimum = -1000, maximum = 1000, default = 0, required = false)]
    priority: Priority,
    /// Whether to queue a run that failed or was cancelled once more.
    #[serde(default)]
    retry: bool,
    /// Whether to queue a completed run once more, for an output that takes the place of the one it has.
    #[serde(default)]
    force: bool,
}

/// A manifest: where its document is, or the document itself.
#[derive(ToSchema)]
#[serde(untagged)]
#[allow(dead_code, reason = "it is read in two steps, and only described by this")]
pub(super) enum Submission {
    At(ManifestReference),
    Inline(ManifestDocument),
}

/// Where a manifest's document is.
#[derive(Deserialize, ToSchema)]
pub(super) struct ManifestReference {
    /// `s3://BUCKET/KEY`, or a path that the scheduler sees. The document has at most 32 MiB.
    #[serde(default)]
    #[schema(value_type = String, required, example = "s3://manifests/manifests/2025-12-23/batch-0001-20251223-101500.json")]
    uri: Option<String>,
}

/// A manifest's document: files of one date.
#[derive(Serialize, ToSchema)]
#[allow(dead_code, reason = "manifests are read and written elsewhere; this describes them")]
pub(super) struct ManifestDocument {
    #[serde(rename = "fileLocations")]
    #[schema(rename = "fileLocations", min_items = 1)]
    file_locations: Vec<FileLocation>,
    metadata: Option<ManifestMetadata>,
}

/// Some of a manifest's files.
#[derive(Serialize, ToSchema)]
struct FileLocation {
    /// Whole URIs, whatever the name says. None is named twice in a manifest.
    #[serde(rename = "URIPrefixes")]
    #[schema(rename = "URIPrefixes", example = json!(["s3://in/2025-12-23-file001.ndjson"]))]
    uri_prefixes: Vec<String>,
}

/// What a manifest says of itself. All of it can be absent.
#[derive(Serialize, ToSchema)]
struct ManifestMetadata {
    /// The date of all its files; else it is in the name of each.
    #[schema(value_type = Option<String>, format = Date)]
    date_prefix: Option<String>,
    /// The manifest's id; else it is derived from what it lists.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")]
    manifest_id: Option<String>,
    /// When it was made: the time in its rows.
    created_at: Option<DateTime<Utc>>,
    /// How many files it lists.
    file_count: Option<u64>,
    /// Their bytes.
    total_bytes: Option<u64>,
    /// What its files must be like.
    #[schema(required = false)]
    files: Vec<ManifestFile>,
}

/// What a file of a manifest must be like.
#[derive(Serialize, ToSchema)]
struct ManifestFile {
    /// The file, which the manifest lists.
    uri: String,
    /// The size it must have.
    size_bytes: Option<u64>,
    /// The entity tag it must have.
    etag: Option<String>,
    /// Its version, in a bucket that keeps versions.
    version_id: Option<String>,
}

/// Submits a manifest: its run is queued. One that is known is not run again, unless it is to be retried or forced.
#[utoipa::path(post, path = "/api/v1/manifests", tag = "manifests", params(SubmitQuery), request_body = Submission, responses(
    (status = 202, description = "Its run is queued", body = Run),
    (status = 200, description = "It is known: its run as it is", body = Run),
    (status = 409, description = "`conflict`: a file is in another manifest, or converted already", body = ErrorBody),
    (status = 413, description = "`too-large`: the body has more than 32 MiB", body = ErrorBody),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody),
    (status = 503, description = "`storage`: the place of the document cannot be read now; `state`: the store does not answer; `timeout`: no answer within 30 s. What was asked may have happened", body = ErrorBody)
))]
pub(super) async fn submit_manifest(
    State(api): State<Api>,
    Query(query): Query<SubmitQuery>,
    JsonText(body): JsonText<{ MAX_MANIFEST_BYTES as usize }>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    let (manifest, uri) = manifest_in(&body, &api.service.places().manifests).await?;
    let (service, id) = (&api.service, manifest.id.clone());
    let was_known = service.store().run_head(&id).await?.is_some();
    let mut run = service.submit(manifest, &uri, query.priority.0).await?;
    let again = match run.state {
        RunState::Failed | RunState::Cancelled if query.retry => Some(service.retry(&id).await?),
        RunState::Completed if query.force => Some(service.force(&id).await?),
        _ => None,
    };
    let status = if was_known && again.is_none() { StatusCode::OK } else { StatusCode::ACCEPTED };
    if let Some(again) = again {
        run = again;
    }
    Ok((status, Json(run.into())))
}

/// The manifest that a body is, or names, and where it is.
async fn manifest_in(body: &[u8], places: &Places) -> Result<(Manifest, String), ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::new(StatusCode::BAD_REQUEST, "bad-manifest", e);
    let json = |e: serde_json::Error| {
        let code = if e.is_data() { "bad-manifest" } else { "bad-json" };
        ApiError::new(StatusCode::BAD_REQUEST, code, e)
    };
    if let Some(uri) = serde_json::from_slice::<ManifestReference>(body).map_err(json)?.uri {
        let uri: ObjectUri = uri.parse().map_err(|e| bad(&e))?;
        let manifest = read_manifest(&Storage::from_env(), &uri, places).await.map_err(|error| refusal(&uri, error))?;
        return Ok((manifest, uri.to_string()));
    }
    let manifest = Manifest::parse("inline", body, Utc::now()).map_err(|e| bad(&e))?;
    let uri = format!("inline:{}", manifest.id);
    Ok((manifest, uri))
}

/// The answer for a manifest that cannot be read. It is the same whatever is at a place, or not, unless that is a manifest: who
/// asks is not to learn which files there are. The log has the reason.
fn refusal(uri: &ObjectUri, error: ReadError) -> ApiError {
    let is_hidden = match &error {
        ReadError::TooLarge { .. } | ReadError::Invalid(ManifestError::Malformed { .. }) => true,
        // A bucket that does not answer may do so later; of a file, why it cannot be read tells that it is there.
        ReadError::Storage(error) => error.is_not_found() || !uri.as_str().starts_with("s3://"),
        ReadError::Invalid(_) => false,
    };
    if !is_hidden {
        return error.into();
    }
    tracing::warn!(%uri, %error, "a manifest that is submitted cannot be read");
    let message = format!(
        "no manifest can be read at `{uri}`: it is not there, cannot be read by the scheduler, is larger than \
         {MAX_MANIFEST_BYTES} bytes, or is no manifest; the scheduler's log says which"
    );
    ApiError::new(StatusCode::BAD_REQUEST, "bad-manifest", message)
}

/// A manifest's document.
#[utoipa::path(get, path = "/api/v1/manifests/{id}", tag = "manifests",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 200, description = "The document, with complete metadata", body = ManifestDocument),
    (status = 404, description = "`no-such-manifest`", body = ErrorBody)
))]
pub(super) async fn get_manifest(
    State(api): State<Api>,
    Path(id): Path<ManifestId>,
) -> Result<impl IntoResponse, ApiError> {
    let document = api.manifest(&id).await?.to_json();
    Ok(([(header::CONTENT_TYPE, "application/json")], document))
}

impl Api {
    /// A manifest that is asked for.
    pub(super) async fn manifest(&self, id: &ManifestId) -> Result<Manifest, ApiError> {
        let manifest = self.service.store().manifest(id).await?;
        manifest.ok_or_else(|| ApiError::not_found("no-such-manifest", format!("no manifest `{id}`")))
    }
}
