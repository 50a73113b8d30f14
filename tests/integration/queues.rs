//! Queues of events, and what is sent through them.

use crate::servers::Aws;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use serde_json::json;
use std::collections::BTreeMap;

/// A queue of events, and its dead letters.
pub(crate) struct Queues {
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) url: String,
    pub(crate) dead_letters: String,
}

impl Queues {
    pub(crate) async fn create(aws: &Aws) -> Self {
        let client = aws.sqs().await;
        let create = |name: &str| client.create_queue().queue_name(name);
        let dead_letters = create("dead").send().await.unwrap().queue_url.unwrap();
        let attributes = client.get_queue_attributes().queue_url(&dead_letters);
        let arn = attributes.attribute_names(QueueAttributeName::QueueArn).send().await.unwrap();
        let arn = arn.attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
        let policy = json!({"deadLetterTargetArn": arn, "maxReceiveCount": "1000"}).to_string();
        let created = create("events").attributes(QueueAttributeName::RedrivePolicy, policy).send().await.unwrap();
        Self { url: created.queue_url.unwrap(), dead_letters, client }
    }

    pub(crate) async fn send(&self, bodies: &[String]) {
        for chunk in bodies.chunks(10) {
            let entry = |(i, body): (usize, &String)| {
                SendMessageBatchRequestEntry::builder().id(i.to_string()).message_body(body).build().unwrap()
            };
            let entries = chunk.iter().enumerate().map(entry).collect();
            let sent = self.client.send_message_batch().queue_url(&self.url).set_entries(Some(entries)).send().await;
            assert!(sent.unwrap().failed.is_empty());
        }
    }

    /// Sends messages of any size that one may have.
    pub(crate) async fn send_one_by_one(&self, bodies: &[String]) {
        for body in bodies {
            self.client.send_message().queue_url(&self.url).message_body(body).send().await.unwrap();
        }
    }

    /// Messages that are visible, and that are hidden.
    pub(crate) async fn counts(&self, url: &str) -> (u64, u64) {
        use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let request = self.client.get_queue_attributes().queue_url(url);
        let request = request.attribute_names(ApproximateNumberOfMessages);
        let counts = request.attribute_names(ApproximateNumberOfMessagesNotVisible).send().await.unwrap();
        let counts = counts.attributes.unwrap();
        let count = |name| counts[&name].parse().unwrap();
        (count(ApproximateNumberOfMessages), count(ApproximateNumberOfMessagesNotVisible))
    }

    /// The reasons of the messages in the dead-letter queue, each message once.
    pub(crate) async fn bad(&self) -> BTreeMap<String, usize> {
        let mut counts = BTreeMap::new();
        for (reason, _) in self.bad_details().await {
            *counts.entry(reason).or_default() += 1;
        }
        counts
    }

    /// The same, with what is said to a person, in no order. The queue is empty then.
    pub(crate) async fn bad_details(&self) -> Vec<(String, String)> {
        let mut found: BTreeMap<String, (String, String)> = BTreeMap::new();
        loop {
            let request = self.client.receive_message().queue_url(&self.dead_letters).max_number_of_messages(10);
            let received = request.message_attribute_names("All").send().await.unwrap().messages.unwrap_or_default();
            if received.is_empty() {
                return found.into_values().collect();
            }
            for message in received {
                let attributes = message.message_attributes.unwrap();
                let text = |name: &str| attributes[name].string_value.clone().unwrap();
                assert!(!text("detail").is_empty());
                found.insert(text("source_message_id"), (text("reason"), text("detail")));
                let delete = self.client.delete_message().queue_url(&self.dead_letters);
                delete.receipt_handle(message.receipt_handle.unwrap()).send().await.unwrap();
            }
        }
    }
}

/// A key as S3 events have it.
fn form_encoded(key: &str) -> String {
    key.bytes()
        .map(|byte| match byte {
            b' ' => "+".to_owned(),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

/// An event of a new object, as S3 sends it.
pub(crate) fn s3_event(bucket: &str, key: &str, size: u64, sequencer: usize) -> String {
    json!({"Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": bucket}, "object": {"key": form_encoded(key), "size": size, "eTag": format!("e{sequencer}"),
        "sequencer": format!("{sequencer:016X}")}}}]})
    .to_string()
}

/// The same event in one of three shapes.
pub(crate) fn message(bucket: &str, key: &str, size: u64, number: usize) -> String {
    match number % 3 {
        0 => s3_event(bucket, key, size, number),
        1 => json!({"Type": "Notification", "MessageId": "m", "Message": s3_event(bucket, key, size, number)})
            .to_string(),
        _ => json!({"version": "0", "source": "aws.s3", "detail-type": "Object Created", "detail": {
            "bucket": {"name": bucket}, "object": {"key": key, "size": size, "etag": format!("e{number}"),
            "sequencer": format!("{number:016X}")}}})
        .to_string(),
    }
}
