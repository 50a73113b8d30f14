//! Locks with fencing tokens.

use super::job::Done;
use super::rows::time;
use crate::{Lock, TrackingError};
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
    // The row stays: its token must only grow.
    let sql = "UPDATE locks SET expires_at = '' WHERE name = ?1 AND token = ?2";
    c.prepare_cached(sql)?.execute(params![lock.name, lock.token])?;
    Ok(())
}

/// Refuses a write under a lock that somebody else has taken.
pub(super) fn check(c: &Connection, lock: &Lock) -> Done<()> {
    let sql = "SELECT token FROM locks WHERE name = ?1";
    let token: Option<u64> = c.prepare_cached(sql)?.query_row([&lock.name], |row| row.get(0)).optional()?;
    if token == Some(lock.token) { Ok(()) } else { Err(lost(lock).into()) }
}

fn lost(lock: &Lock) -> TrackingError {
    TrackingError::LockLost { name: lock.name.clone(), token: lock.token }
}
