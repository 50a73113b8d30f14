//! The embedded store: one SQLite file in WAL mode, safe for several processes.
//!
//! Each method is one transaction: it happens whole or not at all, whenever the process dies.

use crate::schema::{TABLES, VERSION};
use crate::{
    Commit, FoundFile, QueuedManifest, Run, RunState, TimelineEntry, Tracked, TrackedFile, TrackingError,
    TrackingResult,
};
use chrono::{DateTime, SecondsFormat, Utc};
use millwork_manifest::{DatePrefix, Failure, FileState, Manifest, ManifestId, ObjectUri, QuarantineReason};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long a statement waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(30);

/// The embedded store.
pub struct SqliteStore {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Held by the one process that runs manifests; the system lets go of it when that process ends, however it does.
    _owner: Option<File>,
}

type SqlResult<T> = rusqlite::Result<T>;

impl SqliteStore {
    /// Opens the store, creating it if it is not there.
    pub fn open(path: &Path) -> TrackingResult<Self> {
        let open_error = |source| TrackingError::Open { path: path.display().to_string(), source };
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(open_error)?;
        }
        let fail = |source| TrackingError::Unavailable { path: path.display().to_string(), source };
        let mut connection = Connection::open(path).map_err(fail)?;
        prepare(&mut connection, path)?;
        Ok(Self { path: path.to_owned(), connection: Mutex::new(connection), _owner: None })
    }

    /// Opens the store as the one process that runs its manifests.
    pub fn open_as_owner(path: &Path) -> TrackingResult<Self> {
        let store = Self::open(path)?;
        let lock_path = path.with_extension("lock");
        let open_error = |source| TrackingError::Open { path: lock_path.display().to_string(), source };
        let lock = File::create(&lock_path).map_err(open_error)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _owner: Some(lock), ..store }),
            Err(std::fs::TryLockError::WouldBlock) => Err(TrackingError::InUse(path.display().to_string())),
            Err(std::fs::TryLockError::Error(e)) => Err(open_error(e)),
        }
    }

    /// Runs `work` as one transaction.
    fn write<T>(&self, work: impl FnOnce(&Transaction<'_>) -> Result<T, Problem>) -> TrackingResult<T> {
        let mut connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        let done = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(Problem::Sql).and_then(
            |transaction| {
                let value = work(&transaction)?;
                transaction.commit()?;
                Ok(value)
            },
        );
        done.map_err(|problem| self.explain(problem))
    }

    fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T, Problem>) -> TrackingResult<T> {
        let connection = self.connection.lock().unwrap_or_else(PoisonError::into_inner);
        work(&connection).map_err(|problem| self.explain(problem))
    }

    fn explain(&self, problem: Problem) -> TrackingError {
        match problem {
            Problem::Sql(source) => TrackingError::Unavailable { path: self.path.display().to_string(), source },
            Problem::Ours(error) => *error,
        }
    }

    /// Notes files as they were found. Files that are known keep their state; see [`Tracked`].
    pub fn track(&self, found: &[FoundFile], now: DateTime<Utc>) -> TrackingResult<Vec<Tracked>> {
        self.write(|t| found.iter().map(|file| track_one(t, file, now)).collect())
    }

    /// The files of each date that wait for a manifest, oldest first: the pending ones, and those whose run failed.
    pub fn waiting(&self) -> TrackingResult<Vec<TrackedFile>> {
        self.read(|c| {
            let sql =
                format!("{FILE_COLUMNS} WHERE status IN ('pending', 'failed') ORDER BY date_prefix, upload_time, uri");
            collect(c.prepare_cached(&sql)?.query_map([], tracked_file)?)
        })
    }

    /// The number of files in each state.
    pub fn count_files(&self) -> TrackingResult<Vec<(FileState, u64)>> {
        self.read(|c| {
            let mut statement = c.prepare_cached("SELECT status, count(*) FROM files GROUP BY status")?;
            let rows = statement.query_map([], |row| Ok((parsed(row, 0, "file state")?, row.get(1)?)))?;
            collect(rows)
        })
    }

    /// Marks a file that waits, but is not there any more.
    pub fn mark_missing(&self, uri: &ObjectUri, now: DateTime<Utc>) -> TrackingResult<()> {
        self.write(|t| {
            t.execute(
                "UPDATE files SET status = 'quarantined', reason = ?2, version = version + 1
                 WHERE uri = ?1 AND status IN ('pending', 'failed')",
                params![uri.as_str(), QuarantineReason::MissingObject.as_str()],
            )?;
            note(t, uri.as_str(), FileState::Quarantined, Some(QuarantineReason::MissingObject.as_str()), now)
        })
    }

    /// The next batch index of a date; no two calls get the same.
    pub fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        self.write(|t| {
            Ok(t.query_row(
                "INSERT INTO batch_indexes VALUES (?1, 1)
                 ON CONFLICT (date_prefix) DO UPDATE SET last_index = last_index + 1 RETURNING last_index",
                [date.to_string()],
                |row| row.get(0),
            )?)
        })
    }

    /// Puts a manifest's files in it and queues its run, both or neither. A file that is unknown is tracked; one that
    /// is in another manifest refuses the whole. A run that is there stays as it is; returns whether it is new.
    pub fn queue(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<bool> {
        let manifest = &queued.manifest;
        self.write(|t| {
            let known: Option<String> = t
                .query_row("SELECT document FROM runs WHERE manifest_id = ?1", [manifest.id.as_str()], |row| row.get(0))
                .optional()?;
            if let Some(document) = known {
                return check_same_files(manifest, &document);
            }
            for file in &manifest.files {
                claim(t, manifest, file, now)?;
            }
            t.execute(
                "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, 'queued', 0, NULL, ?5, ?5)",
                params![manifest.id.as_str(), manifest.date.to_string(), queued.uri, manifest.to_json(), time(now)],
            )?;
            Ok(true)
        })
    }

    /// One run.
    pub fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>> {
        self.read(|c| {
            let sql = format!("{RUN_COLUMNS} WHERE r.manifest_id = ?1");
            Ok(c.prepare_cached(&sql)?.query_row([id.as_str()], run).optional()?)
        })
    }

    /// The newest runs, newest first.
    pub fn runs(&self, limit: usize) -> TrackingResult<Vec<Run>> {
        self.read(|c| {
            let sql = format!("{RUN_COLUMNS} ORDER BY r.created_at DESC, r.manifest_id DESC LIMIT ?1");
            collect(c.prepare_cached(&sql)?.query_map([limit as i64], run)?)
        })
    }

    /// The manifests whose runs have not ended, oldest first.
    pub fn unfinished(&self) -> TrackingResult<Vec<QueuedManifest>> {
        self.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT document, manifest_uri, created_at FROM runs WHERE status IN ('queued', 'running', 'committing')
                 ORDER BY created_at, manifest_id",
            )?;
            let rows = statement.query_map([], |row| {
                let (document, uri): (String, String) = (row.get(0)?, row.get(1)?);
                let manifest = Manifest::parse(&uri, document.as_bytes(), DateTime::default());
                manifest
                    .map(|manifest| QueuedManifest { manifest, uri })
                    .map_err(|e| invalid(0, "a manifest", e.to_string()))
            })?;
            collect(rows)
        })
    }

    /// Starts an attempt at a run that is queued or, after a crash, running. Returns the attempt's number, from 1.
    pub fn start_attempt(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<u32> {
        self.write(|t| {
            let wanted = "an attempt needs a queued or interrupted run";
            set_run_state(t, id, &[RunState::Queued, RunState::Running], RunState::Running, None, wanted, now)?;
            move_files(t, id, FileState::Manifested, FileState::Processing, now)?;
            t.execute("UPDATE runs SET attempts = attempts + 1 WHERE manifest_id = ?1", [id.as_str()])?;
            Ok(t.query_row("SELECT attempts FROM runs WHERE manifest_id = ?1", [id.as_str()], |row| row.get(0))?)
        })
    }

    /// Ends a run without output. If one file is at fault, it alone fails, and the others wait for a new manifest; else
    /// all of them fail.
    pub fn fail(&self, id: &ManifestId, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()> {
        self.write(|t| {
            let wanted = "only a run that is not committed can fail";
            let from = [RunState::Queued, RunState::Running];
            set_run_state(t, id, &from, RunState::Failed, Some(failure), wanted, now)?;
            move_files(t, id, FileState::Manifested, FileState::Processing, now)?;
            if let Some(culprit) = &failure.file {
                t.execute(
                    "UPDATE files SET status = 'failed', version = version + 1
                     WHERE manifest_id = ?1 AND uri = ?2 AND status = 'processing'",
                    params![id.as_str(), culprit],
                )?;
                if t.changes() > 0 {
                    note(t, culprit, FileState::Failed, Some(&failure.message), now)?;
                    move_files(t, id, FileState::Processing, FileState::Manifested, now)?;
                    return move_files(t, id, FileState::Manifested, FileState::Pending, now);
                }
            }
            move_files(t, id, FileState::Processing, FileState::Failed, now)
        })
    }

    /// Puts an interrupted or failed run back in the queue.
    pub fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.write(|t| {
            let wanted = "only a run that failed or was interrupted can be queued again";
            let from = [RunState::Running, RunState::Failed, RunState::Cancelled];
            set_run_state(t, id, &from, RunState::Queued, None, wanted, now)?;
            move_files(t, id, FileState::Processing, FileState::Manifested, now)?;
            move_files(t, id, FileState::Failed, FileState::Manifested, now)?;
            move_files(t, id, FileState::Pending, FileState::Manifested, now)?;
            check_owns_files(t, id, FileState::Manifested)
        })
    }

    /// Decides that this attempt's output is the manifest's, for ever. False if another attempt, or the same one
    /// before, has won: then nothing changes.
    ///
    /// The record must hold all that is needed to finish the publication, by whoever comes.
    pub fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool> {
        let id = &commit.manifest_id;
        self.write(|t| {
            let attempts: u32 =
                t.query_row("SELECT attempts FROM runs WHERE manifest_id = ?1", [id.as_str()], |row| row.get(0))?;
            // A newer attempt has started: this one was given up.
            if attempts != commit.attempt {
                return Ok(false);
            }
            check_owns_files(t, id, FileState::Processing)?;
            let inserted = t.execute(
                "INSERT INTO commits VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING",
                params![id.as_str(), commit.attempt, commit.record, result.to_string(), time(now)],
            )?;
            if inserted == 0 {
                return Ok(false);
            }
            let wanted = "only a running run can be committed";
            set_run_state(t, id, &[RunState::Running], RunState::Committing, None, wanted, now)?;
            Ok(true)
        })
    }

    /// The commit of a run whose publication is not finished.
    pub fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>> {
        self.read(|c| {
            let mut statement = c.prepare_cached(
                "SELECT attempt, record FROM commits JOIN runs USING (manifest_id)
                 WHERE manifest_id = ?1 AND status = 'committing'",
            )?;
            let commit = statement.query_row([id.as_str()], |row| {
                Ok(Commit { manifest_id: id.clone(), attempt: row.get(0)?, record: row.get(1)? })
            });
            Ok(commit.optional()?)
        })
    }

    /// Notes that a committed run's output is in its place: the run and its files are completed.
    pub fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()> {
        self.write(|t| {
            let wanted = "only a committed run can be completed";
            set_run_state(t, id, &[RunState::Committing], RunState::Completed, None, wanted, now)?;
            move_files(t, id, FileState::Processing, FileState::Completed, now)
        })
    }

    /// A file's timeline, oldest first.
    pub fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>> {
        self.read(|c| {
            let mut statement =
                c.prepare_cached("SELECT at, status, detail FROM timeline WHERE uri = ?1 ORDER BY rowid")?;
            let rows = statement.query_map([uri.as_str()], |row| {
                Ok(TimelineEntry { at: instant(row, 0)?, state: parsed(row, 1, "file state")?, detail: row.get(2)? })
            })?;
            collect(rows)
        })
    }
}

