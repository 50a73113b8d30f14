//! Locks with fencing tokens, and batch indexes.
//!
//! A lock is one item, which remains after its release, since the token must only grow. Expiry is decided by comparison
//! with the clock of the process that wants the lock, not by the expiry of items (TTL), which can be days late. A
//! holder whose lock was taken over is refused at its next write, which checks the token in the same transaction.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{get, number, parsed, text};
use super::key;
use super::request::{Written, incomplete};
use crate::{Inspection, LEADER_LOCK, Lead, Leader, Lock, LockStore, TrackingError, TrackingResult};
use async_trait::async_trait;
use aws_sdk_dynamodb::types::{ConditionCheck, TransactWriteItem};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::DatePrefix;

#[async_trait]
impl LockStore for DynamoStore {
    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>> {
        let expires_at = now + ttl;
        // The SDK repeats a request whose answer was lost: the mark shows whether an earlier one took the lock.
        let mark = uuid::Uuid::new_v4().to_string();
        let take = Expression::new()
            .set("holder", text(holder))
            .set("expires_at", number(expires_at.timestamp_millis()))
            .set("mark", text(mark.as_str()))
            .set("acquired_at", number(now.timestamp_millis()))
            .add("token", 1)
            .when_absent_or("expires_at", "<=", number(now.timestamp_millis()));
        let item = match self.update(&self.names.lock, key::lock(name), &take).await? {
            Written::Done(item) => item,
            Written::Refused(Some(item)) if get(&item, "mark") == Some(mark.as_str()) => item,
            Written::Refused(_) => return Ok(None),
        };
        let token = parsed(&item, "token", "lock token")?;
        Ok(Some(Lock { name: name.to_owned(), holder: holder.to_owned(), token, expires_at }))
    }

    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock> {
        let expires_at = now + ttl;
        let renewed = Expression::new().set("expires_at", number(expires_at.timestamp_millis())).when(
            "token",
            "=",
            number(lock.token),
        );
        match self.update(&self.names.lock, key::lock(&lock.name), &renewed).await? {
            Written::Done(_) => Ok(Lock { expires_at, ..lock.clone() }),
            Written::Refused(_) => Err(lost(lock)),
        }
    }

    async fn unlock(&self, lock: &Lock) -> TrackingResult<()> {
        let free = Expression::new().set("expires_at", number(0)).when("token", "=", number(lock.token));
        self.update(&self.names.lock, key::lock(&lock.name), &free).await.map(drop)
    }

    async fn lead(&self, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lead>> {
        Ok(self.lock(LEADER_LOCK, holder, ttl, now).await?.map(Lead::Lease))
    }

    async fn leader(&self, now: DateTime<Utc>) -> TrackingResult<Leader> {
        Ok(Leader::by_time(self.locks(&[LEADER_LOCK.to_owned()]).await?.pop(), now))
    }
}

impl DynamoStore {
    /// Builds the check that refuses a transaction once another process has taken the lock.
    pub(super) fn lock_check(&self, lock: &Lock) -> TrackingResult<TransactWriteItem> {
        let held = Expression::new().when("token", "=", number(lock.token));
        let check = ConditionCheck::builder()
            .table_name(&self.names.lock)
            .set_key(Some(key::lock(&lock.name)))
            .set_condition_expression(held.condition_text())
            .set_expression_attribute_names(held.names())
            .set_expression_attribute_values(held.values());
        Ok(TransactWriteItem::builder().condition_check(check.build().map_err(incomplete)?).build())
    }

    /// Checks the lock as in [`Self::lock_check`], for an operation that has nothing to write.
    pub(super) async fn check_lock(&self, lock: &Lock) -> TrackingResult<()> {
        let item = self.get(&self.names.lock, key::lock(&lock.name)).await?;
        let token: Option<u64> = item.map(|item| parsed(&item, "token", "lock token")).transpose()?;
        if token == Some(lock.token) { Ok(()) } else { Err(lost(lock)) }
    }

    pub(super) async fn new_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        let next = Expression::new().add("last_index", 1);
        match self.update(&self.names.lock, key::batch_index(date), &next).await? {
            Written::Done(item) => parsed(&item, "last_index", "batch index"),
            Written::Refused(_) => Err(TrackingError::Corrupt { what: "batch index", value: date.to_string() }),
        }
    }
}

pub(super) fn lost(lock: &Lock) -> TrackingError {
    TrackingError::LockLost { name: lock.name.clone(), token: lock.token }
}
