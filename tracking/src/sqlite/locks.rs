//! Locks with fencing tokens.

use super::SqliteStore;
use super::job::Done;
use super::rows::time;
use crate::{Inspection, LEADER_LOCK, Lead, Leader, Lock, LockState, LockStore, TrackingError, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn lock(
    c: &Connection,
    name: String,
    holder: String,
    ttl: Duration,
    now: DateTime<Utc>,
) -> Done<Option<Lock>> {
    let expires_at = now + ttl;
    let sql = "INSERT INTO locks VALUES (?1, ?2, 1, ?3, ?4) ON CONFLICT DO UPDATE
        SET holder = ?2, token = token + 1, expires_at = ?3, acquired_at = ?4 WHERE expires_at <= ?4 RETURNING token";
    let token = c
        .prepare_cached(sql)?
        .query_row(params![name, holder, time(expires_at), time(now)], |row| row.get(0))
        .optional()?;
    Ok(token.map(|token| Lock { name, holder, token, expires_at }))
}

pub(super) fn renew(c: &Connection, lock: Lock) -> Done<Lock> {
    let sql = "UPDATE locks SET expires_at = ?3 WHERE name = ?1 AND token = ?2";
    match c.prepare_cached(sql)?.execute(params![lock.name, lock.token, time(lock.expires_at)])? {
        0 => Err(lost(&lock).into()),
        _ => Ok(lock),
    }
}

pub(super) fn unlock(c: &Connection, lock: &Lock) -> Done<()> {
    // The row remains after the release, since its token must only grow.
    let sql = "UPDATE locks SET expires_at = '' WHERE name = ?1 AND token = ?2";
    c.prepare_cached(sql)?.execute(params![lock.name, lock.token])?;
    Ok(())
}

/// Refuses a write under a lock that another process has taken.
pub(super) fn check(c: &Connection, lock: &Lock) -> Done<()> {
    let sql = "SELECT token FROM locks WHERE name = ?1";
    let token: Option<u64> = c.prepare_cached(sql)?.query_row([&lock.name], |row| row.get(0)).optional()?;
    if token == Some(lock.token) { Ok(()) } else { Err(lost(lock).into()) }
}

fn lost(lock: &Lock) -> TrackingError {
    TrackingError::LockLost { name: lock.name.clone(), token: lock.token }
}

#[async_trait]
impl LockStore for SqliteStore {
    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>> {
        let (name, holder) = (name.to_owned(), holder.to_owned());
        self.worker.write(move |c| lock(c, name, holder, ttl, now)).await
    }

    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock> {
        let lock = Lock { expires_at: now + ttl, ..lock.clone() };
        self.worker.write(move |c| renew(c, lock)).await
    }

    async fn unlock(&self, lock: &Lock) -> TrackingResult<()> {
        let lock = lock.clone();
        self.worker.write(move |c| unlock(c, &lock)).await
    }

    async fn lead(&self, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lead>> {
        let Some(path) = &self.path else {
            return Ok(LockStore::lock(self, LEADER_LOCK, holder, ttl, now).await?.map(Lead::Lease));
        };
        let Some(file) = super::lead::take(path)? else { return Ok(None) };
        // The file lock proves that the previous holder is gone, whatever the expiry time.
        let lock = LockStore::lock(self, LEADER_LOCK, holder, Duration::zero(), DateTime::UNIX_EPOCH).await?;
        let refused = || TrackingError::Refused {
            store: path.display().to_string(),
            message: "its lock was taken by a process that does not hold the file beside it".to_owned(),
        };
        Ok(Some(Lead::File(lock.ok_or_else(refused)?, file)))
    }

    async fn leader(&self, now: DateTime<Utc>) -> TrackingResult<Leader> {
        let lock = self.locks(&[LEADER_LOCK.to_owned()]).await?.pop();
        let Some(path) = &self.path else { return Ok(Leader::by_time(lock, now)) };
        // The expiry time is meaningless for a lock that is tied to a file lock.
        let lock = lock.map(|lock| LockState { expires_at: None, ..lock });
        Ok(match super::lead::is_held(path) {
            Some(true) => Leader::Held(lock),
            Some(false) => Leader::Nobody(lock),
            None => Leader::Unknown(lock),
        })
    }
}
