//! Changes as server-sent events.

use super::Api;
use super::auth::Access;
use super::event_log::{Since, Told};
use super::extract::Query;
use crate::access::Below;
use axum::Extension;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use millwork_api::{EventData, EventQuery, Lagged, Role, Topic};
use millwork_net::Endless;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

/// Interval after which an idle stream gets a comment, to keep it open.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Interval at which a standby checks whether it has become the leader.
const LOOK: Duration = Duration::from_millis(500);
/// Header in which a reconnecting listener names the last event it received.
const LAST_EVENT_ID: &str = "last-event-id";
/// Limit of the length of an event id, in bytes; valid ones have fewer than 40.
const MAX_ID_BYTES: usize = 64;

/// A listener to events, and its position.
struct Listener {
    api: Api,
    topics: Vec<Topic>,
    /// Id of the last event received before a reconnect.
    after: Option<String>,
    /// True once the listener has received something; the first event is the role of this process.
    was_told: bool,
    /// Events to be sent before live ones.
    waiting: VecDeque<Next>,
    live: Option<Receiver<Arc<Told>>>,
    /// Number of the last change that was sent.
    last: u64,
}

/// Next event for a listener.
enum Next {
    Told(Arc<Told>),
    Own(EventData),
}

impl Listener {
    async fn next(&mut self) -> Option<Next> {
        loop {
            if let Some(next) = self.waiting.pop_front() {
                if let Next::Told(told) = &next {
                    self.last = self.last.max(told.number.unwrap_or(0));
                }
                return Some(next);
            }
            let Some(live) = &mut self.live else {
                self.begin().await;
                continue;
            };
            match live.recv().await {
                Ok(told)
                    if self.topics.contains(&told.topic) && told.number.is_none_or(|number| number > self.last) =>
                {
                    self.waiting.push_back(Next::Told(told));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => return Some(Next::Own(EventData::Lagged(Lagged { missed }))),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Sends the role of this process; if it leads, continues from the listener's position.
    async fn begin(&mut self) {
        let stood_by = self.was_told;
        while self.was_told && self.api.service.leader().is_none() {
            tokio::time::sleep(LOOK).await;
        }
        self.was_told = true;
        let leads = self.api.service.leader().is_some();
        self.waiting.push_back(Next::Own(EventData::Role(Role { leads })));
        if !leads {
            return;
        }
        let since = match &self.after {
            Some(id) => Since::Id(id),
            None if stood_by => Since::Start,
            None => Since::Now,
        };
        let (live, missed) = self.api.events.listen(since);
        self.live = Some(live);
        match missed {
            Some(missed) => {
                let wanted = missed.into_iter().filter(|told| self.topics.contains(&told.topic));
                self.waiting.extend(wanted.map(Next::Told));
            }
            None => self.waiting.push_back(Next::Own(EventData::Lagged(Lagged { missed: 0 }))),
        }
    }
}

/// Tells of what happens, as server-sent events, until the listener or the scheduler goes, or the token ends: runs that change and, if `topics` names
/// them, how far runs are (each second) and numbers (every three seconds, if they have changed). Changes of runs have ids: who
/// comes back with `Last-Event-ID` is told those that were missed, of the last 10,000, or by `lagged` that they are not known any more. Comments
/// keep the stream open.
#[utoipa::path(get, path = "/api/v1/events", tag = "cluster", params(EventQuery, ("Last-Event-ID" = Option<String>, Header, description = "Id of the event that came last")), responses(
    (status = 200, description = "Events `role`, `run`, `progress`, `stats` and `lagged`, each with data of that kind", body = EventData, content_type = "text/event-stream")
))]
pub(super) async fn get_events(
    State(api): State<Api>,
    Extension(access): Extension<Access>,
    Query(query): Query<EventQuery>,
    below: Option<Extension<Below>>,
    headers: HeaderMap,
) -> (Extension<Endless>, Sse<impl Stream<Item = Result<Event, axum::Error>>>) {
    // An unknown id is treated like one that is no longer kept: the listener is told that it may have missed events.
    let is_id = |id: &&str| id.len() <= MAX_ID_BYTES;
    let after = headers.get(LAST_EVENT_ID).map(|id| id.to_str().ok().filter(is_id).unwrap_or_default().to_owned());
    let topics = if query.topics.is_empty() { vec![Topic::Run] } else { query.topics.words().to_vec() };
    let stop = api.stop.clone();
    let mut listener = Listener { api, topics, after, was_told: false, waiting: VecDeque::new(), live: None, last: 0 };
    // Subscribed before the response starts, so that the client misses nothing that follows its request.
    listener.begin().await;
    let over = CancellationToken::new();
    tokio::spawn(end_with(access, headers, below.map(|Extension(below)| below), over.clone()));
    let gone = over.clone().drop_guard();
    let told = tell(listener).take_until(stop.cancelled_owned()).take_until(over.clone().cancelled_owned());
    let told = told.inspect(move |_| {
        let _until_then = &gone;
    });
    (Extension(Endless(over)), Sse::new(told).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// Ends a stream when its token ends, even if nobody reads it. Stops when the stream ends, which cancels `over`.
async fn end_with(access: Access, headers: HeaderMap, below: Option<Below>, over: CancellationToken) {
    tokio::select! {
        () = access.until_it_ends(headers, below) => over.cancel(),
        () = over.cancelled() => {}
    }
}

fn tell(listener: Listener) -> impl Stream<Item = Result<Event, axum::Error>> {
    futures::stream::unfold(listener, |mut listener| async move {
        let event = match listener.next().await? {
            Next::Own(data) => Event::default().event(data.name()).json_data(&data),
            Next::Told(told) => {
                let event = Event::default().event(told.name).data(&told.data);
                Ok(match listener.api.events.id(&told) {
                    Some(id) => event.id(id),
                    None => event,
                })
            }
        };
        Some((event, listener))
    })
}
