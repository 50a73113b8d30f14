//! Submission and retrieval of manifests.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, JsonText, Path, Query};
use super::permits::Held;
use super::show;
use crate::access::Caller;
use crate::audit::Deed;
use crate::documents::{MAX_MANIFEST_BYTES, ReadError, read_manifest};
use crate::service::Service;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use chrono::Utc;
use millwork_api::{ErrorBody, ErrorCode, ManifestDocument, ManifestReference, Run, Submission, SubmitQuery};
use millwork_manifest::{Manifest, ManifestError, ManifestId, ObjectUri, RunState};

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
    Extension(caller): Extension<Caller>,
    Extension(held): Extension<Held>,
    Asker(who): Asker,
    Query(query): Query<SubmitQuery>,
    JsonText(body): JsonText<{ MAX_MANIFEST_BYTES as usize }>,
) -> Result<(StatusCode, Json<Run>), ApiError> {
    // Held until the answer, since the manifest is in memory until then.
    let (manifest, uri, _held) = manifest_in(&body, &api, &caller, held).await?;
    let (service, id) = (api.service.clone(), manifest.id.clone());
    let known = service.store().run_head(&id).await?;
    let deed = Deed {
        action: "submit",
        subject: id.to_string(),
        before: known.as_ref().map(|run| run.state.to_string()),
        after: "queued".to_owned(),
        reason: None,
    };
    let submit = submit(service, manifest, uri, query);
    let (run, was_again) = api.service.audited(&who, deed, submit).await?;
    let status = if known.is_some() && !was_again { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(show::run(run))))
}

/// Submits a manifest, and queues its run again if requested; returns whether a run was queued.
async fn submit(
    service: Service,
    manifest: Manifest,
    uri: String,
    query: SubmitQuery,
) -> Result<(millwork_tracking::Run, bool), ApiError> {
    let id = manifest.id.clone();
    let run = service.submit(manifest, &uri, query.priority.0).await?;
    let again = match run.state {
        RunState::Failed | RunState::Cancelled if query.retry => Some(service.retry(&id).await?),
        RunState::Completed if query.force => Some(service.force(&id).await?),
        _ => None,
    };
    let was_again = again.is_some();
    Ok((again.unwrap_or(run), was_again))
}

/// Reads the manifest in a body, or fetches the one that it names. Also returns its address, and the permit for its size.
async fn manifest_in(
    body: &[u8],
    api: &Api,
    caller: &Caller,
    held: Held,
) -> Result<(Manifest, String, Held), ApiError> {
    let bad = |e: &dyn std::fmt::Display| ApiError::new(ErrorCode::BadManifest, e);
    let json =
        |e: serde_json::Error| ApiError::new(if e.is_data() { ErrorCode::BadManifest } else { ErrorCode::BadJson }, e);
    if let Some(uri) = serde_json::from_slice::<ManifestReference>(body).map_err(json)?.uri {
        let uri: ObjectUri = uri.parse().map_err(|e| bad(&e))?;
        // Refused by its name alone, before anything is accessed.
        let places = &api.service.places().manifests;
        places.admit(&uri).map_err(ReadError::from)?;
        let held = held.or_take(&api.bounds.bodies, caller).await?;
        let manifest = read_manifest(api.service.storage(), &uri, places).await;
        let manifest = manifest.map_err(|error| refusal(&uri, error))?;
        return Ok((manifest, uri.to_string(), held));
    }
    let manifest = Manifest::parse("inline", body, Utc::now()).map_err(|e| bad(&e))?;
    let uri = format!("inline:{}", manifest.id);
    Ok((manifest, uri, held))
}

/// Error for a manifest that cannot be read. The same whether or not there is a file at the place, so that callers
/// cannot probe which files exist. The reason goes to the log.
fn refusal(uri: &ObjectUri, error: ReadError) -> ApiError {
    let is_hidden = match &error {
        ReadError::TooLarge { .. } | ReadError::Invalid(ManifestError::Malformed { .. }) => true,
        // A bucket that does not answer may do so later; for a local file, the exact reason would reveal that it
        // exists.
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
    ApiError::new(ErrorCode::BadManifest, message)
}

/// A manifest's document.
#[utoipa::path(get, path = "/api/v1/manifests/{id}", tag = "manifests",
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 200, description = "The document, with complete metadata", body = ManifestDocument),
    (status = 404, description = "`no-such-manifest`", body = ErrorBody)
))]
pub(super) async fn get_manifest(
    State(api): State<Api>,
    Extension(held): Extension<Held>,
    Path(id): Path<ManifestId>,
) -> Result<impl IntoResponse, ApiError> {
    let manifest = api.manifest(&id).await?;
    // Takes seconds for 100,000 files.
    let made = tokio::task::spawn_blocking(move || {
        // Held until the work is over, even if the client has gone.
        let _held = held;
        manifest.to_json()
    });
    let document = made.await.map_err(|error| ApiError::new(ErrorCode::Bug, error))?;
    Ok(([(header::CONTENT_TYPE, "application/json")], document))
}

impl Api {
    /// Loads a manifest.
    pub(super) async fn manifest(&self, id: &ManifestId) -> Result<Manifest, ApiError> {
        let manifest = self.service.store().manifest(id).await?;
        manifest.ok_or_else(|| ApiError::new(ErrorCode::NoSuchManifest, format!("no manifest `{id}`")))
    }
}
