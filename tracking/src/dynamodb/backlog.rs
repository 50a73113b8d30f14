//! Backlogs: pending files by date, and counts of them.
//!
//! Each date has one item with counters, which are updated after every change of a pending file. The counters are
//! hints: a crash in between leaves them wrong until a recount. Pending files are found through an index that contains
//! only them. The index is eventually consistent, so that a file read from it is claimed on the condition that it is
//! still pending.

use super::DynamoStore;
use super::deltas::{Delta, Deltas};
use super::expression::Expression;
use super::item::{Item, backlog, epoch, get, number, optional, parsed, text, time, tracked_file};
use super::key;
use super::request::{Query, Written, all};
use super::tables::PENDING_INDEX;
use crate::{Backlog, TrackedFile, TrackingResult};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::DatePrefix;
use std::sync::PoisonError;

/// Retention of the counters of a date without pending files.
const KEEP_EMPTY: Duration = Duration::days(90);

impl DynamoStore {
    /// Updates the counters of dates, and returns the resulting backlogs.
    pub(super) async fn apply(&self, mut deltas: Deltas) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
        let deltas = {
            let mut owed = self.owed.lock().unwrap_or_else(PoisonError::into_inner);
            deltas.with_owed(&mut owed);
            deltas.owing(&mut owed)
        };
        all(deltas.0.into_iter().map(|(date, delta)| self.apply_to_date(date, delta)).collect()).await
    }

    async fn apply_to_date(&self, date: DatePrefix, delta: Delta) -> TrackingResult<(DatePrefix, Backlog)> {
        if delta.is_empty() {
            return Ok((date, self.backlog_of(date).await?));
        }
        let change = delta.expression();
        let change = match delta.oldest_gained {
            Some(oldest) => change.set_once("oldest_pending", time(oldest)).remove("ttl"),
            None => change,
        };
        let (Written::Done(item) | Written::Refused(Some(item))) = self.write_counters(date, &change).await? else {
            return Ok((date, Backlog::default()));
        };
        if !delta.changes_backlog() {
            if let Some(correction) = of_ttl(&item, Utc::now()) {
                self.write_counters(date, &correction).await?;
            }
            return Ok((date, backlog(&item)?));
        }
        Ok((date, self.correct_oldest(date, &delta, &item).await?))
    }

    /// Corrects the time of the oldest pending file, which adding and subtracting cannot do.
    async fn correct_oldest(&self, date: DatePrefix, delta: &Delta, item: &Item) -> TrackingResult<Backlog> {
        let counted = backlog(item)?;
        let (files, oldest) = (parsed::<i64>(item, "pending_files", "backlog")?, counted.oldest_pending);
        if files <= 0 {
            let empty = Expression::new()
                .set("pending_files", number(0))
                .set("pending_bytes", number(0))
                .set("ttl", epoch(Utc::now() + KEEP_EMPTY))
                .remove("oldest_pending")
                .when("pending_files", "=", number(files));
            self.write_counters(date, &empty).await?;
            return Ok(Backlog::default());
        }
        let found = match delta.oldest_gained {
            Some(gained) => Some(gained).filter(|gained| oldest.is_none_or(|oldest| *gained < oldest)),
            None if delta.files < 0 => {
                self.pending_files(date, 1).await?.first().map(|file| file.arrived_at).filter(|at| oldest != Some(*at))
            }
            None => None,
        };
        let Some(found) = found else { return Ok(counted) };
        let seen = get(item, "oldest_pending").map(text);
        let correction = Expression::new().set("oldest_pending", time(found));
        let correction = match seen {
            Some(seen) => correction.when("oldest_pending", "=", seen),
            None => correction.when_absent("oldest_pending"),
        };
        self.write_counters(date, &correction).await?;
        Ok(Backlog { oldest_pending: Some(found), ..counted })
    }

    pub(super) async fn write_counters(&self, date: DatePrefix, expression: &Expression) -> TrackingResult<Written> {
        self.update(&self.names.metrics, key::metric(key::BACKLOGS, date.to_string()), expression).await
    }

    pub(super) async fn pending_files(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
        let items = self.query(&self.names.tracking, &Query { limit: Some(limit), ..pending_of(date) }).await?;
        items.iter().map(tracked_file).collect()
    }

    pub(super) async fn counters(&self, date: DatePrefix) -> TrackingResult<Option<Item>> {
        self.get(&self.names.metrics, key::metric(key::BACKLOGS, date.to_string())).await
    }

    pub(super) async fn backlog_of(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.counters(date).await?.as_ref().map_or_else(|| Ok(Backlog::default()), backlog)
    }

    pub(super) async fn all_backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
        let expression = Expression::new().when("metric_date", "=", text(key::BACKLOGS));
        let items = self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await?;
        let backlogs = items.iter().map(|item| Ok((parsed(item, "metric_type", "date")?, backlog(item)?)));
        let waits = |result: &TrackingResult<(DatePrefix, Backlog)>| {
            result.as_ref().map_or(true, |(_, backlog)| backlog.pending_files > 0)
        };
        backlogs.filter(waits).collect()
    }

    pub(super) async fn recount_date(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        let seen = self.counters(date).await?.and_then(|item| get(&item, "pending_files").map(str::to_owned));
        let (mut files, mut bytes) = (0_u64, 0_u64);
        let mut oldest: Option<DateTime<Utc>> = None;
        let add = |page: Vec<Item>| {
            for item in &page {
                files += 1;
                bytes = bytes.saturating_add(parsed(item, "file_size_bytes", "file size")?);
                if oldest.is_none() {
                    oldest = optional(item, "upload_time", "time")?;
                }
            }
            Ok(())
        };
        self.query_pages(&self.names.tracking, &pending_of(date), add).await?;
        let counted = Expression::new()
            .set("pending_files", number(files))
            .set("pending_bytes", number(bytes))
            .put("oldest_pending", oldest.map(time))
            .put("ttl", oldest.is_none().then(|| epoch(Utc::now() + KEEP_EMPTY)));
        // Written on the condition that nothing has changed meanwhile: concurrent changes are left to the next recount.
        let counted = match seen {
            Some(seen) => counted.when("pending_files", "=", number(seen)),
            None => counted.when_absent("pending_files"),
        };
        self.write_counters(date, &counted).await?;
        Ok(Backlog { pending_files: files, pending_bytes: bytes, oldest_pending: oldest })
    }
}

