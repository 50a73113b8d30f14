//! Buckets: encryption, public access, and lifecycle.

use super::aws::{Aws, failed, unless};
use super::plan::{Action, Bucket, Does, Rule};
use anyhow::{bail, ensure};
use aws_sdk_s3::error::BuildError;
use aws_sdk_s3::operation::create_bucket::CreateBucketError;
use aws_sdk_s3::types::{
    AbortIncompleteMultipartUpload, BucketLifecycleConfiguration, BucketLocationConstraint, CreateBucketConfiguration,
    ExpirationStatus, LifecycleExpiration, LifecycleRule, LifecycleRuleFilter, PublicAccessBlockConfiguration,
    ServerSideEncryption, ServerSideEncryptionByDefault, ServerSideEncryptionConfiguration, ServerSideEncryptionRule,
    TransitionDefaultMinimumObjectSize,
};
use millwork_manifest::Service;

/// Present configuration of a bucket.
#[derive(Debug, Default)]
struct Found {
    is_encrypted: bool,
    is_closed: bool,
    rules: Vec<LifecycleRule>,
    /// Lifecycle setting that would be lost if it were not sent back.
    minimum_size: Option<TransitionDefaultMinimumObjectSize>,
}

/// Changes that an existing bucket needs.
#[derive(Debug, Default, PartialEq)]
struct Changes {
    encrypt: bool,
    close: bool,
    rules: Option<Vec<LifecycleRule>>,
    details: Vec<String>,
    /// Prefix of objects that would expire earlier than before.
    shortens: Option<String>,
}

/// Reads a bucket, which must belong to the account, where that is known.
pub(super) async fn look(aws: &Aws, bucket: &Bucket, account: Option<&str>) -> anyhow::Result<Action> {
    if !is_there(aws, &bucket.name, account).await? {
        return Ok(Action::Create);
    }
    let found = read(aws, &bucket.name).await?;
    let changes = changes(bucket, &found)?;
    if let (Some(prefix), false) = (&changes.shortens, bucket.may_shorten) {
        refuse_to_shorten(aws, &bucket.name, prefix).await?;
    }
    Ok(Action::from_differences(changes.details))
}

/// Creates or corrects a bucket.
pub(super) async fn make(aws: &Aws, bucket: &Bucket, account: Option<&str>) -> anyhow::Result<()> {
    let name = bucket.name.as_str();
    if !is_there(aws, name, account).await? {
        create(aws, name).await?;
    }
    let found = read(aws, name).await?;
    let changes = changes(bucket, &found)?;
    let owner = account.map(str::to_owned);
    if changes.close {
        let request = aws.s3.put_public_access_block().bucket(name).public_access_block_configuration(all_blocked());
        let done = request.set_expected_bucket_owner(owner.clone()).send().await;
        done.map_err(|e| failed(Service::S3, format!("cannot block public access to bucket `{name}`"), &e))?;
    }
    if changes.encrypt {
        let request = aws.s3.put_bucket_encryption().bucket(name).server_side_encryption_configuration(encryption()?);
        let done = request.set_expected_bucket_owner(owner.clone()).send().await;
        done.map_err(|e| failed(Service::S3, format!("cannot set the encryption of bucket `{name}`"), &e))?;
    }
    if let Some(rules) = changes.rules {
        let lifecycle = BucketLifecycleConfiguration::builder().set_rules(Some(rules)).build()?;
        let request = aws.s3.put_bucket_lifecycle_configuration().bucket(name).lifecycle_configuration(lifecycle);
        let request = request.set_transition_default_minimum_object_size(found.minimum_size);
        let done = request.set_expected_bucket_owner(owner).send().await;
        done.map_err(|e| failed(Service::S3, format!("cannot set the lifecycle of bucket `{name}`"), &e))?;
    }
    Ok(())
}

