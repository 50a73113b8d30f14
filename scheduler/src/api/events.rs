//! Changes as they happen, as server-sent events.

use super::Api;
use super::runs::Failure;
use super::words;
use crate::service::Service;
use crate::shell::Change;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use chrono::{DateTime, Utc};
use futures::Stream;
use millwork_manifest::ManifestId;
use millwork_tracking::RunState;
use serde::Serialize;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use utoipa::ToSchema;

/// How often a listener hears something, if only a comment.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// How often a standby looks whether it runs the manifests by now.
const LOOK: Duration = Duration::from_millis(500);

/// What the data of an event is.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = Event)]
pub(super) enum EventData {
    Role(Role),
    Run(RunChange),
    Lagged(Lagged),
}

/// Event `role`: comes first, and when a standby begins to run the manifests.
#[derive(Serialize, ToSchema)]
pub(super) struct Role {
    /// Whether this process runs the manifests. While it does not, no run changes here.
    leads: bool,
}

/// Event `run`: a run has changed.
#[derive(Serialize, ToSchema)]
pub(super) struct RunChange {
    /// The run.
    #[schema(value_type = String)]
    manifest_id: ManifestId,
    #[schema(schema_with = words::run_state)]
    state: RunState,
    /// Its attempt; 0 if that does not matter any more.
    attempt: u32,
    /// Why it failed, or its attempt did.
    #[schema(required)]
    failure: Option<Failure>,
    /// When.
    at: DateTime<Utc>,
}

impl From<Change> for RunChange {
    fn from(change: Change) -> Self {
        Self {
            manifest_id: change.manifest_id,
            state: change.state,
            attempt: change.attempt,
            failure: change.failure.map(Into::into),
            at: change.at,
        }
    }
}

/// Event `lagged`: the listener was too slow, and has to fetch anew what it shows.
#[derive(Serialize, ToSchema)]
pub(super) struct Lagged {
    /// How many events it missed.
    missed: u64,
}

impl EventData {
    fn name(&self) -> &'static str {
        match self {
            Self::Role(_) => "role",
            Self::Run(_) => "run",
            Self::Lagged(_) => "lagged",
        }
    }
}

/// Where a listener is.
struct Listener {
    service: Service,
    /// The events that it got.
    number: u64,
    changes: Option<Receiver<Change>>,
}

impl Listener {
    async fn next(&mut self) -> Option<EventData> {
        if let Some(changes) = &mut self.changes {
            return match changes.recv().await {
                Ok(change) => Some(EventData::Run(change.into())),
                Err(RecvError::Lagged(missed)) => Some(EventData::Lagged(Lagged { missed })),
                Err(RecvError::Closed) => None,
            };
        }
        while self.number > 0 && self.service.leader().is_none() {
            tokio::time::sleep(LOOK).await;
        }
        self.changes = self.service.leader().map(|scheduler| scheduler.changes());
        Some(EventData::Role(Role { leads: self.changes.is_some() }))
    }
}

/// Tells of runs as they change, as server-sent events, until the listener goes. The stream has no memory: `id` counts the
/// events of a connection from 1, and who connects again fetches anew what it shows. Comments keep it open.
#[utoipa::path(get, path = "/api/v1/events", tag = "cluster", responses(
    (status = 200, description = "Events `role`, `run` and `lagged`, each with data of that kind", body = EventData, content_type = "text/event-stream")
))]
pub(super) async fn get_events(State(api): State<Api>) -> Sse<impl Stream<Item = Result<Event, axum::Error>>> {
    let listener = Listener { service: api.service, number: 0, changes: None };
    let events = futures::stream::unfold(listener, |mut listener| async move {
        let data = listener.next().await?;
        listener.number += 1;
        let event = Event::default().event(data.name()).id(listener.number.to_string()).json_data(&data);
        Some((event, listener))
    });
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE))
}