/// What can go wrong inside a transaction.
enum Problem {
    Sql(rusqlite::Error),
    Ours(Box<TrackingError>),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn ours<T>(error: TrackingError) -> Result<T, Problem> {
    Err(Problem::Ours(Box::new(error)))
}

fn prepare(connection: &mut Connection, path: &Path) -> TrackingResult<()> {
    let fail = |source| TrackingError::Unavailable { path: path.display().to_string(), source };
    let set_up = |connection: &mut Connection| -> SqlResult<i64> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "wal")?;
        // A commit record that power loss takes back would let a manifest be written twice.
        connection.pragma_update(None, "synchronous", "full")?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
        if found == 0 {
            transaction.execute_batch(TABLES)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
            transaction.commit()?;
            return Ok(VERSION);
        }
        Ok(found)
    };
    match set_up(connection).map_err(fail)? {
        found if found > VERSION => {
            Err(TrackingError::TooNew { path: path.display().to_string(), found, known: VERSION })
        }
        _ => Ok(()),
    }
}

const FILE_COLUMNS: &str =
    "SELECT uri, date_prefix, size_bytes, etag, status, version, manifest_id, upload_time FROM files";
const RUN_COLUMNS: &str = "SELECT r.manifest_id, r.date_prefix, r.manifest_uri, r.status, r.attempts, r.failure,
    r.created_at, r.updated_at, c.result FROM runs r LEFT JOIN commits c USING (manifest_id)";

