//! Files and backlogs.

use super::SqliteStore;
use super::job::Done;
use super::rows::{FILE_COLUMNS, collect, find_file, insert_files, instant, note, parsed, time, tracked_file};
use crate::decide::{Decision, TAKEN_BACK, adopt, arrival, decide, decide_missing, note_overwrite, why_replaced};
use crate::{
    Backlog, FileFilter, FileStore, FoundFile, Overwrites, Page, Sequencer, TimelineEntry, Tracked, TrackedBatch,
    TrackedFile, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ObjectUri, QuarantineReason};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::{BTreeSet, HashSet};

pub(super) fn track(
    c: &Connection,
    found: &[FoundFile],
    overwrites: Overwrites,
    now: DateTime<Utc>,
) -> Done<TrackedBatch> {
    let mut batch = TrackedBatch::default();
    let mut dates = BTreeSet::new();
    let (mut new, mut new_uris) = (Vec::new(), HashSet::new());
    for file in found {
        if new_uris.contains(&file.uri) {
            // The file occurs a second time in the batch.
            insert_files(c, &std::mem::take(&mut new), None, now)?;
            new_uris.clear();
        }
        let outcome = match find_file(c, &file.uri)? {
            Some(known) => track_known(c, known, file, overwrites, now)?,
            None => {
                let (state, outcome) = arrival(file);
                new.push((file, state));
                new_uris.insert(&file.uri);
                outcome
            }
        };
        if matches!(outcome, Tracked::New | Tracked::Updated) {
            dates.extend(file.date);
        }
        batch.outcomes.push(outcome);
    }
    insert_files(c, &new, None, now)?;
    for date in dates {
        batch.backlogs.push((date, backlog(c, date)?));
    }
    Ok(batch)
}

fn track_known(
    c: &Connection,
    known: TrackedFile,
    file: &FoundFile,
    overwrites: Overwrites,
    now: DateTime<Utc>,
) -> Done<Tracked> {
    match decide(&known, file, overwrites, now) {
        Decision::Leave(outcome) => Ok(outcome),
        Decision::Replace(state, outcome) => {
            replace(c, &known, file, state, now)?;
            Ok(outcome)
        }
        Decision::Adopt(outcome) => {
            let mut after = known;
            adopt(&mut after, file);
            save_content(c, &after, &time(now))?;
            Ok(outcome)
        }
        Decision::NoteOverwrite => {
            let is_noted = known.overwritten_etag.as_deref() == Some(&file.etag);
            let (mut after, now) = (known, time(now));
            note_overwrite(&mut after, file);
            save_content(c, &after, &now)?;
            if !is_noted {
                let detail = format!("overwritten: etag {}", file.etag);
                note(c, file.uri.as_str(), after.state, Some(&detail), &now)?;
            }
            Ok(Tracked::Overwritten)
        }
    }
}

/// Writes the content of a file: size, entity tag and version.
fn save_content(c: &Connection, file: &TrackedFile, now: &str) -> Done<()> {
    let sql = "UPDATE files SET size_bytes = ?2, etag = ?3, version_id = ?4, sequencer = ?5, overwritten_etag = ?6,
        version = version + 1, updated_at = ?7 WHERE uri = ?1";
    c.prepare_cached(sql)?.execute(params![
        file.uri.as_str(),
        file.size_bytes,
        file.etag,
        file.version_id,
        file.sequencer.as_ref().map(Sequencer::as_str),
        file.overwritten_etag,
        now
    ])?;
    Ok(())
}

/// Replaces the record of a file by the finding.
fn replace(c: &Connection, known: &TrackedFile, file: &FoundFile, state: FileState, now: DateTime<Utc>) -> Done<()> {
    let now = time(now);
    let sql = "UPDATE files SET date_prefix = coalesce(date_prefix, ?2), size_bytes = ?3, etag = ?4, version_id = ?5,
        sequencer = coalesce(?6, sequencer), status = ?7, reason = ?8, manifest_id = NULL, quarantine_uri = NULL,
        overwritten_etag = NULL, version = version + 1, updated_at = ?9 WHERE uri = ?1";
    c.prepare_cached(sql)?.execute(params![
        file.uri.as_str(),
        file.date.map(|date| date.to_string()),
        file.size_bytes,
        file.etag,
        file.version_id,
        file.sequencer.as_ref().map(Sequencer::as_str),
        state.as_str(),
        file.quarantine.map(QuarantineReason::as_str),
        now
    ])?;
    note(c, file.uri.as_str(), state, Some(why_replaced(known, file)), &now)
}

pub(super) fn mark_missing(c: &Connection, found: &FoundFile, now: DateTime<Utc>) -> Done<bool> {
    let reason = QuarantineReason::MissingObject;
    let Some(known) = find_file(c, &found.uri)? else {
        let gone = FoundFile { quarantine: Some(reason), ..found.clone() };
        insert_files(c, &[(&gone, FileState::Quarantined)], None, now)?;
        return Ok(true);
    };
    let Some((state, reason)) = decide_missing(&known, found) else { return Ok(false) };
    let now = time(now);
    let sql = "UPDATE files SET status = ?2, reason = ?3, sequencer = coalesce(?4, sequencer), version = version + 1,
        updated_at = ?5 WHERE uri = ?1";
    let sequencer = found.sequencer.as_ref().map(Sequencer::as_str);
    c.prepare_cached(sql)?.execute(params![found.uri.as_str(), state.as_str(), reason.as_str(), sequencer, now])?;
    note(c, found.uri.as_str(), state, Some(reason.as_str()), &now)?;
    Ok(true)
}

