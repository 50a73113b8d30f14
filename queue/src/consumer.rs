//! Consumer of an SQS queue: receives and handles messages until told to stop.

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

/// Limit of the messages per receive request (Amazon SQS API reference, ReceiveMessage).
const BATCH: i32 = 10;
/// Pauses after failures: the first one, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(20);
/// Time for which a message that could not be handled stays hidden, in seconds: at first, and at most. Grows fourfold
/// with each delivery, so that the usual five deliveries of a redrive policy outlast an outage of ten minutes.
const FIRST_RETRY_SECONDS: i32 = 10;
const MAX_RETRY_SECONDS: i32 = 900;
/// Time for which a pending receive continues after the stop signal: one second. Messages that SQS has already assigned
/// then still arrive and can be released; after that the request is aborted.
const LAST_RECEIVE: Duration = Duration::from_secs(1);

/// Result of handling a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The effect of the message is durable.
    Done,
    /// The message, or a record in it, can never be processed; the effect of the rest is durable.
    Bad(BadMessage),
    /// The message could not be processed now, and is retried.
    Retry(String),
}

/// Handler of messages.
#[async_trait]
pub trait Handler: Send + Sync {
    /// Handles a batch, and returns a result for each message, in order. Must be idempotent, and a message that fails
    /// must not stop the others. A message without a result is delivered again.
    async fn handle(&self, messages: &[Message]) -> Vec<Verdict>;

    /// Called after a message was moved to the dead-letter queue.
    async fn put_away(&self, _message: &Message, _bad: &BadMessage) {}

    /// Called after each answer of the queue, with or without messages.
    fn answered(&self) {}
}

/// Settings of a consumer.
#[derive(Clone, Debug)]
pub struct ConsumerOptions {
    /// URL of the queue.
    pub queue_url: String,
    /// URL of the dead-letter queue; by default that of the queue's redrive policy.
    pub dead_letter_queue_url: Option<String>,
    /// Visibility timeout while a message is handled, in seconds; extended as long as that takes.
    pub visibility_seconds: u32,
    /// Time for which a receive waits for messages, in seconds.
    pub poll_seconds: u32,
}

/// Consumer of a queue. Any number of workers can share one.
pub struct Consumer {
    client: Client,
    url: String,
    dead_letters: DeadLetters,
    visibility_seconds: i32,
    poll_seconds: i32,
}

impl Consumer {
    /// Creates a consumer with AWS settings from the environment. Fails if there is no dead-letter queue.
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

    /// Client, URL of the queue, and URL of its dead-letter queue.
    pub(crate) fn queues(&self) -> (&Client, &str, &str) {
        (&self.client, &self.url, self.dead_letters.url())
    }

    /// Receives and handles messages until `stop`; received messages are then finished or released. A waiting receive
    /// is aborted: messages that SQS has assigned to it become visible again after their timeout.
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
                    // Nothing was begun, so that the messages are released to others at once.
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

    /// Handles a batch while keeping it hidden from other consumers. Returns whether any message could be handled.
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
        // Hidden for a while, to avoid a busy loop while the store is down.
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
        // A message that cannot be deleted is delivered again, without effect.
        let deleted = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        match deleted {
            Ok(done) if done.failed().is_empty() => {}
            Ok(done) => tracing::warn!(messages = done.failed().len(), "messages were not deleted; they come again"),
            Err(e) => tracing::warn!(error = %why(&e), "messages were not deleted; they come again"),
        }
    }

    /// Changes the visibility of messages, each to a number of seconds from now.
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

/// Waits until a pending receive is to be aborted.
async fn last_receive(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(LAST_RECEIVE).await;
}

/// Number of deliveries of a message; 1 if SQS does not tell.
fn deliveries(message: &SqsMessage) -> u32 {
    let counts = message.attributes();
    let count = counts.and_then(|counts| counts.get(&MessageSystemAttributeName::ApproximateReceiveCount));
    count.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// Time for which a message that could not be handled stays hidden, in seconds, after this number of deliveries.
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