fn collect<T>(rows: impl Iterator<Item = SqlResult<T>>) -> Result<Vec<T>, Problem> {
    Ok(rows.collect::<SqlResult<Vec<T>>>()?)
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Micros, true)
}

fn invalid(column: usize, what: &'static str, value: String) -> rusqlite::Error {
    let error = TrackingError::Corrupt { what, value };
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn parsed<T: std::str::FromStr>(row: &Row<'_>, column: usize, what: &'static str) -> SqlResult<T> {
    let text: String = row.get(column)?;
    text.parse().map_err(|_| invalid(column, what, text))
}

fn instant(row: &Row<'_>, column: usize) -> SqlResult<DateTime<Utc>> {
    parsed(row, column, "a time")
}

fn tracked_file(row: &Row<'_>) -> SqlResult<TrackedFile> {
    let date: Option<String> = row.get(1)?;
    Ok(TrackedFile {
        uri: parsed(row, 0, "object URI")?,
        date: date.and_then(|date| date.parse().ok()),
        size_bytes: row.get(2)?,
        etag: row.get(3)?,
        state: parsed(row, 4, "file state")?,
        version: row.get(5)?,
        manifest_id: row.get(6)?,
        arrived_at: instant(row, 7)?,
    })
}

fn run(row: &Row<'_>) -> SqlResult<Run> {
    let state: String = row.get(3)?;
    let json = |column| -> SqlResult<Option<serde_json::Value>> {
        let text: Option<String> = row.get(column)?;
        text.map(|text| serde_json::from_str(&text).map_err(|e| invalid(column, "a document", e.to_string())))
            .transpose()
    };
    Ok(Run {
        manifest_id: parsed(row, 0, "manifest id")?,
        date: parsed(row, 1, "date")?,
        manifest_uri: row.get(2)?,
        state: RunState::parse(&state).ok_or_else(|| invalid(3, "run state", state))?,
        attempts: row.get(4)?,
        failure: json(5)?.and_then(|value| serde_json::from_value(value).ok()),
        created_at: instant(row, 6)?,
        updated_at: instant(row, 7)?,
        result: json(8)?,
    })
}

fn note(
    t: &Transaction<'_>,
    uri: &str,
    state: FileState,
    detail: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    t.prepare_cached("INSERT INTO timeline VALUES (?1, ?2, ?3, ?4)")?.execute(params![
        uri,
        time(now),
        state.as_str(),
        detail
    ])?;
    Ok(())
}

fn find(t: &Transaction<'_>, uri: &ObjectUri) -> Result<Option<TrackedFile>, Problem> {
    let sql = format!("{FILE_COLUMNS} WHERE uri = ?1");
    Ok(t.prepare_cached(&sql)?.query_row([uri.as_str()], tracked_file).optional()?)
}

fn track_one(t: &Transaction<'_>, file: &FoundFile, now: DateTime<Utc>) -> Result<Tracked, Problem> {
    let Some(known) = find(t, &file.uri)? else {
        let state = if file.quarantine.is_some() { FileState::Quarantined } else { FileState::Pending };
        insert_file(t, file, state, None, now)?;
        return Ok(file.quarantine.map_or(Tracked::New, Tracked::Quarantined));
    };
    if known.etag == file.etag && known.state != FileState::Quarantined {
        return Ok(Tracked::Known);
    }
    match known.state {
        FileState::Pending | FileState::Failed | FileState::Quarantined => {
            let is_same = known.state == FileState::Quarantined && known.etag == file.etag;
            match file.quarantine.filter(|_| is_same) {
                Some(reason) => Ok(Tracked::StillQuarantined(reason)),
                None => update_found(t, file, &known, now),
            }
        }
        FileState::Manifested | FileState::Processing | FileState::Completed => {
            let detail = format!("overwritten: etag {}", file.etag);
            let noted: bool = t
                .prepare_cached("SELECT EXISTS (SELECT 1 FROM timeline WHERE uri = ?1 AND detail = ?2)")?
                .query_row(params![file.uri.as_str(), detail], |row| row.get(0))?;
            if !noted {
                note(t, file.uri.as_str(), known.state, Some(&detail), now)?;
            }
            Ok(Tracked::Overwritten)
        }
    }
}

/// Takes over what was found now of a file that is not converted.
fn update_found(
    t: &Transaction<'_>,
    file: &FoundFile,
    known: &TrackedFile,
    now: DateTime<Utc>,
) -> Result<Tracked, Problem> {
    let state = match (known.state, file.quarantine) {
        (_, Some(_)) => FileState::Quarantined,
        (FileState::Quarantined, None) => FileState::Pending,
        (state, None) => state,
    };
    t.execute(
        "UPDATE files SET size_bytes = ?2, etag = ?3, status = ?4, reason = ?5, date_prefix = ?6, version = version + 1
         WHERE uri = ?1 AND version = ?7",
        params![
            file.uri.as_str(),
            file.size_bytes,
            file.etag,
            state.as_str(),
            file.quarantine.map(QuarantineReason::as_str),
            file.date.map(|date| date.to_string()),
            known.version
        ],
    )?;
    note(t, file.uri.as_str(), state, Some("found with other content"), now)?;
    Ok(file.quarantine.map_or(Tracked::Updated, Tracked::Quarantined))
}

fn insert_file(
    t: &Transaction<'_>,
    file: &FoundFile,
    state: FileState,
    manifest_id: Option<&str>,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let reason = file.quarantine.map(QuarantineReason::as_str);
    t.prepare_cached("INSERT INTO files VALUES (?1, ?2, ?3, ?4, ?5, 1, ?6, ?7, ?8)")?.execute(params![
        file.uri.as_str(),
        file.date.map(|date| date.to_string()),
        file.size_bytes,
        file.etag,
        state.as_str(),
        manifest_id,
        reason,
        time(now)
    ])?;
    note(t, file.uri.as_str(), state, reason.or(manifest_id), now)
}

fn claim(
    t: &Transaction<'_>,
    manifest: &Manifest,
    file: &millwork_manifest::ManifestFile,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let id = manifest.id.as_str();
    let Some(known) = find(t, &file.uri)? else {
        let found = FoundFile {
            uri: file.uri.clone(),
            date: Some(manifest.date),
            size_bytes: file.size_bytes.unwrap_or(0),
            etag: file.etag.clone().unwrap_or_default(),
            quarantine: None,
        };
        return insert_file(t, &found, FileState::Manifested, Some(id), now);
    };
    if known.state.check_transition(FileState::Manifested).is_err() || known.state == FileState::Processing {
        return ours(TrackingError::Taken {
            uri: file.uri.to_string(),
            state: known.state,
            holder: known.manifest_id.map(|id| format!(" in manifest `{id}`")).unwrap_or_default(),
            manifest_id: id.to_owned(),
        });
    }
    t.prepare_cached("UPDATE files SET status = 'manifested', manifest_id = ?2, version = version + 1 WHERE uri = ?1")?
        .execute(params![file.uri.as_str(), id])?;
    note(t, file.uri.as_str(), FileState::Manifested, Some(id), now)
}

/// Refuses a manifest that has the id of another one. Returns false: it is known.
fn check_same_files(manifest: &Manifest, document: &str) -> Result<bool, Problem> {
    let known = Manifest::parse(manifest.id.as_str(), document.as_bytes(), DateTime::default());
    let uris = |manifest: &Manifest| manifest.files.iter().map(|file| file.uri.clone()).collect::<Vec<_>>();
    if known.is_ok_and(|known| uris(&known) == uris(manifest)) {
        return Ok(false);
    }
    let found = "known with other files".to_owned();
    ours(TrackingError::Conflict {
        manifest_id: manifest.id.to_string(),
        found,
        wanted: "give the new manifest an id of its own",
    })
}

/// Refuses to go on with a manifest some of whose files are in another one by now: their rows would be there twice.
fn check_owns_files(t: &Transaction<'_>, id: &ManifestId, state: FileState) -> Result<(), Problem> {
    let (listed, owned): (u64, u64) = t.query_row(
        "SELECT document ->> '$.metadata.file_count',
                (SELECT count(*) FROM files WHERE manifest_id = ?1 AND status = ?2) FROM runs WHERE manifest_id = ?1",
        params![id.as_str(), state.as_str()],
        |row| Ok((row.get(0)?, row.get(1)?)),
    )?;
    if listed == owned {
        return Ok(());
    }
    let found = format!("left with {owned} of its {listed} files");
    let wanted = "the others are in a newer manifest: submit that one";
    ours(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted })
}

