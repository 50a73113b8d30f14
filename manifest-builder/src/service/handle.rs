//! What becomes of a batch of messages, whoever delivers them.

use crate::builder::{Arrived, Builder, BuilderError};
use crate::event::{BadMessage, BadReason, Decoded, ObjectEvent, decode};
use metrics::counter;

/// A message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: String,
}

/// What becomes of a message.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    /// What it says is durable.
    Done,
    /// It, or a record in it, can never be processed; the rest of what it says is durable.
    Bad(BadMessage),
    /// It could not be processed now.
    Retry(String),
}

/// Takes in a batch. A message that cannot be taken in holds up none of the others.
pub(crate) async fn handle(builder: &Builder, messages: &[Message]) -> (Vec<Verdict>, Arrived) {
    let decoded: Vec<Decoded> = messages.iter().map(|message| refuse_own(builder, decode(&message.body))).collect();
    let events: Vec<ObjectEvent> = decoded.iter().flat_map(|decoded| decoded.events.clone()).collect();
    let mut arrived = Arrived::default();
    let together = builder.arrive(&events).await;
    let mut verdicts = Vec::with_capacity(decoded.len());
    for decoded in decoded {
        let taken: Result<(), BuilderError> = match &together {
            Ok(_) => Ok(()),
            // One of them is at fault, or the store is down.
            Err(_) if messages.len() > 1 => builder.arrive(&decoded.events).await.map(|more| arrived.merge(more)),
            Err(error) => {
                verdicts.push(Verdict::Retry(error.to_string()));
                continue;
            }
        };
        verdicts.push(match (taken, decoded.bad) {
            (Err(error), _) => Verdict::Retry(error.to_string()),
            (Ok(()), Some(bad)) => Verdict::Bad(bad),
            (Ok(()), None) => Verdict::Done,
        });
    }
    if let Ok(all) = together {
        arrived.merge(all);
    }
    for (message, verdict) in messages.iter().zip(&verdicts) {
        let outcome = match verdict {
            Verdict::Done => "done",
            Verdict::Bad(bad) => {
                tracing::warn!(message = message.id, %bad, "a message can never be processed");
                "bad"
            }
            Verdict::Retry(error) => {
                tracing::warn!(message = message.id, error, "a message was not taken in; it comes again");
                "retry"
            }
        };
        counter!("millwork_messages_total", "outcome" => outcome).increment(1);
    }
    (verdicts, arrived)
}

/// Takes out events of objects that Millwork itself wrote: notifications of the places it writes to would make a loop.
fn refuse_own(builder: &Builder, mut decoded: Decoded) -> Decoded {
    let mut own = None;
    decoded.events.retain(|event| match builder.own_place_of(&event.uri) {
        None => true,
        Some(place) => {
            let detail = format!("`{}` is in {place}: let the input's notifications leave that out", event.uri);
            own.get_or_insert(BadMessage { reason: BadReason::OwnObject, detail });
            false
        }
    });
    decoded.bad = decoded.bad.or(own);
    decoded
}
