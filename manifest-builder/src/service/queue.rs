//! Messages from SQS.

use super::ServiceOptions;
use super::handle::{Message, Verdict, handle};
use super::http::Health;
use super::maker::Maker;
use super::tally::Tally;
use crate::builder::Builder;
use crate::event::BadMessage;
use anyhow::Context;
use aws_config::BehaviorVersion;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::{
    ChangeMessageVisibilityBatchRequestEntry, DeleteMessageBatchRequestEntry, Message as SqsMessage,
    MessageAttributeValue, QueueAttributeName,
};
use chrono::Utc;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// What one receive brings at most (Amazon SQS API reference, ReceiveMessage).
const BATCH: i32 = 10;
/// The pauses after errors of the queue: the first, doubled up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LAST_PAUSE: Duration = Duration::from_secs(20);
/// How much of a text a message attribute takes.
const MAX_ATTRIBUTE_CHARS: usize = 1000;

/// The queues' URLs.
#[derive(Clone, Debug)]
pub(crate) struct QueueUrls {
    pub(crate) queue: String,
    pub(crate) dead_letters: Option<String>,
}

/// The queue, and the one for messages that can never be processed.
pub(crate) struct Queue {
    client: Client,
    url: String,
    dead_letters: DeadLetters,
    visibility_seconds: i32,
    poll_seconds: i32,
}

/// The queue for messages that can never be processed.
#[derive(Clone)]
pub(crate) struct DeadLetters {
    client: Client,
    url: String,
}

/// A client as the environment says.
pub(crate) async fn client_from_env() -> Client {
    Client::new(&aws_config::load_defaults(BehaviorVersion::latest()).await)
}

impl DeadLetters {
    pub(crate) fn new(client: Client, url: String) -> Self {
        Self { client, url }
    }

    /// Puts a message there, with the reason as attributes.
    pub(crate) async fn put(&self, message: &Message, bad: &BadMessage) -> anyhow::Result<()> {
        let attribute = |text: &str| {
            // SQS takes no other control characters.
            let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_ATTRIBUTE_CHARS).collect();
            MessageAttributeValue::builder().data_type("String").string_value(text).build()
        };
        self.client
            .send_message()
            .queue_url(&self.url)
            .message_body(&message.body)
            .message_attributes("reason", attribute(bad.reason.as_str())?)
            .message_attributes("detail", attribute(&bad.detail)?)
            .message_attributes("source_message_id", attribute(&message.id)?)
            .send()
            .await
            .map_err(|e| anyhow::anyhow!("cannot write to the dead-letter queue: {}", DisplayErrorContext(e)))?;
        Ok(())
    }
}

impl Queue {
    pub(crate) async fn connect(urls: QueueUrls, options: &ServiceOptions) -> anyhow::Result<Self> {
        let client = client_from_env().await;
        let dead_letters = match urls.dead_letters {
            Some(url) => url,
            None => dead_letter_url(&client, &urls.queue).await?,
        };
        anyhow::ensure!(dead_letters != urls.queue, "the dead-letter queue is the queue itself");
        Ok(Self {
            dead_letters: DeadLetters::new(client.clone(), dead_letters),
            client,
            url: urls.queue,
            visibility_seconds: options.visibility_seconds.try_into()?,
            poll_seconds: options.poll_seconds.try_into()?,
        })
    }