/// Moves those of a manifest's files that are in one state to the next, each with a note.
fn move_files(
    t: &Transaction<'_>,
    id: &ManifestId,
    from: FileState,
    to: FileState,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    t.execute(
        "INSERT INTO timeline SELECT uri, ?3, ?4, ?1 FROM files WHERE manifest_id = ?1 AND status = ?2",
        params![id.as_str(), from.as_str(), time(now), to.as_str()],
    )?;
    t.execute(
        "UPDATE files SET status = ?3, version = version + 1 WHERE manifest_id = ?1 AND status = ?2",
        params![id.as_str(), from.as_str(), to.as_str()],
    )?;
    Ok(())
}

fn set_run_state(
    t: &Transaction<'_>,
    id: &ManifestId,
    from: &[RunState],
    to: RunState,
    failure: Option<&Failure>,
    wanted: &'static str,
    now: DateTime<Utc>,
) -> Result<(), Problem> {
    let found: Option<String> =
        t.query_row("SELECT status FROM runs WHERE manifest_id = ?1", [id.as_str()], |row| row.get(0)).optional()?;
    if !from.iter().any(|state| found.as_deref() == Some(state.as_str())) {
        let found = found.unwrap_or_else(|| "unknown".to_owned());
        return ours(TrackingError::Conflict { manifest_id: id.to_string(), found, wanted });
    }
    let failure = failure.and_then(|failure| serde_json::to_string(failure).ok());
    t.execute(
        "UPDATE runs SET status = ?2, failure = ?3, updated_at = ?4 WHERE manifest_id = ?1",
        params![id.as_str(), to.as_str(), failure, time(now)],
    )?;
    Ok(())
}

#[cfg(test)]
mod tests;
