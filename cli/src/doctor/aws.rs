//! Checks of queues and uploads, by actual requests.

use crate::refusal::why;
use aws_config::BehaviorVersion;
use aws_config::timeout::TimeoutConfig;
use aws_sdk_sqs::types::QueueAttributeName;
use millwork_api::Check;
use millwork_diagnosis::many;
use millwork_manifest::Service;
use std::time::Duration;

/// Time limits for connecting, and for an answer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Reads the number of messages in a queue. Dead letters are a finding.
pub(super) async fn queue(name: &str, url: &str) -> Check {
    let timeouts = TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(ANSWER_TIMEOUT).build();
    let config = aws_config::defaults(BehaviorVersion::latest()).timeout_config(timeouts).load().await;
    let asked = aws_sdk_sqs::Client::new(&config)
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
        .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
        .send()
        .await;
    let attributes = match asked {
        Ok(output) => output.attributes,
        Err(error) => {
            let found = why(Service::Sqs, Some("sqs:GetQueueAttributes"), &error);
            return Check::broken(name, found, "allow sqs:GetQueueAttributes, or correct the queue's URL");
        }
    };
    let number = |name| attributes.as_ref().and_then(|all| all.get(&name)?.parse::<u64>().ok());
    let waiting = number(QueueAttributeName::ApproximateNumberOfMessages);
    let in_work = number(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    let (Some(waiting), Some(in_work)) = (waiting, in_work) else {
        return Check::unknown(name, "the queue answers without the numbers of its messages".to_owned());
    };
    match name {
        "dead letters" if waiting > 0 => Check::warning(
            name,
            many(waiting, "message"),
            "`millwork queues dead-letters` tells why; mend that, then put them back: `millwork queues redrive`",
        ),
        _ => Check::fine(name, format!("{waiting} messages wait, {in_work} are in work")),
    }
}

/// Begins an upload and aborts it: without permission to abort, uploads of dead attempts would remain for ever.
pub(super) async fn uploads(bucket: &str, prefix: &str) -> Check {
    let name = format!("uploads s3://{bucket}");
    let client = millwork_storage::client_from_env().await;
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    let key = format!("{prefix}_millwork/.doctor-{}", std::process::id());
    let begun = client.create_multipart_upload().bucket(bucket).key(&key).send().await;
    let id = match begun {
        Ok(output) => output.upload_id,
        Err(error) => {
            let found = format!("none can be begun: {}", why(Service::S3, Some("s3:PutObject"), &error));
            return Check::broken(&name, found, "allow s3:PutObject there");
        }
    };
    let Some(id) = id else {
        return Check::unknown(&name, "one was begun, and the store did not tell its id".to_owned());
    };
    match client.abort_multipart_upload().bucket(bucket).key(&key).upload_id(id).send().await {
        Ok(_) => Check::fine(&name, "they can be begun and ended"),
        Err(error) => {
            let found = format!("none can be ended: {}", why(Service::S3, Some("s3:AbortMultipartUpload"), &error));
            Check::broken(&name, found, "allow s3:AbortMultipartUpload there: uploads of dead attempts stay otherwise")
        }
    }
}
