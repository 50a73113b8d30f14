//! The queue for messages that can never be processed.

use crate::words::why;
use crate::{BadMessage, Message};
use anyhow::Context;
use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::{MessageAttributeValue, QueueAttributeName};
use std::time::Duration;

/// Time that the server has to accept a connection, and to answer. The SDK itself waits for an answer for ever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Limit of the text in a message attribute, in characters.
const MAX_ATTRIBUTE_CHARS: usize = 1000;

/// The queue for messages that can never be processed.
#[derive(Clone)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

impl DeadLetters {
    /// The queue with this URL, in AWS as the environment says.
    pub async fn from_env(url: String) -> Self {
        Self { client: client_from_env(0).await, url }
    }

    /// The one with this URL, else the one that the queue's redrive policy names.
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

    /// Puts a message there, with the attributes `reason`, `detail` and `source_message_id`.
    pub async fn put(&self, message: &Message, bad: &BadMessage) -> anyhow::Result<()> {
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
            .map_err(|e| anyhow::anyhow!("cannot write to the dead-letter queue `{}`: {}", self.url, why(&e)))?;
        Ok(())
    }
}

/// A client as the environment says, whose receives wait so long for messages.
pub(crate) async fn client_from_env(poll_seconds: u32) -> Client {
    let answer_timeout = ANSWER_TIMEOUT + Duration::from_secs(poll_seconds.into());
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(answer_timeout).build();
    Client::new(&aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await)
}

/// The dead-letter queue that the queue's redrive policy names.
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
    // arn:aws:sqs:REGION:ACCOUNT:NAME
    let mut parts = arn.rsplit(':');
    let (name, account) = (parts.next().with_context(advice)?, parts.next().with_context(advice)?);
    let found = client.get_queue_url().queue_name(name).queue_owner_aws_account_id(account).send().await;
    let found = found.map_err(|e| anyhow::anyhow!("cannot find the dead-letter queue `{arn}`: {}", why(&e)))?;
    found.queue_url.with_context(advice)
}
