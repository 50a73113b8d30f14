//! Page of the examination: problems around the scheduler, and their remedies.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError, EXAMINED_AGAIN, load_examination};
use axum::extract::State;
use axum::response::Response;
use millwork_api::{ErrorCode, Verdict, path};
use millwork_ui::frame::{Section, Tone};
use millwork_ui::pages::doctor;
use std::time::Duration;

/// Time for which the page waits for an examination, in seconds: 20. The examination continues, for the next request.
const TIME: Duration = Duration::from_secs(20);
pub(super) async fn get_doctor(asked: Asked, State(api): State<Api>) -> Response {
    let made = show(&asked, &api).await;
    asked.answer(Section::Doctor, made)
}

async fn show(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let work = tokio::spawn(load_examination(api.clone()));
    let late = || {
        let found = format!("the examination is not over after {} s: something it looks at is slow", TIME.as_secs());
        ApiError::new(ErrorCode::Busy, found).again_after(EXAMINED_AGAIN)
    };
    let done = tokio::time::timeout(TIME, work).await.map_err(|_| late())?;
    let examination = done.map_err(|error| ApiError::new(ErrorCode::Bug, error))?;
    let worst = examination.checks.iter().map(|check| check.verdict);
    let tone = match worst.fold(Tone::Plain, |tone, verdict| tone.max(tone_of(verdict))) {
        Tone::Plain => Tone::Good,
        tone => tone,
    };
    let settings = api.service.settings();
    let body = doctor::page(&doctor::Doctor { now: asked.now, examination: &examination, settings });
    Ok(Shown {
        json: Some(path::DOCTOR.to_owned()),
        command: Some("millwork doctor".to_owned()),
        // Not refreshed automatically, since each examination tests permissions by actual requests.
        is_live: false,
        tone,
        ..Shown::new("Doctor", Section::Doctor, body)
    })
}

fn tone_of(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Fine | Verdict::Unknown => Tone::Plain,
        Verdict::Warning => Tone::Warn,
        Verdict::Broken => Tone::Bad,
    }
}
