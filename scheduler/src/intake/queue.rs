//! Manifests named in events of their bucket.

use super::{Intake, Source};
use async_trait::async_trait;
use futures::future::join_all;
use millwork_queue::{BadMessage, BadReason, EventKind, Handler, Message, ObjectEvent, Verdict, decode};
use std::collections::HashSet;

/// Limit of the messages of a batch that are handled concurrently: each can hold a manifest of the largest size in
/// memory.
const AT_ONCE: usize = 4;

/// Handler of the queue's messages, which passes the named objects to the intake.
pub(super) struct FromQueue {
    pub(super) intake: Intake,
}

#[async_trait]
impl Handler for FromQueue {
    async fn handle(&self, messages: &[Message]) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(messages.len());
        for some in messages.chunks(AT_ONCE) {
            verdicts.extend(join_all(some.iter().map(|message| self.take_in(message))).await);
        }
        verdicts
    }
}

impl FromQueue {
    /// Handles all records of a message. If any may succeed later, the whole message is kept for another delivery;
    /// otherwise, if any is invalid, the message is bad.
    async fn take_in(&self, message: &Message) -> Verdict {
        let decoded = decode(&message.body);
        let (mut bad, mut later) = (decoded.bad, None);
        // A record has a hundred bytes, but its manifest can be large: each manifest is read only once per message.
        let mut seen = HashSet::new();
        for event in decoded.events.iter().filter(|event| seen.insert((event.kind == EventKind::Removed, &event.uri))) {
            match self.take_event(event).await {
                Verdict::Done => {}
                Verdict::Bad(found) => drop(bad.get_or_insert(found)),
                Verdict::Retry(error) => drop(later.get_or_insert(error)),
            }
        }
        match (later, bad) {
            (Some(error), _) => {
                tracing::warn!(message = message.id, error, "a manifest was not taken in; its message comes again");
                Verdict::Retry(error)
            }
            (None, Some(bad)) => {
                tracing::warn!(message = message.id, %bad, "a message can never be processed");
                Source::Queue.count_refused(bad.reason);
                Verdict::Bad(bad)
            }
            (None, None) => Verdict::Done,
        }
    }

    async fn take_event(&self, event: &ObjectEvent) -> Verdict {
        let uri = &event.uri;
        if let Err(error) = self.intake.places.admit(uri) {
            Source::Queue.count_received();
            return Verdict::Bad(BadMessage::new(BadReason::ForeignObject, error));
        }
        // A manifest may be removed after its run was queued, which needs no action.
        if event.kind == EventKind::Removed {
            return Verdict::Done;
        }
        if !uri.as_str().ends_with(".json") {
            tracing::debug!(%uri, "an object whose name does not end in .json is no manifest");
            return Verdict::Done;
        }
        let verdict = self.intake.take(uri).await;
        if !matches!(verdict, Verdict::Retry(_)) {
            Source::Queue.count_received();
        }
        verdict
    }
}
