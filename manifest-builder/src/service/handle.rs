//! Handling of a batch of messages, from SQS or Lambda.

use super::http::Health;
use super::maker::Maker;
use super::tally::Tally;
use crate::builder::{Arrived, Builder};
use crate::error::BuilderError;
use async_trait::async_trait;
use metrics::counter;
use millwork_queue::{BadMessage, BadReason, Decoded, Handler, Message, ObjectEvent, Verdict, decode};
use tracing::Instrument;

/// State that the workers of the queue share.
pub(crate) struct Intake {
    pub(crate) builder: Builder,
    pub(crate) maker: Maker,
    pub(crate) tally: Tally,
    pub(crate) health: Health,
}

#[async_trait]
impl Handler for Intake {
    async fn handle(&self, messages: &[Message]) -> Vec<Verdict> {
        let batch = tracing::info_span!("process", messages = messages.len());
        let (verdicts, arrived) = handle(&self.builder, messages).instrument(batch).await;
        self.tally.arrived(&arrived);
        self.maker.ask(&arrived.due);
        verdicts
    }

    async fn put_away(&self, message: &Message, bad: &BadMessage) {
        count_bad(&self.builder, message, bad).await;
    }

    fn answered(&self) {
        self.health.beat();
    }
}

/// Processes a batch. A message that cannot be processed does not stop the others.
pub(crate) async fn handle(builder: &Builder, messages: &[Message]) -> (Vec<Verdict>, Arrived) {
    let decoded: Vec<Decoded> = messages.iter().map(|message| refuse(builder, decode(&message.body))).collect();
    let events: Vec<ObjectEvent> = decoded.iter().flat_map(|decoded| decoded.events.clone()).collect();
    let mut arrived = Arrived::default();
    let together = builder.arrive(&events).await;
    let mut verdicts = Vec::with_capacity(decoded.len());
    for decoded in decoded {
        let taken: Result<(), BuilderError> = match &together {
            Ok(_) => Ok(()),
            // A single message may be at fault, or the store is down: each message is retried by itself.
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

/// Drops events of objects that Millwork itself wrote, since notifications for places it writes to would make a loop,
/// and events of objects outside the input, whoever sent them.
fn refuse(builder: &Builder, mut decoded: Decoded) -> Decoded {
    let mut refused = None;
    decoded.events.retain(|event| {
        let uri = &event.uri;
        let bad = match (builder.own_place_of(uri), builder.is_input(uri)) {
            (Some(place), _) => {
                let detail = format!("`{uri}` is in {place}: let the input's notifications leave that out");
                BadMessage::new(BadReason::OwnObject, detail)
            }
            (None, false) => {
                let detail = format!("`{uri}` is in none of the input's places (INPUT_PLACES): it stays as it is");
                BadMessage::new(BadReason::ForeignObject, detail)
            }
            (None, true) => return true,
        };
        refused.get_or_insert(bad);
        false
    });
    decoded.bad = decoded.bad.or(refused);
    decoded
}

/// Counts a message that was moved to the dead-letter queue.
pub(crate) async fn count_bad(builder: &Builder, message: &Message, bad: &BadMessage) {
    let name = format!("messages_bad:{}", bad.reason.as_str());
    if let Err(error) = builder.store.count(&[(&name, 1)], builder.now()).await {
        tracing::warn!(message = message.id, %error, "a bad message was put away, but not counted");
    }
}