async fn is_there(aws: &Aws, name: &str, account: Option<&str>) -> anyhow::Result<bool> {
    let request = aws.s3.head_bucket().bucket(name).set_expected_bucket_owner(account.map(str::to_owned));
    let region = match request.send().await {
        Ok(found) => found.bucket_region,
        Err(error) => {
            let response = error.raw_response();
            match response.map(|response| response.status().as_u16()) {
                Some(404) => return Ok(false),
                Some(403) => return Err(somebody_elses(name)),
                _ => {}
            }
            let region = response.and_then(|response| response.headers().get("x-amz-bucket-region"));
            match region.filter(|region| **region != *aws.region) {
                Some(region) => Some(region.to_owned()),
                None => return Err(failed(Service::S3, format!("cannot find bucket `{name}`"), &error)),
            }
        }
    };
    // S3 sends events only to queues in the region of the bucket.
    let is_elsewhere = region.as_ref().is_some_and(|region| !region.is_empty() && *region != aws.region);
    ensure!(
        !is_elsewhere,
        "bucket `{name}` is in region {}, not in {}: set AWS_REGION, or choose another name",
        region.unwrap_or_default(),
        aws.region
    );
    Ok(true)
}

fn somebody_elses(name: &str) -> anyhow::Error {
    anyhow::anyhow!(
        "bucket `{name}` belongs to somebody else, or these credentials may not see it: all AWS accounts share the \
         names of buckets, so choose another, with --prefix or by name"
    )
}

async fn create(aws: &Aws, name: &str) -> anyhow::Result<()> {
    // The region us-east-1 must not be named in the request.
    let place = (aws.region != "us-east-1").then(|| {
        let region = BucketLocationConstraint::from(aws.region.as_str());
        CreateBucketConfiguration::builder().location_constraint(region).build()
    });
    let Err(error) = aws.s3.create_bucket().bucket(name).set_create_bucket_configuration(place).send().await else {
        return Ok(());
    };
    match error.as_service_error() {
        // Another process was faster.
        Some(CreateBucketError::BucketAlreadyOwnedByYou(_)) => Ok(()),
        Some(CreateBucketError::BucketAlreadyExists(_)) => Err(somebody_elses(name)),
        _ => Err(failed(Service::S3, format!("cannot create bucket `{name}`"), &error)),
    }
}

async fn read(aws: &Aws, name: &str) -> anyhow::Result<Found> {
    let encryption = aws.s3.get_bucket_encryption().bucket(name).send().await;
    let encryption = unless(
        "ServerSideEncryptionConfigurationNotFoundError",
        encryption,
        format!("cannot read the encryption of bucket `{name}`"),
    )?;
    let encryption = encryption.and_then(|found| found.server_side_encryption_configuration);
    let access = aws.s3.get_public_access_block().bucket(name).send().await;
    let access =
        unless("NoSuchPublicAccessBlockConfiguration", access, format!("cannot read who may see bucket `{name}`"))?;
    let lifecycle = aws.s3.get_bucket_lifecycle_configuration().bucket(name).send().await;
    let lifecycle =
        unless("NoSuchLifecycleConfiguration", lifecycle, format!("cannot read the lifecycle of bucket `{name}`"))?;
    let minimum_size = lifecycle.as_ref().and_then(|found| found.transition_default_minimum_object_size.clone());
    Ok(Found {
        // Encryption with a key of the customer's is kept.
        is_encrypted: encryption.is_some_and(|found| {
            found.rules().iter().any(|rule| rule.apply_server_side_encryption_by_default().is_some())
        }),
        is_closed: access.and_then(|found| found.public_access_block_configuration) == Some(all_blocked()),
        rules: lifecycle.and_then(|found| found.rules).unwrap_or_default(),
        minimum_size,
    })
}

fn changes(bucket: &Bucket, found: &Found) -> anyhow::Result<Changes> {
    let mut changes = Changes { encrypt: !found.is_encrypted, close: !found.is_closed, ..Changes::default() };
    if changes.encrypt {
        changes.details.push("encryption off → SSE-S3".to_owned());
    }
    if changes.close {
        changes.details.push("public access → blocked".to_owned());
    }
    let is_own = |rule: &LifecycleRule| bucket.own_rules.iter().any(|id| rule.id() == Some(id));
    let mut rules: Vec<LifecycleRule> = found.rules.iter().filter(|rule| !is_own(rule)).cloned().collect();
    let before = changes.details.len();
    for wanted in &bucket.rules {
        let there = found.rules.iter().find(|rule| rule.id() == Some(&wanted.id));
        if there.and_then(as_rule).as_ref() != Some(wanted) {
            changes.details.push(format!("lifecycle → {}", described(wanted)));
            if shortens(there, wanted) {
                changes.shortens = Some(wanted.prefix.clone());
            }
        }
        rules.push(as_sdk(wanted)?);
    }
    for rule in found.rules.iter().filter(|rule| is_own(rule)) {
        let id = rule.id().unwrap_or_default();
        if bucket.rules.iter().all(|wanted| wanted.id != id) {
            changes.details.push(format!("lifecycle rule {id} → none"));
        }
    }
    changes.rules = (changes.details.len() > before).then_some(rules);
    Ok(changes)
}