    /// Receives and handles messages until `stop`.
    pub(crate) async fn work(
        self: Arc<Self>,
        builder: Builder,
        maker: Maker,
        tally: Tally,
        health: Health,
        stop: CancellationToken,
    ) {
        let mut pause = FIRST_PAUSE;
        while !stop.is_cancelled() {
            let received = match self.receive().await {
                Ok(received) => received,
                Err(error) => {
                    tracing::warn!(queue = self.url, error = %format!("{error:#}"), "cannot receive messages");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(pause) => {}
                    }
                    pause = (pause * 2).min(LAST_PAUSE);
                    continue;
                }
            };
            pause = FIRST_PAUSE;
            health.beat();
            if received.is_empty() {
                continue;
            }
            if stop.is_cancelled() {
                // Nothing of it is begun: others can have it at once.
                self.hide_for(&received, 0).await;
                return;
            }
            let due = self.handle_visible(&builder, &tally, &received).await;
            maker.ask(&due);
        }
    }

    async fn receive(&self) -> anyhow::Result<Vec<SqsMessage>> {
        let request = self.client.receive_message().queue_url(&self.url).max_number_of_messages(BATCH);
        let request = request.wait_time_seconds(self.poll_seconds).visibility_timeout(self.visibility_seconds);
        let received = request.send().await.map_err(|e| anyhow::anyhow!("{}", DisplayErrorContext(e)))?;
        Ok(received.messages.unwrap_or_default())
    }

    /// Handles a batch, and keeps it hidden from others meanwhile. Returns the dates that are due.
    async fn handle_visible(
        &self,
        builder: &Builder,
        tally: &Tally,
        received: &[SqsMessage],
    ) -> Vec<millwork_manifest::DatePrefix> {
        let handling = self.handle_batch(builder, tally, received);
        tokio::pin!(handling);
        let half = Duration::from_secs(u64::try_from(self.visibility_seconds).unwrap_or(1).max(2) / 2);
        loop {
            tokio::select! {
                due = &mut handling => return due,
                () = tokio::time::sleep(half) => self.hide_for(received, self.visibility_seconds).await,
            }
        }
    }

    async fn handle_batch(
        &self,
        builder: &Builder,
        tally: &Tally,
        received: &[SqsMessage],
    ) -> Vec<millwork_manifest::DatePrefix> {
        let messages: Vec<Message> = received
            .iter()
            .map(|message| Message {
                id: message.message_id().unwrap_or_default().to_owned(),
                body: message.body().unwrap_or_default().to_owned(),
            })
            .collect();
        let (verdicts, arrived) = handle(builder, &messages).await;
        let (mut finished, mut released) = (Vec::new(), Vec::new());
        for ((raw, message), verdict) in received.iter().zip(&messages).zip(&verdicts) {
            let is_finished = match verdict {
                Verdict::Done => true,
                Verdict::Bad(bad) => put_away(builder, &self.dead_letters, message, bad).await,
                Verdict::Retry(_) => false,
            };
            if is_finished { finished.push(raw.clone()) } else { released.push(raw.clone()) }
        }
        tally.arrived(&arrived);
        self.delete(&finished).await;
        // Not at once, or a store that is down would be asked without end.
        self.hide_for(&released, self.visibility_seconds.min(10)).await;
        arrived.due
    }

    async fn delete(&self, messages: &[SqsMessage]) {
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
        // What is not deleted comes again, and changes nothing then.
        let deleted = self.client.delete_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
        match deleted {
            Ok(done) if done.failed().is_empty() => {}
            Ok(done) => tracing::warn!(messages = done.failed().len(), "messages were not deleted; they come again"),
            Err(e) => tracing::warn!(error = %DisplayErrorContext(e), "messages were not deleted; they come again"),
        }
    }

    async fn hide_for(&self, messages: &[SqsMessage], seconds: i32) {
        let entries: Vec<_> = messages
            .iter()
            .enumerate()
            .filter_map(|(i, message)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string());
                let entry = entry.set_receipt_handle(message.receipt_handle().map(ToOwned::to_owned));
                entry.visibility_timeout(seconds).build().ok()
            })
            .collect();
        if entries.is_empty() {
            return;
        }
        let request = self.client.change_message_visibility_batch().queue_url(&self.url);
        if let Err(e) = request.set_entries(Some(entries)).send().await {
            tracing::warn!(error = %DisplayErrorContext(e), "cannot change how long messages stay hidden");
        }
    }
}

/// Counts a message that can never be processed, and puts it in the dead-letter queue. False if that failed.
pub(crate) async fn put_away(
    builder: &Builder,
    dead_letters: &DeadLetters,
    message: &Message,
    bad: &BadMessage,
) -> bool {
    let name = format!("messages_bad:{}", bad.reason.as_str());
    if let Err(error) = dead_letters.put(message, bad).await {
        tracing::error!(message = message.id, error = %format!("{error:#}"), "a bad message stays in the queue");
        return false;
    }
    if let Err(error) = builder.store.count(&[(&name, 1)], Utc::now()).await {
        tracing::warn!(message = message.id, %error, "a bad message was put away, but not counted");
    }
    true
}

/// The dead-letter queue that the queue's redrive policy names.
async fn dead_letter_url(client: &Client, queue: &str) -> anyhow::Result<String> {
    let advice = || {
        format!(
            "the queue `{queue}` has no dead-letter queue: give it a redrive policy (`millwork bootstrap aws` does), or \
             name one with --dead-letter-queue-url"
        )
    };
    let attributes = client.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::RedrivePolicy);
    let attributes = attributes
        .send()
        .await
        .map_err(|e| anyhow::anyhow!("cannot read the queue `{queue}`: {}", DisplayErrorContext(e)))?;
    let policy = attributes.attributes().and_then(|all| all.get(&QueueAttributeName::RedrivePolicy));
    let policy: serde_json::Value = serde_json::from_str(policy.with_context(advice)?)?;
    let arn = policy.get("deadLetterTargetArn").and_then(|arn| arn.as_str()).with_context(advice)?;
    // arn:aws:sqs:REGION:ACCOUNT:NAME
    let mut parts = arn.rsplit(':');
    let (name, account) = (parts.next().with_context(advice)?, parts.next().with_context(advice)?);
    let found = client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
    let found =
        found.map_err(|e| anyhow::anyhow!("cannot find the dead-letter queue `{arn}`: {}", DisplayErrorContext(e)))?;
    found.queue_url.with_context(advice)
}
