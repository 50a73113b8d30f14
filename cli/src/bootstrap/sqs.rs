//! Queues.

use super::aws::{Aws, failed};
use super::plan::{Action, MAX_RECEIVES, Queue, Source, VISIBILITY_SECONDS};
use anyhow::{Context, bail};
use aws_sdk_sqs::operation::get_queue_url::GetQueueUrlError;
use aws_sdk_sqs::types::QueueAttributeName;
use millwork_manifest::Service;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Id of Millwork's statement in a queue policy.
const STATEMENT: &str = "MillworkBucketEvents";

type Attributes = HashMap<QueueAttributeName, String>;

/// Address of a queue.
#[derive(Clone, Debug)]
pub(super) struct Address {
    pub(super) url: String,
    pub(super) arn: String,
}

impl Address {
    /// Account that owns the queue, from its ARN `arn:aws:sqs:REGION:ACCOUNT:NAME`.
    pub(super) fn account(&self) -> Option<&str> {
        self.arn.split(':').nth(4).filter(|account| !account.is_empty())
    }

    fn partition(&self) -> &str {
        self.arn.split(':').nth(1).unwrap_or("aws")
    }
}

/// Existing queues, by name.
pub(super) type Addresses = BTreeMap<String, Address>;

/// Reads a queue, and stores its address.
pub(super) async fn look(aws: &Aws, queue: &Queue, known: &mut Addresses) -> anyhow::Result<Action> {
    let Some((address, attributes)) = read(aws, &queue.name).await? else { return Ok(Action::Create) };
    known.insert(queue.name.clone(), address.clone());
    let differences = differences(queue, &address, &attributes, known)?;
    Ok(Action::from_differences(differences.into_iter().map(|(_, _, detail)| detail).collect()))
}

/// Creates or corrects a queue.
pub(super) async fn make(aws: &Aws, queue: &Queue, known: &mut Addresses) -> anyhow::Result<()> {
    let name = &queue.name;
    if !known.contains_key(name) {
        let created = aws.sqs.create_queue().queue_name(name).send().await;
        created.map_err(|e| failed(Service::Sqs, format!("cannot create queue `{name}`"), &e))?;
    }
    let (address, attributes) = read_new(aws, name).await?;
    known.insert(name.clone(), address.clone());
    let wanted: Attributes = differences(queue, &address, &attributes, known)?
        .into_iter()
        .filter_map(|(attribute, value, _)| Some((attribute, value?)))
        .collect();
    if !wanted.is_empty() {
        let request = aws.sqs.set_queue_attributes().queue_url(&address.url).set_attributes(Some(wanted));
        request
            .send()
            .await
            .map_err(|e| failed(Service::Sqs, format!("cannot set attributes of queue `{name}`"), &e))?;
    }
    Ok(())
}