fn described(rule: &Rule) -> String {
    let what = match rule.prefix.as_str() {
        "" => "everything".to_owned(),
        prefix => format!("{prefix}*"),
    };
    match rule.does {
        Does::ExpireAfterDays(days) => format!("{what} expires after {days} days"),
        Does::AbortUploadsAfterDays(days) => format!("unfinished uploads are aborted after {days} days"),
    }
}

/// Tells whether the rule makes objects expire earlier.
fn shortens(there: Option<&LifecycleRule>, wanted: &Rule) -> bool {
    let Does::ExpireAfterDays(days) = wanted.does else { return false };
    match there.and_then(as_rule) {
        Some(Rule { prefix, does: Does::ExpireAfterDays(before), .. }) => {
            days < before || !wanted.prefix.starts_with(&prefix)
        }
        _ => true,
    }
}

/// Refuses to shorten the life of objects in a bucket without explicit consent, so that naming a bucket never deletes
/// data.
async fn refuse_to_shorten(aws: &Aws, name: &str, prefix: &str) -> anyhow::Result<()> {
    let request = aws.s3.list_objects_v2().bucket(name).prefix(prefix).max_keys(1);
    let listed = request.send().await.map_err(|e| failed(Service::S3, format!("cannot list bucket `{name}`"), &e))?;
    if listed.contents().is_empty() {
        return Ok(());
    }
    let which = if prefix.is_empty() { String::new() } else { format!(" under {prefix}") };
    bail!(
        "bucket `{name}` holds objects{which} that would be deleted earlier than now: say --expire-input-days 7 if that \
         is meant, another number to keep them longer, or 0 to keep them for good"
    )
}

/// Parses a lifecycle rule that Millwork wrote; `None` for any other rule.
fn as_rule(rule: &LifecycleRule) -> Option<Rule> {
    let days = rule.expiration().and_then(LifecycleExpiration::days);
    let abort = rule.abort_incomplete_multipart_upload().and_then(|abort| abort.days_after_initiation());
    let does = match (days, abort) {
        (Some(days), None) => Does::ExpireAfterDays(days),
        (None, Some(days)) => Does::AbortUploadsAfterDays(days),
        _ => return None,
    };
    let filter = rule.filter();
    let narrowed = filter.is_some_and(|filter| {
        filter.tag().is_some()
            || filter.and().is_some()
            || filter.object_size_greater_than().is_some()
            || filter.object_size_less_than().is_some()
    });
    let is_on = *rule.status() == ExpirationStatus::Enabled && !narrowed;
    let prefix = filter.and_then(LifecycleRuleFilter::prefix).unwrap_or_default().to_owned();
    is_on.then(|| Rule { id: rule.id().unwrap_or_default().to_owned(), prefix, does })
}

fn as_sdk(rule: &Rule) -> Result<LifecycleRule, BuildError> {
    let made = LifecycleRule::builder()
        .id(&rule.id)
        .status(ExpirationStatus::Enabled)
        .filter(LifecycleRuleFilter::builder().prefix(&rule.prefix).build());
    match rule.does {
        Does::ExpireAfterDays(days) => made.expiration(LifecycleExpiration::builder().days(days).build()),
        Does::AbortUploadsAfterDays(days) => made.abort_incomplete_multipart_upload(
            AbortIncompleteMultipartUpload::builder().days_after_initiation(days).build(),
        ),
    }
    .build()
}

fn all_blocked() -> PublicAccessBlockConfiguration {
    PublicAccessBlockConfiguration::builder()
        .block_public_acls(true)
        .ignore_public_acls(true)
        .block_public_policy(true)
        .restrict_public_buckets(true)
        .build()
}

