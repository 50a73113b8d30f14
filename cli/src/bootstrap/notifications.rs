//! Notifications from buckets to queues.

use super::aws::{Aws, failed};
use super::plan::{Action, Notification};
use super::sqs::Addresses;
use anyhow::Context;
use aws_sdk_s3::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_s3::operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput as Found;
use aws_sdk_s3::operation::put_bucket_notification_configuration::PutBucketNotificationConfigurationError;
use aws_sdk_s3::types::{
    Event, FilterRule, FilterRuleName, NotificationConfiguration, NotificationConfigurationFilter, QueueConfiguration,
    S3KeyFilter,
};
use millwork_manifest::Service;
use std::collections::BTreeSet;
use std::time::Duration;

/// Pauses in seconds between attempts, while S3 is not allowed to send yet: a new queue policy takes effect within a
/// minute.
const WAITS_SECONDS: [u64; 7] = [1, 2, 4, 8, 15, 15, 15];

/// Reads the notifications of a bucket to a queue; none if the bucket does not exist.
pub(super) async fn look(
    aws: &Aws,
    wanted: &Notification,
    bucket_is_new: bool,
    queues: &Addresses,
) -> anyhow::Result<Action> {
    if bucket_is_new {
        return Ok(Action::Create);
    }
    let found = read(aws, &wanted.bucket).await?;
    let Some(there) = found.queue_configurations().iter().find(|there| there.id() == Some(&wanted.id)) else {
        return Ok(Action::Create);
    };
    Ok(Action::from_differences(differences(wanted, there, queues)))
}

/// Adds the notification of a bucket to a queue. Notifications to others are kept.
pub(super) async fn make(aws: &Aws, wanted: &Notification, queues: &Addresses) -> anyhow::Result<()> {
    let (bucket, queue) = (&wanted.bucket, &wanted.queue);
    let address = queues.get(queue).with_context(|| format!("queue `{queue}` is not there"))?;
    let configuration = merged(wanted, &address.arn, read(aws, bucket).await?)?;
    let request = aws.s3.put_bucket_notification_configuration().bucket(bucket);
    let request = request.notification_configuration(configuration);
    let request = request.set_expected_bucket_owner(address.account().map(str::to_owned));
    for seconds in WAITS_SECONDS {
        match request.clone().send().await {
            Err(e) if cannot_send_yet(&e) => tokio::time::sleep(Duration::from_secs(seconds)).await,
            done => return done.map(drop).map_err(|e| refused(wanted, &e)),
        }
    }
    request.send().await.map(drop).map_err(|e| refused(wanted, &e))
}

async fn read(aws: &Aws, bucket: &str) -> anyhow::Result<Found> {
    let found = aws.s3.get_bucket_notification_configuration().bucket(bucket).send().await;
    found.map_err(|e| failed(Service::S3, format!("cannot read the notifications of bucket `{bucket}`"), &e))
}

type PutError = SdkError<PutBucketNotificationConfigurationError>;

fn says(error: &PutError, word: &str) -> bool {
    error.message().is_some_and(|message| message.to_ascii_lowercase().contains(word))
}

/// Matches the error "Unable to validate the following destination configurations".
fn cannot_send_yet(error: &PutError) -> bool {
    says(error, "unable to validate")
}

fn refused(wanted: &Notification, error: &PutError) -> anyhow::Error {
    let Notification { bucket, queue, .. } = wanted;
    let refused = failed(Service::S3, format!("cannot make bucket `{bucket}` tell queue `{queue}`"), error);
    // Matches "Configurations overlap" and "Configuration is ambiguously defined. Cannot have overlapping suffixes in
    // two rules".
    if says(error, "overlap") || says(error, "ambiguous") {
        return anyhow::anyhow!(
            "{refused}; bucket `{bucket}` tells somebody else of the same objects already, and S3 allows one: remove \
             that notification, give both prefixes that do not overlap (--input-prefix), or let EventBridge or SNS \
             tell both"
        );
    }
    refused
}

