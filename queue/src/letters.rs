//! Inspection and redrive of messages in a dead-letter queue.
//!
//! | crash | what remains |
//! |---|---|
//! | during inspection | all letters, some of them hidden for ten seconds |
//! | between sending a letter back and deleting it | the message in both queues: it is handled twice, which changes nothing |

use crate::dead_letters::client_from_env;
use crate::words::why;
use crate::{DeadLetters, Depth, decode};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, Message, MessageSystemAttributeName};
use millwork_manifest::ObjectUri;
use std::collections::HashSet;

/// Visibility timeout of inspected letters, in seconds: 10, in which a thousand can be sent back.
const LOOK_SECONDS: i32 = 10;
/// Limit of the total size of inspected letters: 64 MiB, since each can have 1 MiB from an untrusted sender.
const MAX_LOOK_BYTES: usize = 64 << 20;
/// Number of messages per receive request.
const BATCH: i32 = 10;
/// Reason for a message that SQS itself moved, without stating one.
const RECEIVED_TOO_OFTEN: &str = "received-too-often";

/// A message in the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Id of the message, which differs between queues.
    pub id: String,
    /// Time at which it was moved there, in Unix milliseconds.
    pub at_millis: i64,
    /// Reason; `received-too-often` if SQS itself moved it.
    pub reason: String,
    /// Details of the reason, if known.
    pub detail: String,
    /// Objects that the message names.
    pub objects: Vec<ObjectUri>,
    /// Body of the message.
    pub body: String,
    receipt: String,
}

impl Letter {
    fn of(message: Message) -> Self {
        let attribute = |name: &str| Some(message.message_attributes()?.get(name)?.string_value()?.to_owned());
        let sent = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
        let body = message.body().unwrap_or_default().to_owned();
        Self {
            id: message.message_id().unwrap_or_default().to_owned(),
            at_millis: sent.and_then(|text| text.parse().ok()).unwrap_or_default(),
            reason: attribute("reason").unwrap_or_else(|| RECEIVED_TOO_OFTEN.to_owned()),
            detail: attribute("detail").unwrap_or_default(),
            objects: decode(&body).events.into_iter().map(|event| event.uri).collect(),
            body,
            receipt: message.receipt_handle().unwrap_or_default().to_owned(),
        }
    }

    /// Tells whether the letter concerns an object. An undecodable one does if it contains the object's key.
    pub fn is_about(&self, uri: &ObjectUri) -> bool {
        self.objects.contains(uri) || (self.objects.is_empty() && self.body.contains(&uri.key()))
    }
}

/// A queue and its dead-letter queue.
pub struct Letters {
    client: Client,
    queue: String,
    dead_letters: DeadLetters,
}

impl Letters {
    /// Opens the dead letters of a queue with AWS settings from the environment: of the named dead-letter queue,
    /// or that of the redrive policy.
    pub async fn open(queue: &str, dead_letters: Option<&str>) -> anyhow::Result<Self> {
        let client = client_from_env(1).await;
        let dead_letters = DeadLetters::find(&client, queue, dead_letters.map(str::to_owned)).await?;
        Ok(Self { client, queue: queue.to_owned(), dead_letters })
    }

    /// Queries the approximate depth of both queues.
    pub async fn depth(&self) -> anyhow::Result<Depth> {
        crate::depth::of(&self.client, &self.queue, self.dead_letters.url()).await
    }