/// Makes a failed file pending again, if it is unchanged since `seen`.
pub(super) fn take_back(c: &Connection, seen: &TrackedFile, now: DateTime<Utc>) -> Done<bool> {
    let now = time(now);
    let sql = "UPDATE files SET status = 'pending', reason = NULL, version = version + 1, updated_at = ?3
        WHERE uri = ?1 AND status = 'failed' AND version = ?2";
    let is_taken = c.prepare_cached(sql)?.execute(params![seen.uri.as_str(), seen.version, now])? > 0;
    if is_taken {
        note(c, seen.uri.as_str(), FileState::Pending, Some(TAKEN_BACK), &now)?;
    }
    Ok(is_taken)
}

pub(super) fn mark_moved(c: &Connection, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> Done<()> {
    let sql = "UPDATE files SET quarantine_uri = ?2, version = version + 1, updated_at = ?3
        WHERE uri = ?1 AND status = 'quarantined'";
    c.prepare_cached(sql)?.execute(params![uri.as_str(), to, time(now)])?;
    Ok(())
}

pub(super) fn count(c: &Connection) -> Done<Vec<(FileState, u64)>> {
    // Read from the totals that triggers maintain: counting a million files takes a second.
    let sql = "SELECT status, sum(files) FROM date_files GROUP BY status HAVING sum(files) > 0";
    let mut statement = c.prepare_cached(sql)?;
    collect(statement.query_map([], |row| Ok((parsed(row, 0, "file state")?, row.get(1)?)))?)
}

pub(super) fn timeline(c: &Connection, uri: &ObjectUri) -> Done<Vec<TimelineEntry>> {
    let mut statement = c.prepare_cached("SELECT at, status, detail FROM timeline WHERE uri = ?1 ORDER BY rowid")?;
    let rows = statement.query_map([uri.as_str()], |row| {
        Ok(TimelineEntry { at: instant(row, 0)?, state: parsed(row, 1, "file state")?, detail: row.get(2)? })
    })?;
    collect(rows)
}

pub(super) fn pending(c: &Connection, date: DatePrefix, limit: usize) -> Done<Vec<TrackedFile>> {
    let sql =
        format!("{FILE_COLUMNS} WHERE status = 'pending' AND date_prefix = ?1 ORDER BY upload_time, uri LIMIT ?2");
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    collect(c.prepare_cached(&sql)?.query_map(params![date.to_string(), limit], tracked_file)?)
}

pub(super) fn backlog(c: &Connection, date: DatePrefix) -> Done<Backlog> {
    let date = date.to_string();
    let sql = "SELECT pending_files, pending_bytes, (SELECT upload_time FROM files WHERE status = 'pending'
        AND date_prefix = ?1 ORDER BY upload_time LIMIT 1) FROM backlogs WHERE date_prefix = ?1";
    let mut statement = c.prepare_cached(sql)?;
    let backlog = statement.query_row([date], |row| {
        let oldest: Option<String> = row.get(2)?;
        Ok(Backlog {
            pending_files: row.get(0)?,
            pending_bytes: row.get(1)?,
            oldest_pending: oldest.map(|_| instant(row, 2)).transpose()?,
        })
    });
    Ok(backlog.optional()?.unwrap_or_default())
}

pub(super) fn backlogs(c: &Connection) -> Done<Vec<(DatePrefix, Backlog)>> {
    let sql = "SELECT date_prefix FROM backlogs WHERE pending_files > 0 ORDER BY date_prefix";
    let dates: Vec<DatePrefix> = collect(c.prepare_cached(sql)?.query_map([], |row| parsed(row, 0, "date"))?)?;
    dates.into_iter().map(|date| Ok((date, backlog(c, date)?))).collect()
}

pub(super) fn recount(c: &Connection, date: DatePrefix) -> Done<Backlog> {
    c.execute(
        "INSERT OR REPLACE INTO backlogs SELECT ?1, count(*), coalesce(sum(size_bytes), 0) FROM files
         WHERE status = 'pending' AND date_prefix = ?1",
        [date.to_string()],
    )?;
    backlog(c, date)
}

#[async_trait]
impl FileStore for SqliteStore {
    async fn track(
        &self,
        found: &[FoundFile],
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<TrackedBatch> {
        let found: Vec<FoundFile> = found.iter().map(FoundFile::bounded).collect();
        self.worker.write(move |c| track(c, &found, overwrites, now)).await
    }

    async fn mark_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let found = found.bounded();
        self.worker.write(move |c| mark_missing(c, &found, now)).await
    }

    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool> {
        let seen = seen.clone();
        self.worker.write(move |c| take_back(c, &seen, now)).await
    }

    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()> {
        let (uri, to) = (uri.clone(), to.to_owned());
        self.worker.write(move |c| mark_moved(c, &uri, &to, now)).await
    }

    async fn files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>> {
        let uris = uris.to_vec();
        self.worker.read(move |c| uris.iter().map(|uri| super::rows::find_file(c, uri)).collect()).await
    }

    async fn list_files(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>> {
        let filter = filter.clone();
        self.worker.read(move |c| super::listing::files(c, &filter)).await
    }

    async fn count_files(&self) -> TrackingResult<Vec<(FileState, u64)>> {
        self.worker.read(count).await
    }

    async fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>> {
        let uri = uri.clone();
        self.worker.read(move |c| timeline(c, &uri)).await
    }

    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>> {
        self.worker.read(move |c| pending(c, date, limit)).await
    }

    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.worker.read(move |c| backlog(c, date)).await
    }

    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>> {
        self.worker.read(backlogs).await
    }

    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog> {
        self.worker.write(move |c| recount(c, date)).await
    }
}
