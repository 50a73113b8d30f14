//! Totals of dates, maintained by triggers, and their recount.

use super::job::Done;
use super::rows::{instant, parsed};
use super::run_rows::{find, save};
use crate::numbers::MAX_DATES;
use crate::{AttemptWork, DateTotals, FileTotal, RunSummary};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ManifestId};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;

pub(super) fn dates(
    c: &Connection,
    from: Option<DatePrefix>,
    to: Option<DatePrefix>,
) -> Done<Vec<(DatePrefix, DateTotals)>> {
    let from = from.map_or_else(|| "0".to_owned(), |date| date.to_string());
    let to = to.map_or_else(|| "9999-99-99".to_owned(), |date| date.to_string());
    // Dates older than the newest `MAX_DATES` are omitted.
    let sql = "SELECT min(date_prefix) FROM (SELECT date_prefix FROM (SELECT DISTINCT date_prefix FROM date_files
        WHERE date_prefix BETWEEN ?1 AND ?2 UNION SELECT DISTINCT date_prefix FROM date_runs WHERE date_prefix BETWEEN ?1 AND ?2)
        ORDER BY date_prefix DESC LIMIT ?3)";
    let first: Option<String> =
        c.prepare_cached(sql)?.query_row(params![from, to, MAX_DATES as i64], |row| row.get(0))?;
    let Some(first) = first else { return Ok(Vec::new()) };
    let mut all: BTreeMap<DatePrefix, DateTotals> = BTreeMap::new();
    add_files(c, &first, &to, &mut all)?;
    add_runs(c, &first, &to, &mut all)?;
    for (date, totals) in &mut all {
        if totals.files.contains_key(&FileState::Pending) {
            totals.oldest_pending = oldest_pending(c, *date)?;
        }
    }
    Ok(all.into_iter().rev().collect())
}

fn add_files(c: &Connection, from: &str, to: &str, all: &mut BTreeMap<DatePrefix, DateTotals>) -> Done<()> {
    let sql = "SELECT date_prefix, status, reason, files, bytes FROM date_files
        WHERE date_prefix BETWEEN ?1 AND ?2 AND files > 0";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![from, to])?;
    while let Some(row) = rows.next()? {
        let totals = all.entry(parsed(row, 0, "date")?).or_default();
        let state: FileState = parsed(row, 1, "file state")?;
        let (reason, files, bytes): (String, u64, u64) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let total = totals.files.entry(state).or_default();
        *total = FileTotal { files: total.files + files, bytes: total.bytes + bytes };
        if state == FileState::Quarantined {
            *totals.refused.entry(reason).or_default() += files;
        }
    }
    Ok(())
}

fn add_runs(c: &Connection, from: &str, to: &str, all: &mut BTreeMap<DatePrefix, DateTotals>) -> Done<()> {
    let sql = "SELECT date_prefix, status, runs FROM date_runs WHERE date_prefix BETWEEN ?1 AND ?2 AND runs > 0";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![from, to])?;
    while let Some(row) = rows.next()? {
        let totals = all.entry(parsed(row, 0, "date")?).or_default();
        totals.runs.insert(parsed(row, 1, "run state")?, row.get(2)?);
    }
    let sql =
        "SELECT date_prefix, rows, rejected, input_bytes, output_bytes, outputs, cpu_micros, reads, writes, last_commit
        FROM date_output WHERE date_prefix BETWEEN ?1 AND ?2";
    let mut statement = c.prepare_cached(sql)?;
    let mut rows = statement.query(params![from, to])?;
    while let Some(row) = rows.next()? {
        let totals = all.entry(parsed(row, 0, "date")?).or_default();
        totals.output = RunSummary {
            rows: row.get(1)?,
            rejected: row.get(2)?,
            input_bytes: row.get(3)?,
            output_bytes: row.get(4)?,
            outputs: row.get(5)?,
            executors: 0,
            cpu_micros: row.get(6)?,
            reads: row.get(7)?,
            writes: row.get(8)?,
            without_rows: 0,
        };
        totals.last_commit = row.get::<_, Option<String>>(9)?.map(|_| instant(row, 9)).transpose()?;
    }
    Ok(())
}

fn oldest_pending(c: &Connection, date: DatePrefix) -> Done<Option<DateTime<Utc>>> {
    let sql = "SELECT upload_time FROM files WHERE status = 'pending' AND date_prefix = ?1
        ORDER BY upload_time, uri LIMIT 1";
    Ok(c.prepare_cached(sql)?.query_row([date.to_string()], |row| instant(row, 0)).optional()?)
}

/// Recounts the files and runs of a date.
pub(super) fn recount(c: &Connection, date: DatePrefix) -> Done<DateTotals> {
    let day = date.to_string();
    for sql in [
        "DELETE FROM date_files WHERE date_prefix = ?1",
        "DELETE FROM date_runs WHERE date_prefix = ?1",
        "DELETE FROM date_output WHERE date_prefix = ?1",
        "DELETE FROM backlogs WHERE date_prefix = ?1",
        "INSERT INTO backlogs SELECT date_prefix, count(*), sum(size_bytes) FROM files
            WHERE date_prefix = ?1 AND status = 'pending' GROUP BY date_prefix",
    ] {
        c.prepare_cached(sql)?.execute([&day])?;
    }
    for what in COUNTS {
        c.prepare_cached(&what.replace("{where}", "WHERE date_prefix = ?1"))?.execute([&day])?;
    }
    Ok(dates(c, Some(date), Some(date))?.pop().map(|(_, totals)| totals).unwrap_or_default())
}

/// Statements that count everything, or with a condition in place of `{where}`.
pub(super) const COUNTS: [&str; 3] = [
    "INSERT INTO date_files SELECT coalesce(date_prefix, ''), status,
        CASE status WHEN 'quarantined' THEN coalesce(reason, '') ELSE '' END, count(*), sum(size_bytes)
        FROM files {where} GROUP BY 1, 2, 3",
    "INSERT INTO date_runs SELECT date_prefix, status, count(*) FROM runs {where} GROUP BY 1, 2",
    "INSERT INTO date_output SELECT date_prefix, sum(coalesce(summary ->> 'rows', 0)), sum(coalesce(summary ->> 'rejected', 0)),
        sum(coalesce(summary ->> 'input_bytes', 0)), sum(coalesce(summary ->> 'output_bytes', 0)),
        sum(coalesce(summary ->> 'outputs', 0)), sum(coalesce(summary ->> 'cpu_micros', 0)),
        sum(coalesce(summary ->> 'reads', 0)), sum(coalesce(summary ->> 'writes', 0)), max(committed_at) FROM runs {where} GROUP BY 1",
];

pub(super) fn arrivals(c: &Connection) -> Done<FileTotal> {
    let sql = "SELECT files, bytes FROM arrivals";
    let total = |row: &rusqlite::Row<'_>| Ok(FileTotal { files: row.get(0)?, bytes: row.get(1)? });
    Ok(c.prepare_cached(sql)?.query_row([], total).optional()?.unwrap_or_default())
}

pub(super) fn note_work(c: &Connection, id: &ManifestId, attempt: u32, work: &AttemptWork) -> Done<()> {
    let Some(mut run) = find(c, id)? else { return Ok(()) };
    let Some(newest) = run.history.last_mut().filter(|newest| newest.number == attempt) else { return Ok(()) };
    newest.work = Some(work.clone());
    save(c, &run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_date_are_in_no_date() {
        let no_date = "";
        assert!(no_date.parse::<DatePrefix>().is_err());
        assert!(no_date < "0", "such files come before all dates");
    }
}
