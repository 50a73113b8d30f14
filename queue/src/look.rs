//! Query of a queue's depth, without receiving messages.

use crate::dead_letters::client_from_env;
use crate::words::why;
use aws_sdk_sqs::types::QueueAttributeName;
use std::time::Duration;

/// Approximate message counts of a queue, from SQS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Number of visible messages.
    pub waiting: u64,
    /// Number of messages that were received and not deleted yet.
    pub in_work: u64,
}

/// Time limit for querying a queue: 5 s, after which pages and reports go without its numbers.
const PATIENCE: Duration = Duration::from_secs(5);

/// Queries the message counts of a queue, with AWS settings from the environment, within 5 s.
pub async fn depth(queue: &str) -> anyhow::Result<QueueDepth> {
    let answer = tokio::time::timeout(PATIENCE, ask(queue)).await;
    answer.unwrap_or_else(|_| anyhow::bail!("the queue `{queue}` did not answer within {} s", PATIENCE.as_secs()))
}

async fn ask(queue: &str) -> anyhow::Result<QueueDepth> {
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