fn differences(wanted: &Notification, there: &QueueConfiguration, queues: &Addresses) -> Vec<String> {
    let mut found = Vec::new();
    if queues.get(&wanted.queue).is_none_or(|address| address.arn != there.queue_arn()) {
        found.push(format!("queue → {}", wanted.queue));
    }
    let events: BTreeSet<&str> = there.events().iter().map(Event::as_str).collect();
    if events != wanted.events.iter().copied().collect() {
        found.push(format!("events → {}", wanted.events.join(", ")));
    }
    // S3 returns these names as `Prefix` and `Suffix`.
    let filter = |name: &str| {
        let mut rules =
            there.filter().and_then(|filter| filter.key()).map(|key| key.filter_rules()).unwrap_or_default().iter();
        let rule = rules.find(|rule| rule.name().is_some_and(|found| found.as_str().eq_ignore_ascii_case(name)));
        rule.and_then(FilterRule::value).unwrap_or_default()
    };
    for (name, value) in [("prefix", wanted.prefix.as_str()), ("suffix", wanted.suffix)] {
        if filter(name) != value {
            found.push(format!("{name} `{}` → `{value}`", filter(name)));
        }
    }
    found
}

fn merged(wanted: &Notification, queue_arn: &str, found: Found) -> anyhow::Result<NotificationConfiguration> {
    let rules = [(FilterRuleName::Prefix, wanted.prefix.as_str()), (FilterRuleName::Suffix, wanted.suffix)];
    let rules: Vec<FilterRule> = rules
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(name, value)| FilterRule::builder().name(name).value(value).build())
        .collect();
    let filter = (!rules.is_empty()).then(|| {
        let key = S3KeyFilter::builder().set_filter_rules(Some(rules)).build();
        NotificationConfigurationFilter::builder().key(key).build()
    });
    let ours = QueueConfiguration::builder()
        .id(&wanted.id)
        .queue_arn(queue_arn)
        .set_events(Some(wanted.events.iter().map(|event| Event::from(*event)).collect()))
        .set_filter(filter)
        .build()?;
    let mut queues = found.queue_configurations.unwrap_or_default();
    queues.retain(|there| there.id() != Some(&wanted.id));
    queues.push(ours);
    Ok(NotificationConfiguration::builder()
        .set_queue_configurations(Some(queues))
        .set_topic_configurations(found.topic_configurations)
        .set_lambda_function_configurations(found.lambda_function_configurations)
        .set_event_bridge_configuration(found.event_bridge_configuration)
        .build())
}

#[cfg(test)]
mod tests {
    use super::super::sqs::Address;
    use super::*;
    use aws_sdk_s3::types::EventBridgeConfiguration;

    const ARN: &str = "arn:aws:sqs:eu-west-1:123456789012:q";

    fn wanted() -> Notification {
        Notification {
            id: "millwork-q".to_owned(),
            bucket: "b".to_owned(),
            queue: "q".to_owned(),
            events: &["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
            prefix: "in/".to_owned(),
            suffix: "",
        }
    }

    fn known() -> Addresses {
        Addresses::from([("q".to_owned(), Address { url: "u".to_owned(), arn: ARN.to_owned() })])
    }

    fn empty() -> Found {
        Found::builder().build()
    }

    #[test]
    fn what_was_made_is_found_unchanged() {
        let made = merged(&wanted(), ARN, empty()).unwrap();
        assert_eq!(differences(&wanted(), &made.queue_configurations()[0], &known()), Vec::<String>::new());
        let other = Notification { prefix: "new/".to_owned(), events: &["s3:ObjectCreated:*"], ..wanted() };
        assert_eq!(
            differences(&other, &made.queue_configurations()[0], &known()),
            ["events → s3:ObjectCreated:*", "prefix `in/` → `new/`"]
        );
    }

    #[test]
    fn what_others_are_told_stays() {
        let other = Notification { id: "other".to_owned(), ..wanted() };
        let theirs = merged(&other, "arn:theirs", empty()).unwrap();
        let bridge = EventBridgeConfiguration::builder().build();
        let found = Found::builder()
            .set_queue_configurations(theirs.queue_configurations.clone())
            .event_bridge_configuration(bridge.clone())
            .build();
        let once = merged(&wanted(), ARN, found).unwrap();
        assert_eq!(once.queue_configurations()[0], theirs.queue_configurations()[0]);
        assert_eq!(once.event_bridge_configuration(), Some(&bridge));
        let again = Found::builder().set_queue_configurations(once.queue_configurations.clone()).build();
        assert_eq!(merged(&wanted(), ARN, again).unwrap().queue_configurations(), once.queue_configurations());
    }
}
