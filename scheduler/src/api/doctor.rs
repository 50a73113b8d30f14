//! Examination of everything that this scheduler depends on.

use super::Api;
use axum::Json;
use axum::extract::State;
use chrono::Utc;
use millwork_api::Examination;
use std::time::{Duration, Instant};
use tokio::sync::Mutex;

/// Time for which an examination is reused, in seconds: 5. Each writes a small object, so that tabs share the result.
pub(crate) const EXAMINED_AGAIN: Duration = Duration::from_secs(5);
/// Examination that was made last, and when it ended; locked while the next is made, so that there is one at a time.
#[derive(Default)]
pub(super) struct LastExamination(Mutex<Option<(Instant, Examination)>>);

/// Examination of all that this scheduler stands on, each part really tried: the store, builders, locks, places, rights, space.
/// A small private object is written where outputs go, and removed at once.
#[utoipa::path(get, path = "/api/v1/doctor", tag = "cluster", responses(
    (status = 200, description = "Each check, with what to do", body = Examination)
))]
pub(super) async fn get_doctor(State(api): State<Api>) -> Json<Examination> {
    Json(api.service.inspector().examine(Utc::now()).await)
}

/// The examination, made anew unless the last one was made just now.
pub(crate) async fn load_examination(api: Api) -> Examination {
    let mut last = api.examination.0.lock().await;
    if let Some((_, known)) = last.as_ref().filter(|(at, _)| at.elapsed() < EXAMINED_AGAIN) {
        return known.clone();
    }
    let made = api.service.inspector().examine(Utc::now()).await;
    *last = Some((Instant::now(), made.clone()));
    made
}