/// Update of the expiry time of a date's counters: there is none while files of the date are pending. After a crash
/// before it is written, the counters remain longer, or the next change of the date corrects it.
fn of_ttl(counters: &Item, now: DateTime<Utc>) -> Option<Expression> {
    let pending = get(counters, "pending_files")?;
    let (waits, goes) = (pending.parse::<i64>().is_ok_and(|files| files > 0), get(counters, "ttl").is_some());
    let correction = Expression::new().put("ttl", (!waits).then(|| epoch(now + KEEP_EMPTY)));
    (waits == goes).then(|| correction.when("pending_files", "=", number(pending)))
}

/// Query for the pending files of a date, oldest first.
fn pending_of(date: DatePrefix) -> Query {
    let expression = Expression::new().when("pending_date", "=", text(date.to_string()));
    Query { index: Some(PENDING_INDEX), expression, ..Query::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_go_only_while_nothing_waits() {
        let correction = |files: i64, ttl: Option<i64>| {
            let mut counters = Item::from([("pending_files".to_owned(), number(files))]);
            counters.extend(ttl.map(|at| ("ttl".to_owned(), number(at))));
            of_ttl(&counters, DateTime::UNIX_EPOCH)?.update_text()
        };
        assert_eq!([correction(0, Some(1)), correction(3, None)], [None, None]);
        assert!(correction(3, Some(1)).unwrap().ends_with("REMOVE #ttl"));
        assert!(correction(0, None).unwrap().contains("#ttl = "));
        assert!(of_ttl(&Item::new(), DateTime::UNIX_EPOCH).is_none());
    }
}
