//! Messages, received and handled until told to stop.

use crate::dead_letters::client_from_env;
use crate::words::why;
use crate::{BadMessage, DeadLetters, Message};
use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message as SqsMessage,
    MessageSystemAttributeName,
};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Limit of the messages that one receive brings (Amazon SQS API reference, ReceiveMessage).
const BATCH: i32 = 10;
/// The pauses after failures: the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(20);
/// Time that a message is hidden that could not be handled, in seconds: at first, and at most. It grows fourfold with each
/// delivery, so that the five that a redrive policy commonly grants outlast an outage of ten minutes.
const FIRST_RETRY_SECONDS: i32 = 10;
const MAX_RETRY_SECONDS: i32 = 900;
/// Time that a receive goes on after the order to stop: one second. It lets messages come that the queue has handed out
/// already, which are given back; one that waits for messages is broken off then.
const LAST_RECEIVE: Duration = Duration::from_secs(1);

/// Verdict on a message that was handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the message says is durable.
    Done,
    /// The message, or a record in it, can never be processed; the rest of what it says is durable.
    Bad(BadMessage),
    /// The message could not be processed now.
    Retry(String),
}

/// Part that works on messages.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Takes in a batch, and returns a verdict for each message, in their order. A message that is taken in twice must
    /// change nothing the second time, and one that cannot be taken in must hold up none of the others. One without a
    /// verdict comes again.
    async fn handle(&self, messages: &[Message]) -> Vec<Verdict>;

    /// Hears that a message is in the dead-letter queue now.
    async fn put_away(&self, _message: &Message, _bad: &BadMessage) {}

    /// Hears that the queue has answered, with messages or without.
    fn answered(&self) {}
}

/// Settings for reading a queue.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// The queue that is read.
    pub queue_url: String,
    /// Queue for messages that can never be processed; else the one of the queue's redrive policy.
    pub dead_letter_queue_url: Option<String>,
    /// Time that a message stays hidden while it is handled, in seconds; extended while that goes on.
    pub visibility_seconds: u32,
    /// Time that a receive waits for messages, in seconds.
    pub poll_seconds: u32,
}

/// Reads a queue. Any number of workers can share one.
pub struct Consumer {
    client: Client,
    url: String,
    dead_letters: DeadLetters,
    visibility_seconds: i32,
    poll_seconds: i32,
}

impl Consumer {
    /// Makes a consumer in AWS as the environment says. Fails if there is no dead-letter queue.
    pub async fn connect(options: ConsumerOptions) -> anyhow::Result<Self> {
        let client = client_from_env(options.poll_seconds).await;
        Ok(Self {
            dead_letters: DeadLetters::find(&client, &options.queue_url, options.dead_letter_queue_url).await?,
            client,
            url: options.queue_url,
            visibility_seconds: options.visibility_seconds.try_into()?,
            poll_seconds: options.poll_seconds.try_into()?,
        })
    }

    /// The client, and the queues that it works on: the one that is read, and that of dead letters.
    pub(crate) fn queues(&self) -> (&Client, &str, &str) {
        (&self.client, &self.url, self.dead_letters.url())
    }