fn encryption() -> Result<ServerSideEncryptionConfiguration, BuildError> {
    let default = ServerSideEncryptionByDefault::builder().sse_algorithm(ServerSideEncryption::Aes256).build()?;
    let rule = ServerSideEncryptionRule::builder().apply_server_side_encryption_by_default(default).build();
    ServerSideEncryptionConfiguration::builder().rules(rule).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, does: Does) -> Rule {
        Rule { id: id.to_owned(), prefix: "in/".to_owned(), does }
    }

    fn bucket(days: i32) -> Bucket {
        Bucket {
            name: "b".to_owned(),
            rules: vec![rule("millwork-expire", Does::ExpireAfterDays(days))],
            own_rules: vec!["millwork-expire".to_owned()],
            may_shorten: false,
        }
    }

    fn found(rules: &[Rule]) -> Found {
        let rules = rules.iter().map(|rule| as_sdk(rule).unwrap()).collect();
        Found { is_encrypted: true, is_closed: true, rules, minimum_size: None }
    }

    #[test]
    fn rules_of_others_stay() {
        let theirs = rule("theirs", Does::ExpireAfterDays(1));
        let found = found(&[theirs.clone(), rule("millwork-expire", Does::ExpireAfterDays(3))]);
        let changes = changes(&bucket(7), &found).unwrap();
        let rules: Vec<Rule> = changes.rules.unwrap().iter().filter_map(as_rule).collect();
        assert_eq!(rules, [theirs, rule("millwork-expire", Does::ExpireAfterDays(7))]);
        assert_eq!(changes.details, ["lifecycle → in/* expires after 7 days"]);
        assert_eq!(changes.shortens, None);
    }

    #[test]
    fn uploads_that_were_aborted_too_early_get_their_week() {
        let names = super::super::names::tests::names();
        for wanted in super::super::plan::buckets(&names, None) {
            let abort = |id: &str, days| Rule {
                id: id.to_owned(),
                prefix: String::new(),
                does: Does::AbortUploadsAfterDays(days),
            };
            let theirs = abort("theirs", 1);
            let own = |days| abort("millwork-abort-uploads", days);
            let others = wanted.rules.iter().filter(|rule| rule.id != own(0).id);
            let rules: Vec<Rule> = [theirs.clone(), own(2)].into_iter().chain(others.cloned()).collect();
            let first = changes(&wanted, &found(&rules)).unwrap();
            assert_eq!(first.details, ["lifecycle → unfinished uploads are aborted after 7 days"]);
            let corrected = first.rules.unwrap();
            let kept: Vec<Rule> = corrected.iter().filter_map(as_rule).collect();
            assert!(kept.contains(&theirs) && kept.contains(&own(7)) && !kept.contains(&own(2)), "{kept:?}");
            // A second round finds nothing to do.
            let again = Found { is_encrypted: true, is_closed: true, rules: corrected, minimum_size: None };
            assert_eq!(changes(&wanted, &again).unwrap(), Changes::default());
        }
    }

    #[test]
    fn what_is_as_it_must_be_is_left_alone() {
        let unchanged = changes(&bucket(7), &found(&bucket(7).rules)).unwrap();
        assert_eq!(unchanged, Changes::default());
    }

    #[test]
    fn objects_that_would_go_earlier_are_told_of() {
        let shortens = |before: &[Rule]| changes(&bucket(7), &found(before)).unwrap().shortens;
        assert_eq!(shortens(&[]), Some("in/".to_owned()));
        assert_eq!(shortens(&bucket(30).rules), Some("in/".to_owned()));
        assert_eq!(shortens(&bucket(3).rules), None);
        let of_all = Rule { prefix: String::new(), ..rule("millwork-expire", Does::ExpireAfterDays(7)) };
        assert_eq!(shortens(&[of_all]), None);
    }

    #[test]
    fn a_rule_that_is_no_longer_wanted_goes() {
        let changes = changes(&Bucket { rules: Vec::new(), ..bucket(7) }, &found(&bucket(7).rules)).unwrap();
        assert_eq!(changes.rules, Some(Vec::new()));
        assert_eq!(changes.details, ["lifecycle rule millwork-expire → none"]);
    }
}
