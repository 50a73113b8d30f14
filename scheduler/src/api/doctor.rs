//! Examination of everything that this scheduler depends on.

use super::Api;
use axum::Json;
use axum::extract::State;
use chrono::Utc;
use millwork_api::Examination;

/// Examination of all that this scheduler stands on, each part really tried: the store, builders, locks, places, rights, space.
/// A small private object is written where outputs go, and removed at once.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "cluster", responses(
    (status = 200, description = "Each check, with what to do", body = Examination)
))]
pub(super) async fn get_doctor(State(api): State<Api>) -> Json<Examination> {
    Json(api.service.inspector().examine(Utc::now()).await)
}
