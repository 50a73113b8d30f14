//! Audit records, and change plans.

use super::SqliteStore;
use super::job::Done;
use super::rows::{collect, parsed, time};
use crate::audit::MAX_LOOK;
use crate::{AuditEntry, AuditFilter, AuditStore, Page, PlanRecord, PlanStore, TrackingError, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use rusqlite::{Connection, OptionalExtension, params};

/// Limit of the expired plans that are deleted when one is created, so that few remain, and creation stays fast.
const FORGET_AT_ONCE: u32 = 10;

fn corrupt(error: &serde_json::Error) -> TrackingError {
    TrackingError::Corrupt { what: "audit entry", value: error.to_string() }
}

pub(super) fn audit(c: &Connection, entry: &AuditEntry) -> Done<()> {
    let text = serde_json::to_string(entry).map_err(|e| corrupt(&e))?;
    let sql = "INSERT INTO audit_entries VALUES (?1, ?2) ON CONFLICT DO UPDATE SET entry = ?2";
    c.prepare_cached(sql)?.execute(params![entry.place(), text])?;
    Ok(())
}

pub(super) fn audits(c: &Connection, filter: &AuditFilter) -> Done<Page<AuditEntry>> {
    let day = filter.day.to_string();
    let before = match &filter.cursor {
        // After every position of the day.
        None => format!("{day}U"),
        Some(cursor) if cursor.starts_with(&day) => cursor.clone(),
        Some(cursor) => return Err(TrackingError::BadCursor(cursor.clone()).into()),
    };
    let look = if filter.subject.is_some() { MAX_LOOK } else { filter.limit };
    let sql = "SELECT place, entry FROM audit_entries WHERE place >= ?1 AND place < ?2 ORDER BY place DESC LIMIT ?3";
    let mut statement = c.prepare_cached(sql)?;
    // An additional row tells whether there is another page.
    let rows = statement.query_map(params![day, before, look as u64 + 1], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let rows: Vec<(String, String)> = collect(rows)?;
    let (mut items, mut next_cursor) = (Vec::new(), None);
    for (index, (place, text)) in rows.iter().enumerate() {
        if items.len() == filter.limit || index == look {
            next_cursor = index.checked_sub(1).and_then(|last| rows.get(last)).map(|(place, _)| place.clone());
            break;
        }
        let entry: AuditEntry = serde_json::from_str(text)
            .map_err(|_| TrackingError::Corrupt { what: "audit entry", value: place.clone() })?;
        if filter.subject.as_ref().is_none_or(|subject| entry.is_about(subject)) {
            items.push(entry);
        }
    }
    Ok(Page { items, next_cursor })
}

pub(super) fn put_plan(c: &Connection, plan: &PlanRecord, now: DateTime<Utc>) -> Done<bool> {
    let forget = "DELETE FROM plans WHERE id IN
        (SELECT id FROM plans WHERE forget_after < ?1 ORDER BY forget_after LIMIT ?2)";
    c.prepare_cached(forget)?.execute(params![time(now), FORGET_AT_ONCE])?;
    let sql = "INSERT INTO plans VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING";
    let values = params![plan.id, plan.revision, time(plan.forget_after), plan.document];
    if c.prepare_cached(sql)?.execute(values)? == 1 {
        return Ok(true);
    }
    Ok(find_plan(c, &plan.id)?.as_ref() == Some(plan))
}

pub(super) fn find_plan(c: &Connection, id: &str) -> Done<Option<PlanRecord>> {
    let sql = "SELECT id, revision, forget_after, document FROM plans WHERE id = ?1";
    let plan = c.prepare_cached(sql)?.query_row([id], |row| {
        Ok(PlanRecord {
            id: row.get(0)?,
            revision: row.get(1)?,
            forget_after: parsed(row, 2, "a time")?,
            document: row.get(3)?,
        })
    });
    Ok(plan.optional()?)
}

pub(super) fn update_plan(c: &Connection, plan: &PlanRecord) -> Done<bool> {
    let sql = "UPDATE plans SET revision = ?2, forget_after = ?3, document = ?4 WHERE id = ?1 AND revision = ?2 - 1";
    let values = params![plan.id, plan.revision, time(plan.forget_after), plan.document];
    if c.prepare_cached(sql)?.execute(values)? == 1 {
        return Ok(true);
    }
    // The answer to an earlier request may have been lost.
    Ok(find_plan(c, &plan.id)?.as_ref() == Some(plan))
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        let entry = entry.clone();
        self.worker.write(move |c| audit(c, &entry)).await
    }

    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>> {
        let filter = filter.clone();
        self.worker.read(move |c| audits(c, &filter)).await
    }
}

#[async_trait]
impl PlanStore for SqliteStore {
    async fn put_plan(&self, plan: &PlanRecord, now: DateTime<Utc>) -> TrackingResult<bool> {
        let plan = plan.clone();
        self.worker.write(move |c| put_plan(c, &plan, now)).await
    }

    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>> {
        let id = id.to_owned();
        self.worker.read(move |c| find_plan(c, &id)).await
    }

    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool> {
        let plan = plan.clone();
        self.worker.write(move |c| update_plan(c, &plan)).await
    }
}
