//! Required resources as data, without any requests.

use super::names::Names;
use millwork_tracking::{TableDefinition, table_definitions};
use std::fmt;

/// Visibility timeout in seconds: longer than handling a batch of ten events takes.
pub(super) const VISIBILITY_SECONDS: u32 = 360;
/// Number of deliveries of a message before it is moved to the dead-letter queue.
pub(super) const MAX_RECEIVES: u32 = 5;
/// Retention of events in seconds: S3 sends each only once, so that events have to wait while no builder runs.
const RETENTION_SECONDS: u32 = 4 * 24 * 3600;
/// Retention of dead letters in seconds: the longest that SQS supports, so that a person has time to examine them.
const DEAD_LETTER_RETENTION_SECONDS: u32 = 14 * 24 * 3600;
/// Key prefix of manifests in their bucket.
const MANIFEST_PREFIX: &str = "manifests/";
/// Id of the lifecycle rule that aborts incomplete uploads.
const ABORT_RULE: &str = "millwork-abort-uploads";
/// Age at which incomplete uploads are aborted, in days: 7. Attempts end within hours, but the uploads of a committed
/// run must survive a week without a scheduler; otherwise it is converted again.
const ABORT_AFTER_DAYS: i32 = 7;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Queue {
    pub(super) name: String,
    pub(super) retention_seconds: u32,
    /// Source of the queue's events; `None` for a dead-letter queue.
    pub(super) source: Option<Source>,
}

/// Bucket that sends events, and the dead-letter queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) bucket: String,
    pub(super) dead_letters: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    pub(super) name: String,
    pub(super) rules: Vec<Rule>,
    /// Ids of all lifecycle rules of Millwork; those that are not wanted are removed.
    pub(super) own_rules: Vec<String>,
    /// True if the expiry of existing objects may be shortened.
    pub(super) may_shorten: bool,
}

/// A lifecycle rule of a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) id: String,
    pub(super) prefix: String,
    pub(super) does: Does,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Does {
    ExpireAfterDays(i32),
    AbortUploadsAfterDays(i32),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Notification {
    pub(super) id: String,
    pub(super) bucket: String,
    pub(super) queue: String,
    pub(super) events: &'static [&'static str],
    pub(super) prefix: String,
    pub(super) suffix: &'static str,
}

/// A required resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Queue(Queue),
    Bucket(Bucket),
    Table(TableDefinition),
    Notification(Notification),
}

impl Resource {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Queue(_) => "queue",
            Self::Bucket(_) => "bucket",
            Self::Table(_) => "table",
            Self::Notification(_) => "notification",
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Queue(queue) => &queue.name,
            Self::Bucket(bucket) => &bucket.name,
            Self::Table(table) => &table.name,
            Self::Notification(notification) => &notification.bucket,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Notification(Notification { bucket, queue, .. }) => {
                write!(f, "notification {bucket} to queue {queue}")
            }
            _ => write!(f, "{} {}", self.kind(), self.name()),
        }
    }
}

/// Action that a resource requires.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Create,
    Update(Vec<String>),
    Unchanged,
}

impl Action {
    /// Update with these differences, or nothing if there are none.
    pub(super) fn from_differences(differences: Vec<String>) -> Self {
        if differences.is_empty() { Self::Unchanged } else { Self::Update(differences) }
    }

    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update(_) => "update",
            Self::Unchanged => "unchanged",
        }
    }

    /// Differences as text; `None` for other actions than an update.
    pub(super) fn detail(&self) -> Option<String> {
        match self {
            Self::Update(differences) => Some(differences.join("; ")),
            Self::Create | Self::Unchanged => None,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.detail().map_or(Ok(()), |detail| write!(f, ": {detail}"))
    }
}

