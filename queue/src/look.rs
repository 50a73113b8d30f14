//! Looks at queues, which take nothing from them.

use crate::dead_letters::client_from_env;
use crate::words::why;
use crate::{DeadLetters, decode};
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};
use millwork_manifest::ObjectUri;

/// Limit of the receives by which a dead letter is looked for: 10, which is up to 100 messages.
const MAX_RECEIVES: usize = 10;
/// Time that a message which was looked at is hidden from others, in seconds: 5. So it is seen once by one look.
const LOOK_SECONDS: i32 = 5;
/// Reason of a message that SQS itself has put away, which tells none.
const RECEIVED_TOO_OFTEN: &str = "it was received as often as the queue allows, and never handled";

/// Messages of a queue, as SQS counts them: about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that somebody has received, and not deleted yet.
    pub in_work: u64,
}

/// A message in the queue for those that can never be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Time at which it was put there, in milliseconds since 1970.
    pub at_millis: i64,
    /// Reason for which it was.
    pub reason: String,
}

/// Looks for a dead letter of a queue about an object, in AWS as the environment says, among about a hundred messages; those are hidden
/// from others for five seconds.
pub async fn dead_letter_of(
    queue: &str,
    dead_letters: Option<&str>,
    uri: &ObjectUri,
) -> anyhow::Result<Option<DeadLetter>> {
    let client = client_from_env(1).await;
    let dead_letters = DeadLetters::find(&client, queue, dead_letters.map(str::to_owned)).await?;
    for _ in 0..MAX_RECEIVES {
        let request = client.receive_message().queue_url(dead_letters.url()).max_number_of_messages(10);
        // A receive that waits asks all servers of the queue.
        let request = request.wait_time_seconds(1).visibility_timeout(LOOK_SECONDS).message_attribute_names("All");
        let request = request.message_system_attribute_names(MessageSystemAttributeName::SentTimestamp);
        let received = request.send().await.map_err(|e| anyhow::anyhow!("{}", why(&e)))?;
        let messages = received.messages.unwrap_or_default();
        if messages.is_empty() {
            break;
        }
        if let Some(message) = messages.iter().find(|message| is_about(message.body().unwrap_or_default(), uri)) {
            return Ok(Some(letter(message)));
        }
    }
    Ok(None)
}

/// Tells whether a message is about an object. One that nobody can read is, if it has the object's key.
fn is_about(body: &str, uri: &ObjectUri) -> bool {
    let decoded = decode(body);
    let is_named = decoded.events.iter().any(|event| event.uri == *uri);
    is_named || (decoded.events.is_empty() && body.contains(&*uri.key()))
}

fn letter(message: &Message) -> DeadLetter {
    let attribute = |name: &str| message.message_attributes()?.get(name)?.string_value();
    let reason = match (attribute("reason"), attribute("detail")) {
        (Some(reason), Some(detail)) => format!("{reason}: {detail}"),
        (Some(reason), None) => reason.to_owned(),
        _ => RECEIVED_TOO_OFTEN.to_owned(),
    };
    let sent = message.attributes().and_then(|all| all.get(&MessageSystemAttributeName::SentTimestamp));
    DeadLetter { at_millis: sent.and_then(|text| text.parse().ok()).unwrap_or_default(), reason }
}

/// Counts the messages of a queue, in AWS as the environment says. Receives none of them.
pub async fn depth(queue: &str) -> anyhow::Result<QueueDepth> {
    let asked = client_from_env(0)
        .await
        .get_queue_attributes()
        .queue_url(queue)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
        .send()
        .await
        .map_err(|e| anyhow::anyhow!("cannot look at the queue `{queue}`: {}", why(&e)))?;
    let attributes = asked.attributes.unwrap_or_default();
    let number = |name| attributes.get(&name).and_then(|text| text.parse().ok()).unwrap_or(0);
    Ok(QueueDepth {
        waiting: number(QueueAttributeName::ApproximateNumberOfMessages),
        in_work: number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_about_the_object_that_it_names_or_has_the_key_of() {
        let uri: ObjectUri = "s3://in/d/2025-12-23-a.ndjson".parse().unwrap();
        let body = |key: &str, more: &str| {
            format!(
                r#"{{"Records": [{{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3":
                {{"bucket": {{"name": "in"}}, "object": {{"key": "{key}", "size": 7 {more}}}}}}}]}}"#
            )
        };
        let whole = r#", "eTag": "x", "sequencer": "1""#;
        assert!(is_about(&body("d/2025-12-23-a.ndjson", whole), &uri));
        assert!(!is_about(&body("d/2025-12-23-b.ndjson", whole), &uri));
        assert!(is_about(&body("d/2025-12-23-a.ndjson", ""), &uri), "without an entity tag");
        assert!(!is_about("{}", &uri) && is_about("no JSON: d/2025-12-23-a.ndjson", &uri));
    }
}
