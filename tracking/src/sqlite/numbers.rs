//! The day's numbers, and notes.

use super::job::Done;
use super::rows::{collect, instant, time};
use crate::{AuditEntry, Metric};
use chrono::{DateTime, Utc};
use millwork_manifest::DatePrefix;
use rusqlite::{Connection, params};

pub(super) fn count(c: &Connection, counts: &[(String, u64)], now: DateTime<Utc>) -> Done<()> {
    let day = DatePrefix::from(now.date_naive()).to_string();
    let sql = "INSERT INTO metrics VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = value + ?3";
    for (name, n) in counts {
        c.prepare_cached(sql)?.execute(params![day, name, i64::try_from(*n).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

pub(super) fn metrics(c: &Connection, day: DatePrefix) -> Done<Vec<Metric>> {
    let sql = "SELECT metric_date, metric_type, value FROM metrics WHERE metric_date = ?1 ORDER BY metric_type";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([day.to_string()], |row| {
        Ok(Metric { metric_date: row.get(0)?, metric_type: row.get(1)?, value: row.get(2)? })
    })?;
    collect(rows)
}

pub(super) fn audit(c: &Connection, entry: &AuditEntry) -> Done<()> {
    let sql = "INSERT INTO audits VALUES (?1, ?2, ?3, ?4)";
    c.prepare_cached(sql)?.execute(params![time(entry.at), entry.actor, entry.action, entry.detail])?;
    Ok(())
}

pub(super) fn audits(c: &Connection, day: DatePrefix) -> Done<Vec<AuditEntry>> {
    let sql = "SELECT at, actor, action, detail FROM audits WHERE at >= ?1 AND at < ?1 || 'U' ORDER BY at, rowid";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([day.to_string()], |row| {
        Ok(AuditEntry { at: instant(row, 0)?, actor: row.get(1)?, action: row.get(2)?, detail: row.get(3)? })
    })?;
    collect(rows)
}
