//! Conversion of mended lines of a run.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, JsonText, Path};
use super::run_detail::known;
use super::show;
use crate::access::Caller;
use crate::audit::{Deed, MAX_REASON_CHARS, Operator, is_reason};
use crate::commit::RunResult;
use crate::documents::MAX_MANIFEST_BYTES;
use crate::mended::{Mended, PutBackError, place, prefix};
use crate::select;
use axum::Json;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use millwork_api::{ErrorBody, ErrorCode, MendedLines, PutBack, RunQuery};
use millwork_manifest::{DatePrefix, Manifest, ManifestId};
use millwork_tracking::Run;
use std::sync::Arc;

/// Limit of the earlier manifests of mended lines that an answer names.
const MAX_EARLIER: usize = 20;

/// Puts mended lines of a committed run back: as a file and a manifest of their own, whose run is queued. What was converted stays as it
/// is. The same lines are put back once, however often that is asked.
#[utoipa::path(post, path = "/api/v1/runs/{id}/mended", tag = "runs", request_body = MendedLines,
    params(("id" = String, Path, description = "The manifest's id", pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")), responses(
    (status = 202, description = "Their run is queued", body = PutBack),
    (status = 200, description = "They were put back before, or would be: nothing was done", body = PutBack),
    (status = 400, description = "`bad-lines`: some would be rejected again, or there is none", body = ErrorBody),
    (status = 404, description = "`no-such-run`", body = ErrorBody),
    (status = 409, description = "`conflict`: the run has no rejected lines in its output", body = ErrorBody),
    (status = 413, description = "`too-large`: the body has more than 32 MiB, or the lines have more than 16 MiB", body = ErrorBody),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody),
    (status = 503, description = "`storage`: the lines cannot be kept; `state`: the store does not answer. What was asked may have happened: ask again", body = ErrorBody)
))]
pub(super) async fn put_back_lines(
    State(api): State<Api>,
    Asker(who): Asker,
    Extension(caller): Extension<Caller>,
    Path(id): Path<ManifestId>,
    JsonText(body): JsonText<{ MAX_MANIFEST_BYTES as usize }>,
) -> Result<(StatusCode, Json<PutBack>), ApiError> {
    let code = |e: &serde_json::Error| if e.is_data() { ErrorCode::BadBody } else { ErrorCode::BadJson };
    let asked = serde_json::from_slice(&body).map_err(|e| ApiError::new(code(&e), e))?;
    drop(body);
    let (done, was_queued) = put_back(&api, (&who, &caller), &id, asked).await?;
    Ok((if was_queued { StatusCode::ACCEPTED } else { StatusCode::OK }, Json(done)))
}

/// Submits mended lines, or previews that. Returns the result, and whether a run was queued.
pub(crate) async fn put_back(
    api: &Api,
    (who, caller): (&Operator, &Caller),
    id: &ManifestId,
    asked: MendedLines,
) -> Result<(PutBack, bool), ApiError> {
    let reason = asked.reason.map(|reason| reason.trim().to_owned()).filter(|reason| is_reason(reason));
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
        return Err(ApiError::new(ErrorCode::BadBody, format!("a reason has at most {MAX_REASON_CHARS} characters")));
    }
    let permit = Arc::new(api.heavy(caller).await?);
    let of_judging = permit.clone();
    let run = known(api, id).await?;
    let rejected = RunResult::of(&run)?.filter(|result| result.rejected_lines.is_some()).map(|result| result.rejected);
    let rejected = rejected.ok_or_else(|| PutBackError::NoneRejected { id: id.clone() })?;
    let of = api.manifest(id).await?;
    let judged = tokio::task::spawn_blocking(move || {
        // Held until the work is over, even if the client has gone.
        let _permit = of_judging;
        Mended::judge(&asked.lines)
    });
    let mended = judged.await.map_err(|error| ApiError::new(ErrorCode::Bug, error))??;
    let told = tell(api, &of, &mended, rejected).await?;
    if asked.dry_run || told.run.is_some() {
        return Ok((told, false));
    }
    let deed = Deed {
        action: "put-back",
        subject: id.to_string(),
        before: Some(format!("{rejected} rejected lines")),
        after: format!("{} mended lines in manifest {}", told.lines, told.manifest_id),
        reason,
    };
    let service = api.service.clone();
    let queued = api.service.audited(who, deed, put(service, of, mended, run.priority)).await?;
    Ok((PutBack { run: Some(show::run(queued)), ..told }, true))
}

async fn put(service: crate::Service, of: Manifest, mended: Mended, priority: i32) -> Result<Run, PutBackError> {
    service.put_back(&of, mended, priority).await
}

/// Describes the manifest that is or would be made of mended lines.
async fn tell(api: &Api, of: &Manifest, mended: &Mended, rejected: u64) -> Result<PutBack, ApiError> {
    let id = mended.id(&of.id)?;
    let run = api.service.store().run_head(&id).await?;
    let mut earlier = mended_of(api, &of.id, of.date).await?;
    earlier.retain(|other| *other != id.as_str());
    Ok(PutBack {
        file: place(api.service.places(), of, &id)?.to_string(),
        lines: mended.lines,
        bytes: mended.bytes(),
        rejected,
        earlier,
        run: run.map(show::run),
        manifest_id: id.to_string(),
    })
}

/// Manifests of mended lines of a run, newest first; 20 at most.
pub(crate) async fn mended_of(api: &Api, id: &ManifestId, date: DatePrefix) -> Result<Vec<String>, ApiError> {
    let query = RunQuery { prefix: Some(prefix(id)), date: Some(date), ..RunQuery::default() };
    let found = select::runs(&**api.service.store(), &query, MAX_EARLIER, None).await?;
    Ok(found.items.into_iter().map(|run| run.manifest_id.to_string()).collect())
}
