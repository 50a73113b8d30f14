//! The day's numbers.

use super::job::Done;
use super::rows::collect;
use crate::Metric;
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