    /// Receives and handles messages until `stop`; what was received by then is finished or released. A receive that still
    /// waits is broken off, whatever its wait: what the queue hands out to nobody then is seen again after its time.
    pub async fn work(&self, handler: &dyn Handler, stop: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let received = tokio::select! {
                biased;
                received = self.receive() => received,
                () = last_receive(stop) => return,
            };
            let is_well = match received {
                Ok(received) if stop.is_cancelled() => {
                    // Nothing of it is begun: others can have it at once.
                    return self.hide(received.iter().map(|message| (message, 0))).await;
                }
                Ok(received) => {
                    handler.answered();
                    received.is_empty() || self.handle_hidden(handler, &received).await
                }
                Err(error) => {
                    tracing::warn!(queue = self.url, error = %format!("{error:#}"), "cannot receive messages");
                    false
                }
            };
            if is_well {
                pause = FIRST_PAUSE;
                continue;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LAST_PAUSE),
            }
        }
    }

    async fn receive(&self) -> anyhow::Result<Vec<SqsMessage>> {
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(BATCH);
        let request = request.wait_time_seconds(self.poll_seconds).visibility_timeout(self.visibility_seconds);
        let request = request.message_system_attribute_names(MessageSystemAttributeName::ApproximateReceiveCount);
        let received = request.send().await.map_err(|e| anyhow::anyhow!("{}", why(&e)))?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Handles a batch, and keeps it hidden from others meanwhile. Whether any of it could be handled.
    async fn handle_hidden(&self, handler: &dyn Handler, received: &[SqsMessage]) -> bool {
        let handling = self.handle_batch(handler, received);
        tokio::pin!(handling);
        let half = Duration::from_secs(u64::try_from(self.visibility_seconds).unwrap_or(1).max(2) / 2);
        loop {
            tokio::select! {
                is_well = &mut handling => return is_well,
                () = tokio::time::sleep(half) => {
                    self.hide(received.iter().map(|message| (message, self.visibility_seconds))).await;
                }
            }
        }
    }

    async fn handle_batch(&self, handler: &dyn Handler, received: &[SqsMessage]) -> bool {
        let message = |raw: &SqsMessage| Message {
            id: raw.message_id().unwrap_or_default().to_owned(),
            body: raw.body().unwrap_or_default().to_owned(),
        };
        let messages: Vec<Message> = received.iter().map(message).collect();
        let verdicts = handler.handle(&messages).await;
        let (mut finished, mut released) = (Vec::new(), Vec::new());
        for ((raw, message), verdict) in received.iter().zip(&messages).zip(&verdicts) {
            let is_finished = match verdict {
                Verdict::Done => true,
                Verdict::Bad(bad) => self.put_away(handler, message, bad).await,
                Verdict::Retry(_) => false,
            };
            if is_finished { finished.push(raw) } else { released.push(raw) }
        }
        self.delete(&finished).await;
        // Not at once, or a store that is down would be asked without end.
        self.hide(released.into_iter().map(|raw| (raw, retry_seconds(deliveries(raw), self.visibility_seconds)))).await;
        !finished.is_empty()
    }

    async fn put_away(&self, handler: &dyn Handler, message: &Message, bad: &BadMessage) -> bool {
        if let Err(error) = self.dead_letters.put(message, bad).await {
            tracing::error!(message = message.id, error = %format!("{error:#}"), "a bad message stays in the queue");
            return false;
        }
        handler.put_away(message, bad).await;
        true
    }

    async fn delete(&self, messages: &[&SqsMessage]) {
        let entries: Vec<_> = messages
            .iter()
            .enumerate()
            .filter_map(|(i, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(i.to_string());
                entry.set_receipt_handle(message.receipt_handle().map(ToOwned::to_owned)).build().ok()
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        // A message that is not deleted comes again, and changes nothing then.
        let deleted = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        match deleted {
            Ok(done) if done.failed().is_empty() => {}
            Ok(done) => tracing::warn!(messages = done.failed().len(), "messages were not deleted; they come again"),
            Err(e) => tracing::warn!(error = %why(&e), "messages were not deleted; they come again"),
        }
    }

    /// Hides messages, each for a number of seconds from now.
    async fn hide(&self, messages: impl Iterator<Item = (&SqsMessage, i32)>) {
        let entries: Vec<_> = messages
            .enumerate()
            .filter_map(|(i, (message, seconds))| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string());
                let entry = entry.set_receipt_handle(message.receipt_handle().map(ToOwned::to_owned));
                entry.visibility_timeout(seconds).build().ok()
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        match request.set_entries(Some(entries)).send().await {
            Ok(done) => {
                if let Some(first) = done.failed().first() {
                    let (messages, error) = (done.failed().len(), first.message().unwrap_or_default());
                    tracing::warn!(messages, error, "cannot change how long messages stay hidden");
                }
            }
            Err(e) => tracing::warn!(error = %why(&e), "cannot change how long messages stay hidden"),
        }
    }
}

/// Ends when a receive is to be broken off.
async fn last_receive(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_RECEIVE).await;
}

/// Number of times a message has been delivered; 1 if SQS does not say.
fn deliveries(message: &SqsMessage) -> u32 {
    let counts = message.attributes();
    let count = counts.and_then(|counts| counts.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Time that a message is hidden that could not be handled, in seconds, after a number of deliveries.
fn retry_seconds(deliveries: u32, visibility_seconds: i32) -> i32 {
    let growth = 4_i32.saturating_pow(deliveries.saturating_sub(1));
    visibility_seconds.min(FIRST_RETRY_SECONDS).saturating_mul(growth).min(MAX_RETRY_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fails_again_waits_longer() {
        let waits: Vec<i32> = (0..7).map(|deliveries| retry_seconds(deliveries, 360)).collect();
        assert_eq!(waits, [10, 10, 40, 160, 640, 900, 900]);
        assert_eq!((retry_seconds(1, 2), retry_seconds(u32::MAX, 2)), (2, 900));
    }
}