/// Everything that is required, in order of creation: a queue after its dead-letter queue, and notifications last,
/// since S3 checks its permission to send. Input expires after 7 days by default, and never with 0.
pub(super) fn resources(names: &Names, expire_input_days: Option<u16>) -> anyhow::Result<Vec<Resource>> {
    names.check()?;
    let manifest_dead_letters = names.manifest_dead_letter_queue();
    let queues = [
        dead_letters(&names.dead_letter_queue),
        dead_letters(&manifest_dead_letters),
        events(&names.queue, &names.input_bucket, &names.dead_letter_queue),
        events(&names.manifest_queue, &names.manifest_bucket, &manifest_dead_letters),
    ];
    let notifications = [
        Notification {
            id: format!("millwork-{}", names.queue),
            bucket: names.input_bucket.clone(),
            queue: names.queue.clone(),
            events: &["s3:ObjectCreated:*", "s3:ObjectRemoved:*"],
            prefix: names.input_prefix.clone(),
            // Without a suffix filter, so that files with a wrong extension are quarantined, and not ignored.
            suffix: "",
        },
        Notification {
            id: format!("millwork-{}", names.manifest_queue),
            bucket: names.manifest_bucket.clone(),
            queue: names.manifest_queue.clone(),
            events: &["s3:ObjectCreated:*"],
            prefix: MANIFEST_PREFIX.to_owned(),
            suffix: ".json",
        },
    ];
    let mut all: Vec<Resource> = queues.into_iter().map(Resource::Queue).collect();
    all.extend(buckets(names, expire_input_days).into_iter().map(Resource::Bucket));
    all.extend(table_definitions(&names.tables).into_iter().map(Resource::Table));
    all.extend(notifications.into_iter().map(Resource::Notification));
    Ok(all)
}

fn dead_letters(name: &str) -> Queue {
    Queue { name: name.to_owned(), retention_seconds: DEAD_LETTER_RETENTION_SECONDS, source: None }
}

fn events(name: &str, bucket: &str, dead_letters: &str) -> Queue {
    let source = Source { bucket: bucket.to_owned(), dead_letters: dead_letters.to_owned() };
    Queue { name: name.to_owned(), retention_seconds: RETENTION_SECONDS, source: Some(source) }
}

pub(super) fn buckets(names: &Names, expire_input_days: Option<u16>) -> Vec<Bucket> {
    let abort =
        Rule { id: ABORT_RULE.to_owned(), prefix: String::new(), does: Does::AbortUploadsAfterDays(ABORT_AFTER_DAYS) };
    // The rule's id contains the queue's name, so that two installations with different prefixes can share a bucket.
    let expire = format!("millwork-expire-{}", names.queue);
    let days = i32::from(expire_input_days.unwrap_or(7));
    let mut input = vec![abort.clone()];
    if days > 0 {
        let does = Does::ExpireAfterDays(days);
        input.push(Rule { id: expire.clone(), prefix: names.input_prefix.clone(), does });
    }
    let mut buckets = vec![Bucket {
        name: names.input_bucket.clone(),
        rules: input,
        own_rules: vec![ABORT_RULE.to_owned(), expire],
        may_shorten: expire_input_days.is_some(),
    }];
    for name in [&names.manifest_bucket, &names.output_bucket, &names.quarantine_bucket] {
        // Output, manifests and quarantine may share a bucket.
        if buckets.iter().all(|bucket| bucket.name != *name) {
            buckets.push(Bucket {
                name: name.clone(),
                rules: vec![abort.clone()],
                own_rules: vec![ABORT_RULE.to_owned()],
                may_shorten: false,
            });
        }
    }
    buckets
}

#[cfg(test)]
mod tests {
    use super::super::names::tests::names;
    use super::*;

    fn shown(names: &Names) -> Vec<String> {
        resources(names, None).unwrap().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_others_need_is_made_first() {
        assert_eq!(
            shown(&names()),
            [
                "queue acme-input-dead-letters",
                "queue acme-manifests-dead-letters",
                "queue acme-input",
                "queue acme-manifests",
                "bucket acme-input",
                "bucket acme-manifests",
                "bucket acme-output",
                "bucket acme-quarantine",
                "table acme-files",
                "table acme-metrics",
                "table acme-runs",
                "notification acme-input to queue acme-input",
                "notification acme-manifests to queue acme-manifests",
            ]
        );
    }

    #[test]
    fn output_and_quarantine_may_share_a_bucket() {
        let shared = Names { quarantine_bucket: "acme-output".to_owned(), ..names() };
        assert_eq!(shown(&shared).iter().filter(|name| name.starts_with("bucket")).count(), 3);
    }

    #[test]
    fn only_what_is_below_the_prefix_expires() {
        let names = Names { input_prefix: "in/".to_owned(), ..names() };
        let expiry = |days| {
            let [input, ..] = &buckets(&names, days)[..] else { unreachable!() };
            input.rules.iter().map(|rule| (rule.prefix.clone(), rule.does)).nth(1)
        };
        assert_eq!(expiry(None), Some(("in/".to_owned(), Does::ExpireAfterDays(7))));
        assert_eq!(expiry(Some(30)), Some(("in/".to_owned(), Does::ExpireAfterDays(30))));
        assert_eq!(expiry(Some(0)), None);
    }
}
