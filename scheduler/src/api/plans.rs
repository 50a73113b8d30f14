//! Change plans over HTTP.

use super::Api;
use super::error::ApiError;
use super::extract::{Asker, Json, Path};
use crate::access::{Caller, Role};
use axum::Extension;
use axum::extract::State;
use axum::http::StatusCode;
use millwork_api::{ErrorBody, Plan, PlanRequest};
use std::time::Duration;

/// Time after which an application is answered even if it is not finished: well below the request timeout. The
/// application continues.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes a change plan: what would change, exactly, and what cannot. Nothing else is written. It can be applied for 15 minutes, once,
/// by who made it.
#[utoipa::path(post, path = "/api/v1/plans", tag = "changes", request_body = PlanRequest, responses(
    (status = 201, description = "The plan", body = Plan),
    (status = 400, description = "`bad-plan`: nothing that can be planned; `bad-json`", body = ErrorBody),
    (status = 413, description = "`too-large`: the body has more than 1 MiB", body = ErrorBody),
    (status = 415, description = "`wrong-content-type`: the body is not declared as application/json", body = ErrorBody)
))]
pub(super) async fn make_plan(
    State(api): State<Api>,
    Asker(who): Asker,
    Extension(caller): Extension<Caller>,
    Json(request): Json<PlanRequest>,
) -> Result<(StatusCode, axum::Json<Plan>), ApiError> {
    if request.action.needs_admin() && caller.role < Role::Admin {
        return Err(ApiError::wrong_role(&caller, &format!("`{}`", request.action), Role::Admin));
    }
    Ok((StatusCode::CREATED, axum::Json(api.service.make_plan(request, &who, &api.prices).await?)))
}

/// Plan by its id, and how far it is.
#[utoipa::path(get, path = "/api/v1/plans/{id}", tag = "changes",
    params(("id" = String, Path, description = "The plan's id")), responses(
    (status = 200, description = "The plan", body = Plan),
    (status = 404, description = "`no-such-plan`", body = ErrorBody)
))]
pub(super) async fn get_plan(State(api): State<Api>, Path(id): Path<String>) -> Result<axum::Json<Plan>, ApiError> {
    Ok(axum::Json(load_plan(&api, &id).await?))
}

/// Loads a plan.
pub(crate) async fn load_plan(api: &Api, id: &str) -> Result<Plan, ApiError> {
    Ok(api.service.known_plan(id).await?)
}

/// Applies a plan, exactly as it stands there. A subject that has changed since is skipped. One that broke off goes on.
#[utoipa::path(post, path = "/api/v1/plans/{id}/apply", tag = "changes",
    params(("id" = String, Path, description = "The plan's id")), responses(
    (status = 200, description = "It is applied: each change has a result", body = Plan),
    (status = 202, description = "It is being applied: look at it to see how far it is", body = Plan),
    (status = 404, description = "`no-such-plan`", body = ErrorBody),
    (status = 409, description = "`plan-expired`, `plan-used`, `plan-busy`; `changed`: all subjects had changed since, and nothing was done", body = ErrorBody)
))]
pub(super) async fn apply_plan(
    State(api): State<Api>,
    Asker(who): Asker,
    Path(id): Path<String>,
) -> Result<(StatusCode, axum::Json<Plan>), ApiError> {
    match tokio::time::timeout(PATIENCE, api.service.apply_plan(&id, &who)).await {
        Ok(plan) => Ok((StatusCode::OK, axum::Json(plan?))),
        Err(_) => Ok((StatusCode::ACCEPTED, axum::Json(load_plan(&api, &id).await?))),
    }
}