/// Reads a queue that was just created, which can take seconds to become visible.
async fn read_new(aws: &Aws, name: &str) -> anyhow::Result<(Address, Attributes)> {
    for _ in 0..10 {
        if let Some(found) = read(aws, name).await? {
            return Ok(found);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    bail!("queue `{name}` was created and cannot be found")
}

async fn read(aws: &Aws, name: &str) -> anyhow::Result<Option<(Address, Attributes)>> {
    let url = match aws.sqs.get_queue_url().queue_name(name).send().await {
        Ok(found) => found.queue_url.with_context(|| format!("queue `{name}` has no URL"))?,
        Err(e) if matches!(e.as_service_error(), Some(GetQueueUrlError::QueueDoesNotExist(_))) => return Ok(None),
        Err(e) => return Err(failed(Service::Sqs, format!("cannot find queue `{name}`"), &e)),
    };
    let request = aws.sqs.get_queue_attributes().queue_url(&url).attribute_names(QueueAttributeName::All);
    let found = request.send().await.map_err(|e| failed(Service::Sqs, format!("cannot read queue `{name}`"), &e))?;
    let attributes = found.attributes.unwrap_or_default();
    let arn = attributes.get(&QueueAttributeName::QueueArn).with_context(|| format!("queue `{name}` has no ARN"))?;
    Ok(Some((Address { url, arn: arn.clone() }, attributes)))
}

/// Difference of a queue: the attribute, its new value unless that depends on a queue that does not exist yet, and a
/// description.
type Difference = (QueueAttributeName, Option<String>, String);

fn differences(
    queue: &Queue,
    address: &Address,
    now: &Attributes,
    known: &Addresses,
) -> anyhow::Result<Vec<Difference>> {
    let mut found = own_differences(queue, now);
    let Some(source) = &queue.source else { return Ok(found) };
    let dead_letters = known.get(&source.dead_letters).map(|address| address.arn.as_str());
    let redrive = now.get(&QueueAttributeName::RedrivePolicy).and_then(|text| serde_json::from_str(text).ok());
    if !redrives(redrive.as_ref(), dead_letters) {
        let value = dead_letters.map(|arn| json!({"deadLetterTargetArn": arn, "maxReceiveCount": MAX_RECEIVES}));
        let detail = format!("dead letters → {} after {MAX_RECEIVES} deliveries", source.dead_letters);
        found.push((QueueAttributeName::RedrivePolicy, value.map(|value| value.to_string()), detail));
    }
    let policy = now.get(&QueueAttributeName::Policy).filter(|text| !text.is_empty());
    let policy = policy.map(|text| serde_json::from_str(text)).transpose();
    let policy = policy.with_context(|| format!("the policy of queue `{}` is not JSON", queue.name))?;
    if let Some(policy) = with_statement(policy.as_ref(), statement(source, address)) {
        let detail = format!("policy lets bucket {} send", source.bucket);
        found.push((QueueAttributeName::Policy, Some(policy.to_string()), detail));
    }
    Ok(found)
}

/// Differences in attributes that depend on no other resource.
fn own_differences(queue: &Queue, now: &Attributes) -> Vec<Difference> {
    let mut found = Vec::new();
    let numbers = [
        (QueueAttributeName::MessageRetentionPeriod, queue.retention_seconds),
        (QueueAttributeName::VisibilityTimeout, VISIBILITY_SECONDS),
    ];
    for (attribute, wanted) in numbers {
        let is = now.get(&attribute).map_or("unset", String::as_str);
        if is != wanted.to_string() {
            let detail = format!("{attribute} {is} → {wanted}");
            found.push((attribute, Some(wanted.to_string()), detail));
        }
    }
    let is_set = |attribute| now.get(&attribute).is_some_and(|value| !value.is_empty() && value != "false");
    // Encryption with a key of the customer's is kept.
    if !is_set(QueueAttributeName::SqsManagedSseEnabled) && !is_set(QueueAttributeName::KmsMasterKeyId) {
        let detail = "encryption off → managed by SQS".to_owned();
        found.push((QueueAttributeName::SqsManagedSseEnabled, Some("true".to_owned()), detail));
    }
    found
}

fn redrives(now: Option<&Value>, dead_letters: Option<&str>) -> bool {
    let (Some(now), Some(arn)) = (now, dead_letters) else { return false };
    // SQS returns the count as a number or as text.
    let count = now["maxReceiveCount"].to_string();
    now["deadLetterTargetArn"] == arn && count.trim_matches('"') == MAX_RECEIVES.to_string()
}

/// Policy statement that allows S3 to send for this bucket of this account only.
fn statement(source: &Source, queue: &Address) -> Value {
    let mut condition = json!({
        "ArnEquals": {"aws:SourceArn": format!("arn:{}:s3:::{}", queue.partition(), source.bucket)}
    });
    if let Some(account) = queue.account() {
        condition["StringEquals"] = json!({"aws:SourceAccount": account});
    }
    json!({
        "Sid": STATEMENT,
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue.arn,
        "Condition": condition,
    })
}

/// The policy with Millwork's statement added; `None` if it is there already. Other statements are kept.
fn with_statement(policy: Option<&Value>, statement: Value) -> Option<Value> {
    let mut policy = policy.cloned().unwrap_or_else(|| json!({"Version": "2012-10-17"}));
    let mut statements = match policy["Statement"].take() {
        Value::Array(statements) => statements,
        Value::Null => Vec::new(),
        single => vec![single],
    };
    if statements.contains(&statement) {
        return None;
    }
    statements.retain(|found| found["Sid"] != STATEMENT);
    statements.push(statement);
    policy["Statement"] = Value::Array(statements);
    Some(policy)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(name: &str) -> Address {
        Address { url: format!("u/{name}"), arn: format!("arn:aws-cn:sqs:cn-north-1:123456789012:{name}") }
    }

    fn queue() -> Queue {
        let source = Source { bucket: "in".to_owned(), dead_letters: "dead".to_owned() };
        Queue { name: "q".to_owned(), retention_seconds: 345_600, source: Some(source) }
    }

    fn found(now: &Attributes) -> Vec<Difference> {
        let known = Addresses::from([("dead".to_owned(), address("dead"))]);
        differences(&queue(), &address("q"), now, &known).unwrap()
    }

    fn as_wanted() -> Attributes {
        found(&Attributes::new()).into_iter().map(|(name, value, _)| (name, value.unwrap())).collect()
    }

    #[test]
    fn what_is_set_is_found_unchanged() {
        assert_eq!(as_wanted().len(), 5);
        assert_eq!(found(&as_wanted()), []);
        let mut now = as_wanted();
        let target = address("dead").arn;
        let as_text = json!({"maxReceiveCount": "5", "deadLetterTargetArn": target}).to_string();
        now.insert(QueueAttributeName::RedrivePolicy, as_text);
        assert_eq!(found(&now), []);
    }

    #[test]
    fn a_difference_says_what_it_was() {
        let mut now = as_wanted();
        now.insert(QueueAttributeName::VisibilityTimeout, "30".to_owned());
        let found = found(&now);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].2, "VisibilityTimeout 30 → 360");
    }

    #[test]
    fn a_key_of_ones_own_stays() {
        let mut now = as_wanted();
        now.insert(QueueAttributeName::SqsManagedSseEnabled, "false".to_owned());
        assert_eq!(found(&now).len(), 1);
        now.insert(QueueAttributeName::KmsMasterKeyId, "alias/own".to_owned());
        assert_eq!(found(&now), []);
    }

    #[test]
    fn statements_of_others_stay() {
        let other = json!({"Sid": "Other", "Effect": "Deny"});
        let mut now = as_wanted();
        now.insert(QueueAttributeName::Policy, json!({"Id": "theirs", "Statement": other.clone()}).to_string());
        let policy: Value = serde_json::from_str(found(&now)[0].1.as_deref().unwrap()).unwrap();
        assert_eq!((&policy["Id"], &policy["Statement"][0]), (&json!("theirs"), &other));
        let ours = &policy["Statement"][1];
        assert_eq!(ours["Condition"]["ArnEquals"]["aws:SourceArn"], "arn:aws-cn:s3:::in");
        assert_eq!(ours["Condition"]["StringEquals"]["aws:SourceAccount"], "123456789012");
        now.insert(QueueAttributeName::Policy, policy.to_string());
        assert_eq!(found(&now), []);
    }
}
