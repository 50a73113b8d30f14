//! Manifests that the events of their bucket tell of.

use super::{Intake, Source};
use async_trait::async_trait;
use futures::future::join_all;
use millwork_queue::{BadMessage, BadReason, EventKind, Handler, Message, ObjectEvent, Verdict, decode};
use std::collections::HashSet;

/// Limit of the messages of a batch that are handled at once, in messages: each can hold a manifest of the largest size in memory.
const AT_ONCE: usize = 4;

/// Handler of the messages of the queue, whose objects go to the intake.
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
    /// Takes in all that a message tells of. What can be done later decides, since the message then comes again as a
    /// whole; then what is bad.
    async fn take_in(&self, message: &Message) -> Verdict {
        let decoded = decode(&message.body);
        let (mut bad, mut later) = (decoded.bad, None);
        // A record is a hundred bytes, the manifest that it names can be as large as manifests may be: each is read once for a message.
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
        // Removal of a manifest that has been run is its owner's business.
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
