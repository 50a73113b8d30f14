//! Queue depth.

use crate::Consumer;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::DisplayErrorContext;
use aws_sdk_sqs::types::QueueAttributeName;

/// Depths of a queue and its dead-letter queue. SQS counts approximately, with a minute's delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Depth {
    /// Number of messages, including those being handled.
    pub messages: u64,
    /// Number of messages in the dead-letter queue.
    pub dead_letters: u64,
}

impl Consumer {
    /// Queries the depth of both queues.
    pub async fn depth(&self) -> anyhow::Result<Depth> {
        let (client, queue, dead_letters) = self.queues();
        of(client, queue, dead_letters).await
    }
}

pub(crate) async fn of(client: &Client, queue: &str, dead_letters: &str) -> anyhow::Result<Depth> {
    Ok(Depth { messages: messages(client, queue).await?, dead_letters: messages(client, dead_letters).await? })
}

async fn messages(client: &Client, url: &str) -> anyhow::Result<u64> {
    use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
    let wanted = [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible];
    let request = client.get_queue_attributes().queue_url(url).set_attribute_names(Some(wanted.to_vec()));
    let answer = request.send().await;
    let answer =
        answer.map_err(|e| anyhow::anyhow!("cannot count the messages of `{url}`: {}", DisplayErrorContext(e)))?;
    let numbers = wanted.iter().map(|name| answer.attributes().and_then(|all| all.get(name)?.parse::<u64>().ok()));
    numbers.sum::<Option<u64>>().ok_or_else(|| anyhow::anyhow!("`{url}` does not tell how many messages it has"))
}
