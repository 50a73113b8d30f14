//! Builders, locks, unfinished manifests and queues, as recorded in the store and by the queue service.

use crate::{EventQueue, Executors, Limit, SchedulerInfo};
use chrono::{DateTime, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::{IntoParams, ToSchema};

/// All processes of a state, and what they hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The schedulers, the one that runs the manifests first.
    pub schedulers: Vec<SchedulerInfo>,
    /// The executors.
    pub executors: Executors,
    /// Builders, those that were seen last first: 50 at most.
    pub builders: Vec<BuilderInfo>,
    /// Locks of the runs, and of the 99 oldest dates that wait.
    pub locks: Vec<LockInfo>,
}

/// Builders that have shown themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Builders {
    /// Builders, those that were seen last first: 50 at most.
    pub items: Vec<BuilderInfo>,
}

/// A manifest builder, by its own word.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BuilderInfo {
    /// Name of the builder: host and process.
    pub id: String,
    /// Command by which it runs: `serve`, `watch`, `lambda` or `up`; null if another version says it in other words.
    #[schema(required)]
    pub mode: Option<String>,
    /// Version of the builder.
    #[schema(required)]
    pub version: Option<String>,
    /// URL of the queue that it reads.
    #[schema(required)]
    pub queue: Option<String>,
    /// Time of the last sign of life; one comes every 30 seconds.
    pub seen_at: DateTime<Utc>,
}

impl BuilderInfo {
    /// Time without a sign of life after which a builder counts as gone, in seconds: 120, four missing ones.
    const SILENCE_SECONDS: i64 = 120;

    /// Tells whether a builder that was seen last at one time counts as running at another.
    pub fn is_alive_at(seen_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        (now - seen_at).num_seconds() <= Self::SILENCE_SECONDS
    }
}

/// Locks of a state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Locks {
    /// Locks that were ever taken: that of the runs, and those of the 99 oldest dates that wait.
    pub items: Vec<LockInfo>,
}

/// A lock as it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LockInfo {
    /// Name of the lock.
    #[schema(example = "LOCK#2025-12-23")]
    pub name: String,
    /// Process that holds it, or held it last.
    pub holder: String,
    /// Token, which grows with each holder.
    pub token: u64,
    /// Way in which it is held.
    pub held: Held,
    /// Time from which on others may take it; null unless it is held for a time.
    #[schema(required)]
    pub until: Option<DateTime<Utc>>,
}

/// Way in which a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Held {
    /// Released.
    Free,
    /// Lease for a limited time, renewed by its holder.
    Until,
    /// Lock of the operating system, released when the process ends.
    Process,
}

/// Manifests that were begun and are not finished.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Drafts {
    /// Drafts, the oldest first: 1,000 at most.
    pub items: Vec<DraftInfo>,
    /// True if there are more.
    pub has_more: bool,
}

/// A manifest that was begun: its builder is at it, or died, and the next sweep finishes it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DraftInfo {
    /// Id that the manifest has.
    pub manifest_id: String,
    /// Date of its files.
    #[schema(value_type = String, format = Date)]
    pub date: DatePrefix,
    /// Number of files that it names.
    pub files: u64,
    /// Size of these files together, in bytes.
    pub bytes: u64,
    /// Time at which it was begun.
    pub begun_at: DateTime<Utc>,
}

/// Queues that builders read and fill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Queues {
    /// Queues of the builder that was seen last; none if it reads none.
    pub items: Vec<QueueInfo>,
}

/// A queue, as SQS counts it: about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct QueueInfo {
    /// Messages of the queue.
    pub kind: QueueKind,
    /// URL of the queue.
    pub url: String,
    /// Messages that wait; null if the queue did not tell.
    #[schema(required)]
    pub waiting: Option<u64>,
    /// Messages that somebody has received, and not deleted yet.
    #[schema(required)]
    pub in_work: Option<u64>,
    /// Reason why the queue cannot be looked at.
    #[schema(required)]
    pub error: Option<String>,
}

/// Dead letters of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetters {
    /// Queue that they came from.
    pub queue: EventQueue,
    /// Letters, in no order: at most as many as were asked for.
    pub items: Vec<DeadLetter>,
    /// Reason why they cannot be looked at.
    #[schema(required)]
    pub error: Option<String>,
}

/// A message that nobody could process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Name in plans: the queue, a slash, the id of the message.
    #[schema(example = "files/4a1c9d0e-7d50-4c47-8e6e-1d8f0a2b3c4d")]
    pub subject: String,
    /// Time at which it was put away; null if the queue does not tell.
    #[schema(required)]
    pub at: Option<DateTime<Utc>>,
    /// Reason for which it was; `received-too-often` where SQS itself did.
    pub reason: String,
    /// Details of the reason, as far as they are known.
    pub detail: String,
    /// Objects that it tells of.
    pub objects: Vec<String>,
}

/// Query for dead letters.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeadLettersQuery {
    /// Queue that they came from: of events of new files, unless said.
    #[serde(default)]
    #[param(inline, required = false)]
    pub queue: EventQueue,
    /// Number of letters at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    pub limit: Limit,
}

/// Messages that a queue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QueueKind {
    /// Events of new input.
    Events,
    /// Messages that could not be processed.
    DeadLetters,
}

impl fmt::Display for QueueKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Events => "events",
            Self::DeadLetters => "dead letters",
        })
    }
}