    /// Receives letters, in no particular order, until `is_last` accepts one, or the limits are reached ([`is_full`]).
    pub async fn look(&self, limit: usize, is_last: impl Fn(&Letter) -> bool) -> anyhow::Result<Vec<Letter>> {
        let mut found: Vec<Letter> = Vec::new();
        let mut seen = HashSet::new();
        while !is_full(&found, limit) {
            let request = self.client.receive_message().queue_url(self.dead_letters.url());
            // With a wait time, SQS queries all its servers (long polling).
            let request = request.max_number_of_messages(BATCH).wait_time_seconds(1).visibility_timeout(LOOK_SECONDS);
            let request = request.message_attribute_names("All");
            let request = request.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
            let received = request.send().await.map_err(|e| anyhow::anyhow!("{}", why(&e)))?;
            let letters = received.messages.unwrap_or_default().into_iter().map(Letter::of);
            // Letters become visible again after their timeout, so that they can be received twice.
            let letters: Vec<Letter> = letters.filter(|letter| seen.insert(letter.id.clone())).collect();
            let is_over = letters.is_empty() || letters.iter().any(&is_last);
            found.extend(letters);
            if is_over {
                break;
            }
        }
        Ok(found)
    }

    /// Makes inspected letters visible to others again. Without that permission they stay hidden until their timeout.
    pub async fn release(&self, letters: &[Letter]) {
        for some in letters.chunks(usize::try_from(BATCH).unwrap_or(1)) {
            let entry = |(i, letter): (usize, &Letter)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(i.to_string()).visibility_timeout(0);
                entry.receipt_handle(&letter.receipt).build().ok()
            };
            let entries = some.iter().enumerate().filter_map(entry).collect();
            let request = self.client.change_message_visibility_batch().queue_url(self.dead_letters.url());
            if let Err(error) = request.set_entries(Some(entries)).send().await {
                tracing::debug!(error = %why(&error), "dead letters that were looked at are hidden for a moment");
                return;
            }
        }
    }

    /// Sends a letter back to the queue that it came from.
    pub async fn put_back(&self, letter: &Letter) -> anyhow::Result<()> {
        let sent = self.client.send_message().queue_url(&self.queue).message_body(&letter.body).send().await;
        sent.map_err(|e| anyhow::anyhow!("cannot write to the queue `{}`: {}", self.queue, why(&e)))?;
        let delete = self.client.delete_message().queue_url(self.dead_letters.url()).receipt_handle(&letter.receipt);
        delete.send().await.map_err(|e| anyhow::anyhow!("it is in the queue, and stays here, too: {}", why(&e)))?;
        Ok(())
    }
}

/// Tells whether the limit of letters, or of their total size, is reached.
pub fn is_full(found: &[Letter], limit: usize) -> bool {
    found.len() >= limit || found.iter().map(|letter| letter.body.len()).sum::<usize>() >= MAX_LOOK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_that_are_looked_at_together_are_few_and_small() {
        let letters = |number: usize, bytes: usize| {
            let letter = Letter::of(Message::builder().body("x".repeat(bytes)).build());
            vec![letter; number]
        };
        assert!(!is_full(&letters(9, 1), 10) && is_full(&letters(10, 1), 10));
        assert!(!is_full(&letters(63, 1 << 20), 1000) && is_full(&letters(64, 1 << 20), 1000));
    }

    #[test]
    fn a_letter_is_about_the_object_that_it_names_or_has_the_key_of() {
        let uri: ObjectUri = "s3://in/d/2025-12-23-a.ndjson".parse().unwrap();
        let letter = |body: String| Letter::of(Message::builder().body(body).build());
        let body = |key: &str, more: &str| {
            format!(
                r#"{{"Records": [{{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3":
                {{"bucket": {{"name": "in"}}, "object": {{"key": "{key}", "size": 7 {more}}}}}}}]}}"#
            )
        };
        let whole = r#", "eTag": "x", "sequencer": "1""#;
        assert!(letter(body("d/2025-12-23-a.ndjson", whole)).is_about(&uri));
        assert!(!letter(body("d/2025-12-23-b.ndjson", whole)).is_about(&uri));
        assert!(letter(body("d/2025-12-23-a.ndjson", "")).is_about(&uri), "without an entity tag");
        assert!(!letter("{}".to_owned()).is_about(&uri));
        let unknown = letter("no JSON: d/2025-12-23-a.ndjson".to_owned());
        assert!(unknown.is_about(&uri) && unknown.reason == "received-too-often");
    }
}
