//! Changes as they happen, as server-sent events.

use super::Api;
use super::show;
use crate::service::Service;
use crate::shell::Change;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use millwork_api::{EventData, Lagged, Role};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

/// How often a listener hears something, if only a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often a standby looks whether it runs the manifests by now.
const LOOK: Duration = Duration::from_millis(500);

/// Where a listener is.
struct Listener {
    service: Service,
    /// Whether it was told something.
    was_told: bool,
    changes: Option<Receiver<Change>>,
}

impl Listener {
    async fn next(&mut self) -> Option<EventData> {
        if let Some(changes) = &mut self.changes {
            return match changes.recv().await {
                Ok(change) => Some(EventData::Run(show::change(change))),
                Err(RecvError::Lagged(missed)) => Some(EventData::Lagged(Lagged { missed })),
                Err(RecvError::Closed) => None,
            };
        }
        while self.was_told && self.service.leader().is_none() {
            tokio::time::sleep(LOOK).await;
        }
        self.was_told = true;
        self.changes = self.service.leader().map(|scheduler| scheduler.changes());
        Some(EventData::Role(Role { leads: self.changes.is_some() }))
    }
}

/// Tells of runs as they change, as server-sent events, until the listener or the scheduler goes. The stream has no memory:
/// who connects again fetches anew what it shows. Comments keep it open.
#[utoipa::path(get, path = "/api/v1/events", tag = "cluster", responses(
    (status = 200, description = "Events `role`, `run` and `lagged`, each with data of that kind", body = EventData, content_type = "text/event-stream")
))]
pub(super) async fn get_events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let listener = Listener { service: api.service, was_told: false, changes: None };
    let told = tell(listener).take_until(api.stop.cancelled_owned());
    Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}

fn tell(listener: Listener) -> impl Stream<Item = Result<Event, axum::Error>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let data = listener.next().await?;
        Some((Event::default().event(data.name()).json_data(&data), listener))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::response::IntoResponse;
    use chrono::DateTime;
    use millwork_tracking::RunState;
    use tokio::sync::broadcast;

    #[tokio::test]
    async fn who_falls_behind_is_told_so() {
        let directory = tempfile::tempdir().unwrap();
        let state = format!("sqlite:{}", directory.path().join("state.db").display());
        let service = Service::new(
            millwork_tracking::open(&state).await.unwrap(),
            crate::ReadPlaces { input: millwork_storage::Places::none(), manifests: millwork_storage::Places::none() },
        );
        let (changes, receiver) = broadcast::channel(2);
        for attempt in 1..=5 {
            let (manifest_id, state) = ("m".parse().unwrap(), RunState::Planning);
            let change = Change { manifest_id, state, attempt, failure: None, at: DateTime::UNIX_EPOCH };
            changes.send(change).unwrap();
        }
        drop(changes);
        let listener = Listener { service, was_told: true, changes: Some(receiver) };
        let body = Sse::new(tell(listener)).into_response().into_body();
        let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let text = std::str::from_utf8(&body).unwrap();
        let names: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
        assert_eq!(names, ["lagged", "run", "run"], "{text}");
        assert!(text.contains("data: {\"missed\":3}") && text.contains("\"attempt\":4"), "{text}");
    }
}
