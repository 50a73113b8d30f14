//! Store of locks with fencing tokens, and of the one that a leader holds.

use crate::{Lock, LockState, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use std::fs::File;

/// Name of the lock that a leader holds.
pub const LEADER_LOCK: &str = "LOCK#runs";

/// The right to run the manifests of a store. Its lock is shown to start an attempt.
#[derive(Debug)]
pub enum Lead {
    /// Held until the file is closed, as it is when the process ends, however it does.
    File(Lock, File),
    /// Held until the time of the lock is over, if it is not renewed.
    Lease(Lock),
}

impl Lead {
    /// The lock that is shown to start an attempt.
    pub fn lock(&self) -> &Lock {
        match self {
            Self::File(lock, _) | Self::Lease(lock) => lock,
        }
    }
}

/// Holder of the lead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// A process has it. Its name is not known if it took a file and has not said so in the store yet.
    Held(Option<LockState>),
    /// No process has it; this one had it last.
    Nobody(Option<LockState>),
    /// The system does not tell who holds files; this one had it last.
    Unknown(Option<LockState>),
}

impl Leader {
    /// Reads who leads from a lock that is held for a time.
    pub(crate) fn by_time(lock: Option<LockState>, now: DateTime<Utc>) -> Self {
        match lock {
            Some(lock) if lock.expires_at.is_some_and(|at| at > now) => Self::Held(Some(lock)),
            lock => Self::Nobody(lock),
        }
    }

    /// The lock as it was last taken.
    pub fn lock(&self) -> Option<&LockState> {
        match self {
            Self::Held(lock) | Self::Nobody(lock) | Self::Unknown(lock) => lock.as_ref(),
        }
    }
}

/// Locks, and the lead: the right to run the manifests of a store, which one process has at a time.
#[async_trait]
pub trait LockStore: Send + Sync {
    /// Takes a lock for `ttl`, if nobody holds it or its holder's time is over. The token is larger than any before.
    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>>;

    /// Holds a lock for `ttl` from now; [`LockLost`](crate::TrackingError::LockLost) if somebody else has it.
    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock>;

    /// Lets go of a lock. One that was lost meanwhile stays with its holder.
    async fn unlock(&self, lock: &Lock) -> TrackingResult<()>;

    /// Takes the lead, if nobody has it. Whoever had it before is refused from then on, since its token is older. A lead that is a
    /// [`Lead::Lease`] is held for `ttl` and has to be renewed.
    async fn lead(&self, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lead>>;

    /// Tells who has the lead, without taking it.
    async fn leader(&self, now: DateTime<Utc>) -> TrackingResult<Leader>;
}
