//! Dead-letter queue, for messages that can never be processed.

use crate::words::why;
use crate::{BadMessage, Message};
use anyhow::Context;
use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use std::time::Duration;

/// Time limits for connecting, and for an answer. The SDK has no default for the latter.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of a message attribute, in characters.
const MAX_ATTRIBUTE_CHARS: usize = 1000;
/// Size of a body from which there may be no room for attributes: queues accept 256 KiB, or 1 MiB if newer.
const LARGE_BODY_BYTES: usize = 240 << 10;

/// Dead-letter queue.
#[derive(Clone)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

impl DeadLetters {
    /// Creates the dead-letter queue for this URL, with AWS settings from the environment.
    pub async fn from_env(url: String) -> Self {
        Self { client: client_from_env(0).await, url }
    }

    /// Creates the dead-letter queue for this URL, or for that in the queue's redrive policy.
    pub(crate) async fn find(client: &Client, queue: &str, url: Option<String>) -> anyhow::Result<Self> {
        let url = match url {
            Some(url) => url,
            None => url_in_policy(client, queue).await?,
        };
        anyhow::ensure!(url != queue, "the dead-letter queue `{url}` is the queue itself: name another one");
        Ok(Self { client: client.clone(), url })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Sends a message with the attributes `reason`, `detail` and `source_message_id`. If the queue has no room
    /// for these, the message is sent without them, or else truncated with them, so that it is not delivered for ever.
    pub async fn put(&self, message: &Message, bad: &BadMessage) -> anyhow::Result<()> {
        let attribute = |text: &str| {
            MessageAttributeValue::builder().data_type("String").string_value(attribute_text(text)).build()
        };
        let body = message.body.as_str();
        let bare = |body: &str| self.client.send_message().queue_url(&self.url).message_body(body);
        let (reason, detail, id) = (attribute(bad.reason.as_str())?, attribute(&bad.detail)?, attribute(&message.id)?);
        let whole = |body: &str| {
            let told = bare(body).message_attributes("reason", reason.clone());
            told.message_attributes("detail", detail.clone()).message_attributes("source_message_id", id.clone())
        };
        let is_large = body.len() > LARGE_BODY_BYTES;
        let mut sent = whole(body).send().await;
        if sent.is_err() && is_large {
            sent = bare(body).send().await;
        }
        if sent.is_err() && is_large {
            tracing::warn!(
                message = message.id,
                bytes = body.len(),
                "the dead-letter queue takes only the beginning of a message"
            );
            sent = whole(&body[..body.floor_char_boundary(LARGE_BODY_BYTES)]).send().await;
        }
        sent.map_err(|e| anyhow::anyhow!("cannot write to the dead-letter queue `{}`: {}", self.url, why(&e)))?;
        Ok(())
    }
}

/// A text that SQS accepts as attribute: not empty, and without characters that XML cannot represent.
fn attribute_text(text: &str) -> String {
    let is_text = |c: &char| !c.is_control() && !matches!(c, '\u{fffe}' | '\u{ffff}');
    let text: String = text.chars().filter(is_text).take(MAX_ATTRIBUTE_CHARS).collect();
    if text.is_empty() { "-".to_owned() } else { text }
}

/// Client configured by the environment, whose receive requests wait for this time.
pub(crate) async fn client_from_env(poll_seconds: u32) -> Client {
    let answer_timeout = ANSWER_TIMEOUT + Duration::from_secs(poll_seconds.into());
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(answer_timeout).build();
    Client::new(&aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await)
}

/// URL of the dead-letter queue in the queue's redrive policy.
async fn url_in_policy(client: &Client, queue: &str) -> anyhow::Result<String> {
    let advice = || {
        format!(
            "the queue `{queue}` has no dead-letter queue: give it a redrive policy (`millwork bootstrap aws` does), or \
             name one with --dead-letter-queue-url"
        )
    };
    let attributes = client.get_queue_attributes().queue_url(queue).attribute_names(QueueAttributeName::RedrivePolicy);
    let attributes =
        attributes.send().await.map_err(|e| anyhow::anyhow!("cannot read the queue `{queue}`: {}", why(&e)))?;
    let policy = attributes.attributes().and_then(|all| all.get(&QueueAttributeName::RedrivePolicy));
    let policy: serde_json::Value = serde_json::from_str(policy.with_context(advice)?)?;
    let arn = policy.get("deadLetterTargetArn").and_then(|arn| arn.as_str()).with_context(advice)?;
    // Format: arn:aws:sqs:REGION:ACCOUNT:NAME.
    let mut parts = arn.rsplit(':');
    let (name, account) = (parts.next().with_context(advice)?, parts.next().with_context(advice)?);
    let found = client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
    let found = found.map_err(|e| anyhow::anyhow!("cannot find the dead-letter queue `{arn}`: {}", why(&e)))?;
    found.queue_url.with_context(advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_a_stranger_wrote_is_text_that_a_queue_takes() {
        assert_eq!(attribute_text("a\u{0}b\u{ffff}c\n\u{fffe}\u{1f600}"), "abc\u{1f600}");
        assert_eq!(attribute_text("\u{1b}"), "-");
        assert_eq!(attribute_text(&"é".repeat(2000)).chars().count(), MAX_ATTRIBUTE_CHARS);
    }
}
