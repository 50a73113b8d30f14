//! A look at a queue, which takes nothing from it.

use crate::dead_letters::client_from_env;
use crate::words::why;
use aws_sdk_sqs::types::QueueAttributeName;

/// Messages of a queue, as SQS counts them: about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDepth {
    /// Messages that wait.
    pub waiting: u64,
    /// Messages that somebody has received, and not deleted yet.
    pub in_work: u64,
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
