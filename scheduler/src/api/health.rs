//! Health checks. These need no token, and therefore reveal nothing about conversions and stay cheap however often they
//! are requested.

use super::Api;
use super::error::ApiError;
use crate::service::Service;
use axum::extract::State;
use millwork_api::{ErrorBody, ErrorCode};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

/// Time limit for an answer of the store.
const STORE_TIME: Duration = Duration::from_secs(2);
/// Age up to which the store's last answer is reused, so that frequent requests query the store at most once a second.
const STORE_AGE: Duration = Duration::from_secs(1);

/// Interval at which a task on the observed threads notes that they run: 1 s.
const BEAT: Duration = Duration::from_secs(1);
/// Silence after which the threads of a pulse count as stuck: 60 s, many times what a busy machine keeps a task waiting.
const SILENCE: Duration = Duration::from_secs(60);

/// Sign of life of the threads that run the manifests: requests are answered by others, which go on when those are stuck.
#[derive(Clone)]
pub(crate) struct Pulse(Arc<std::sync::Mutex<Instant>>);

impl Pulse {
    /// Beats on the runtime of the caller for as long as that runs.
    pub(crate) fn start() -> Self {
        let pulse = Self(Arc::new(std::sync::Mutex::new(Instant::now())));
        let beating = pulse.clone();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(BEAT).await;
                *beating.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
            }
        });
        pulse
    }

    fn is_silent(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).elapsed() > SILENCE
    }
}

/// An answer of the store, and its time.
type Answer = (Instant, Result<(), String>);

/// Parts of the process whose health is checked, and the last answer of the store.
#[derive(Clone)]
pub(super) struct Health {
    service: Service,
    pulse: Pulse,
    /// Background task that counts runs and files.
    counting: AbortHandle,
    store: Arc<Mutex<Option<Answer>>>,
}

impl Health {
    pub(super) fn new(service: Service, pulse: Pulse, counting: AbortHandle) -> Self {
        Self { service, pulse, counting, store: Arc::default() }
    }

    /// Reason for which the process must be restarted; `None` while all parts work.
    fn dead(&self) -> Option<&'static str> {
        if self.counting.is_finished() {
            return Some("the task that counts runs and files has ended");
        }
        if self.pulse.is_silent() {
            return Some("the threads that run the manifests are stuck");
        }
        let has_stopped = |scheduler: &crate::shell::Scheduler| scheduler.stopped().is_cancelled();
        self.service.leader().is_some_and(has_stopped).then_some("the scheduler of runs has broken off")
    }

    /// Checks that the store answers. Concurrent requests share one query.
    async fn store(&self) -> Result<(), String> {
        let mut last = self.store.lock().await;
        if let Some((at, answer)) = &*last
            && at.elapsed() < STORE_AGE
        {
            return answer.clone();
        }
        let answer = match tokio::time::timeout(STORE_TIME, self.service.ping()).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("the store does not answer within {} s", STORE_TIME.as_secs())),
        };
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

fn unready(code: ErrorCode, message: impl std::fmt::Display) -> ApiError {
    ApiError::new(code, message)
}

/// Liveness: the process is up, and all of it.
#[utoipa::path(get, path = "/healthz", tag = "health", security(()), responses(
    (status = 200, description = "It is", body = String, content_type = "text/plain", example = "ok\n"),
    (status = 503, description = "`dead`: a part of the process has died; start it again", body = ErrorBody)
))]
pub(super) async fn healthz(State(api): State<Api>) -> Result<&'static str, ApiError> {
    api.health.dead().map_or(Ok("ok\n"), |reason| Err(unready(ErrorCode::Dead, reason)))
}

/// Liveness as `/healthz` tells it, by the name that Kubernetes has for it.
#[utoipa::path(get, path = "/livez", tag = "health", security(()), responses(
    (status = 200, description = "It is", body = String, content_type = "text/plain", example = "ok\n"),
    (status = 503, description = "`dead`: a part of the process has died; start it again", body = ErrorBody)
))]
pub(super) async fn livez(state: State<Api>) -> Result<&'static str, ApiError> {
    healthz(state).await
}

/// Readiness: all parts are up and the store answers, whether this process leads or stands by, with executors or without.
#[utoipa::path(get, path = "/readyz", tag = "health", security(()), responses(
    (status = 200, description = "It can", body = String, content_type = "text/plain", example = "ready: leader, 8 task slots\n"),
    (status = 503, description = "`state`: the store does not answer; `dead`: a part of the process has died", body = ErrorBody)
))]
pub(super) async fn readyz(State(api): State<Api>) -> Result<String, ApiError> {
    if let Some(reason) = api.health.dead() {
        return Err(unready(ErrorCode::Dead, reason));
    }
    if let Err(reason) = api.health.store().await {
        tracing::warn!(reason, "not ready: the store does not answer");
        return Err(unready(ErrorCode::State, "the store does not answer: the log says more"));
    }
    Ok(match api.service.leader() {
        Some(scheduler) => format!("ready: leader, {} task slots\n", scheduler.engine().slots()),
        None => "ready: standby\n".to_owned(),
    })
}

/// Leadership: this process runs the manifests. It is no readiness check, as of several schedulers one does.
#[utoipa::path(get, path = "/leaderz", tag = "health", security(()), responses(
    (status = 200, description = "It does", body = String, content_type = "text/plain", example = "leader: 8 task slots\n"),
    (status = 503, description = "`standby`: another process runs the manifests, or none yet; `dead`: a part of the process has died", body = ErrorBody)
))]
pub(super) async fn leaderz(State(api): State<Api>) -> Result<String, ApiError> {
    if let Some(reason) = api.health.dead() {
        return Err(unready(ErrorCode::Dead, reason));
    }
    let standby =
        || unready(ErrorCode::Standby, "this scheduler stands by: another one runs the manifests, or none yet");
    let scheduler = api.service.leader().ok_or_else(standby)?;
    Ok(format!("leader: {} task slots\n", scheduler.engine().slots()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_store_that_is_gone_and_a_part_that_has_died_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let state = format!("sqlite:{}", directory.path().join("state.db").display());
        let store = millwork_tracking::open(&state).await.unwrap();
        let counting = tokio::spawn(std::future::pending::<()>());
        let nowhere = crate::ReadPlaces::new(millwork_storage::Places::none(), millwork_storage::Places::none(), None);
        let pulse = Pulse::start();
        let health = Health::new(
            Service::new(store.clone(), nowhere, millwork_storage::Storage::default()),
            pulse.clone(),
            counting.abort_handle(),
        );
        assert_eq!((health.store().await, health.dead()), (Ok(()), None));
        store.close().await;
        assert_eq!(health.store().await, Ok(()), "the last answer stands for a second");
        *health.store.lock().await = None;
        assert!(health.store().await.unwrap_err().contains("closed"));
        let last_beat = Instant::now().checked_sub(SILENCE + BEAT).unwrap();
        *pulse.0.lock().unwrap() = last_beat;
        assert!(health.dead().unwrap().contains("stuck"));
        *pulse.0.lock().unwrap() = Instant::now();
        assert_eq!(health.dead(), None);
        counting.abort();
        assert!(counting.await.is_err() && health.dead().is_some());
    }
}
