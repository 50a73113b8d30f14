//! Interface for locks with fencing tokens, and for the lead.

use crate::{Lock, LockState, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use std::fs::File;

/// Name of the leader lock.
pub const LEADER_LOCK: &str = "LOCK#runs";

/// Lead: the right to run the manifests of a store. The token of its lock is needed to start an attempt.
#[derive(Debug)]
pub enum Lead {
    /// File lock, held until the file is closed or the process ends.
    File(Lock, File),
    /// Lock with an expiry time, which must be renewed.
    Lease(Lock),
}

impl Lead {
    /// Lock whose token is needed to start an attempt.
    pub fn lock(&self) -> &Lock {
        match self {
            Self::File(lock, _) | Self::Lease(lock) => lock,
        }
    }
}

/// Information about the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Leader {
    /// A process has the lead. Unknown if it took the file lock and has not recorded itself in the store yet.
    Held(Option<LockState>),
    /// No process has the lead; this one had it last.
    Nobody(Option<LockState>),
    /// The system does not tell who holds file locks; this process had the lead last.
    Unknown(Option<LockState>),
}

impl Leader {
    /// Determines the leader from a lock with an expiry time.
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

/// Locks, and the lead, which only one process has at a time.
#[async_trait]
pub trait LockStore: Send + Sync {
    /// Takes a lock for `ttl`, if it is free or expired. The token is larger than all before.
    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>>;

    /// Extends a lock to `ttl` from now. Fails with [`LockLost`](crate::TrackingError::LockLost) if another process has
    /// taken it.
    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock>;

    /// Releases a lock. A lock that another process has taken meanwhile is left to it.
    async fn unlock(&self, lock: &Lock) -> TrackingResult<()>;

    /// Takes the lead, if it is free. The previous holder is refused from then on, because of its older token. A
    /// [`Lead::Lease`] is held for `ttl`, and has to be renewed.
    async fn lead(&self, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lead>>;

    /// Tells which process has the lead, without taking it.
    async fn leader(&self, now: DateTime<Utc>) -> TrackingResult<Leader>;
}
