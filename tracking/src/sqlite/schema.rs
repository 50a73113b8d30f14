//! Schema of the SQLite database: tables, indexes and triggers.

/// Format version of the database, stored in `user_version`.
pub(super) const VERSION: i64 = 4;
/// Oldest format that is migrated when a database is opened.
pub(super) const OLDEST: i64 = 3;

/// Application id of Millwork's databases, stored in `application_id` (SQLite file format, offset 68): the bytes
/// `Mlwk`.
pub(super) const APPLICATION_ID: i64 = 0x4d6c_776b;
/// Tables that every format has had, including those without an application id.
pub(super) const OLDEST_TABLES: [&str; 5] = ["files", "timeline", "locks", "runs", "commits"];

/// Tables of the first format. Backlogs are maintained by triggers, so that no change of a file's state can miss them.
pub(super) const TABLES: &str = "
CREATE TABLE files (
    uri              TEXT PRIMARY KEY,
    date_prefix      TEXT,
    size_bytes       INTEGER NOT NULL,
    etag             TEXT NOT NULL,
    version_id       TEXT,
    sequencer        TEXT,
    status           TEXT NOT NULL,
    version          INTEGER NOT NULL,
    manifest_id      TEXT,
    reason           TEXT,
    quarantine_uri   TEXT,
    overwritten_etag TEXT,
    upload_time      TEXT NOT NULL,
    updated_at       TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_status ON files (status, upload_time, uri);
CREATE INDEX files_pending ON files (date_prefix, upload_time, uri) WHERE status = 'pending';
CREATE INDEX files_by_date ON files (date_prefix, upload_time, uri);
CREATE INDEX files_by_age ON files (upload_time, uri);
CREATE INDEX files_by_manifest ON files (manifest_id) WHERE manifest_id IS NOT NULL;

CREATE TABLE backlogs (
    date_prefix   TEXT PRIMARY KEY,
    pending_files INTEGER NOT NULL,
    pending_bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TRIGGER backlog_grows AFTER INSERT ON files WHEN new.status = 'pending' BEGIN
    INSERT INTO backlogs VALUES (new.date_prefix, 1, new.size_bytes) ON CONFLICT DO UPDATE
        SET pending_files = pending_files + 1, pending_bytes = pending_bytes + new.size_bytes;
END;
CREATE TRIGGER backlog_changes AFTER UPDATE OF status, size_bytes, date_prefix ON files
WHEN old.status = 'pending' OR new.status = 'pending' BEGIN
    UPDATE backlogs SET pending_files = pending_files - 1, pending_bytes = pending_bytes - old.size_bytes
        WHERE old.status = 'pending' AND date_prefix = old.date_prefix;
    INSERT INTO backlogs SELECT new.date_prefix, 1, new.size_bytes WHERE new.status = 'pending' ON CONFLICT DO UPDATE
        SET pending_files = pending_files + 1, pending_bytes = pending_bytes + new.size_bytes;
END;

CREATE TABLE timeline (
    uri    TEXT NOT NULL,
    at     TEXT NOT NULL,
    status TEXT NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX timeline_by_uri ON timeline (uri);

CREATE TABLE locks (
    name       TEXT PRIMARY KEY,
    holder     TEXT NOT NULL,
    token      INTEGER NOT NULL,
    expires_at TEXT NOT NULL,
    acquired_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Signs of life of the builders.
CREATE TABLE builders (
    id      TEXT PRIMARY KEY,
    seen_at TEXT NOT NULL,
    note    TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE batch_indexes (
    date_prefix TEXT PRIMARY KEY,
    last_index  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE runs (
    manifest_id      TEXT PRIMARY KEY,
    date_prefix      TEXT NOT NULL,
    manifest_uri     TEXT NOT NULL,
    status           TEXT NOT NULL,
    priority         INTEGER NOT NULL,
    files            INTEGER NOT NULL,
    bytes            INTEGER NOT NULL,
    attempts         INTEGER NOT NULL,
    failures         INTEGER NOT NULL,
    generation       INTEGER NOT NULL,
    not_before       TEXT,
    cancel_requested INTEGER NOT NULL,
    failure          TEXT,
    failure_class    TEXT,
    created_at       TEXT NOT NULL,
    updated_at       TEXT NOT NULL,
    started_at       TEXT,
    committed_at     TEXT,
    ended_at         TEXT,
    history          TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_queued ON runs (priority DESC, created_at, manifest_id, not_before) WHERE status = 'queued';
CREATE INDEX runs_by_status ON runs (status, created_at, manifest_id, bytes);
CREATE INDEX runs_by_date ON runs (date_prefix, created_at, manifest_id);
CREATE INDEX runs_by_age ON runs (created_at, manifest_id);

-- The manifest of each run.
CREATE TABLE documents (
    manifest_id TEXT PRIMARY KEY,
    document    TEXT NOT NULL
) STRICT;

CREATE TABLE commits (
    manifest_id TEXT NOT NULL,
    generation  INTEGER NOT NULL,
    attempt     INTEGER NOT NULL,
    record      TEXT NOT NULL,
    result      TEXT NOT NULL,
    at          TEXT NOT NULL,
    PRIMARY KEY (manifest_id, generation)
) STRICT, WITHOUT ROWID;

CREATE TABLE metrics (
    metric_date TEXT NOT NULL,
    metric_type TEXT NOT NULL,
    value       INTEGER NOT NULL,
    PRIMARY KEY (metric_date, metric_type)
) STRICT, WITHOUT ROWID;
";

/// Later tables and indexes, which are added to an existing database when it is opened: takes some seconds for a
/// million files, once.
///
/// The index `runs_listed` contains all that a listing shows, by age: rows of the table are scattered, and half of each is the
/// history of attempts, so that a page of 1,000 runs would read 2,000 pages of the file.
pub(super) const ADDED: &str = "
CREATE TABLE IF NOT EXISTS audit_entries (
    place TEXT PRIMARY KEY,
    entry TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS plans (
    id           TEXT PRIMARY KEY,
    revision     INTEGER NOT NULL,
    forget_after TEXT NOT NULL,
    document     TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS plans_by_age ON plans (forget_after);

CREATE INDEX IF NOT EXISTS files_by_reason ON files (reason, upload_time, uri, status, date_prefix) WHERE reason IS NOT NULL;
CREATE INDEX IF NOT EXISTS files_ended ON files (date_prefix, status, upload_time, uri) WHERE status IN ('failed', 'quarantined');
CREATE INDEX IF NOT EXISTS runs_by_date_state ON runs (date_prefix, status, created_at, manifest_id);
CREATE INDEX IF NOT EXISTS runs_by_class ON runs (failure_class, created_at, manifest_id, status, date_prefix) WHERE failure_class IS NOT NULL;
CREATE INDEX IF NOT EXISTS runs_listed ON runs (created_at, manifest_id, date_prefix, manifest_uri, status, priority, files, bytes,
    attempts, failures, generation, not_before, cancel_requested, failure, updated_at, started_at, committed_at, ended_at, summary);
CREATE INDEX IF NOT EXISTS runs_ahead ON runs (priority DESC, created_at, manifest_id, bytes, files) WHERE status = 'queued';
DROP INDEX IF EXISTS runs_by_failure;
";

/// Statistics, since format 4: totals of dates (maintained by triggers, like backlogs), series and notes.
pub(super) const NUMBERS: &str = "
CREATE TABLE date_files (
    date_prefix TEXT NOT NULL,
    status      TEXT NOT NULL,
    reason      TEXT NOT NULL,
    files       INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    PRIMARY KEY (date_prefix, status, reason)
) STRICT, WITHOUT ROWID;
CREATE TABLE date_runs (
    date_prefix TEXT NOT NULL,
    status      TEXT NOT NULL,
    runs        INTEGER NOT NULL,
    PRIMARY KEY (date_prefix, status)
) STRICT, WITHOUT ROWID;
CREATE TABLE date_output (
    date_prefix  TEXT PRIMARY KEY,
    rows         INTEGER NOT NULL,
    rejected     INTEGER NOT NULL,
    input_bytes  INTEGER NOT NULL,
    output_bytes INTEGER NOT NULL,
    outputs      INTEGER NOT NULL,
    cpu_micros   INTEGER NOT NULL,
    reads        INTEGER NOT NULL,
    writes       INTEGER NOT NULL,
    last_commit  TEXT
) STRICT, WITHOUT ROWID;
CREATE TABLE arrivals (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    files INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT;
INSERT INTO arrivals VALUES (1, 0, 0);
CREATE TABLE series (
    step   INTEGER NOT NULL,
    at     INTEGER NOT NULL,
    sample TEXT NOT NULL,
    PRIMARY KEY (step, at)
) STRICT, WITHOUT ROWID;
CREATE TABLE notes (
    kind       TEXT NOT NULL,
    name       TEXT NOT NULL,
    at         TEXT NOT NULL,
    value      TEXT NOT NULL,
    expires_at TEXT NOT NULL,
    PRIMARY KEY (kind, name)
) STRICT, WITHOUT ROWID;

-- They are right from the start.
INSERT INTO notes VALUES ('totals', 'counted', '1970-01-01T00:00:00.000000Z', 'true', '9999-12-31T00:00:00.000000Z');

CREATE TRIGGER file_counts AFTER INSERT ON files BEGIN
    INSERT INTO date_files VALUES (coalesce(new.date_prefix, ''), new.status,
        CASE new.status WHEN 'quarantined' THEN coalesce(new.reason, '') ELSE '' END, 1, new.size_bytes)
        ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + new.size_bytes;
    UPDATE arrivals SET files = files + 1, bytes = bytes + new.size_bytes WHERE new.status <> 'quarantined';
END;
CREATE TRIGGER file_counts_change AFTER UPDATE OF status, size_bytes, date_prefix, reason ON files
WHEN old.status <> new.status OR old.size_bytes <> new.size_bytes OR old.date_prefix IS NOT new.date_prefix
    OR (new.status = 'quarantined' AND old.reason IS NOT new.reason) BEGIN
    UPDATE date_files SET files = files - 1, bytes = bytes - old.size_bytes
        WHERE date_prefix = coalesce(old.date_prefix, '') AND status = old.status
        AND reason = CASE old.status WHEN 'quarantined' THEN coalesce(old.reason, '') ELSE '' END;
    INSERT INTO date_files VALUES (coalesce(new.date_prefix, ''), new.status,
        CASE new.status WHEN 'quarantined' THEN coalesce(new.reason, '') ELSE '' END, 1, new.size_bytes)
        ON CONFLICT DO UPDATE SET files = files + 1, bytes = bytes + new.size_bytes;
END;
CREATE TRIGGER file_counts_end AFTER DELETE ON files BEGIN
    UPDATE date_files SET files = files - 1, bytes = bytes - old.size_bytes
        WHERE date_prefix = coalesce(old.date_prefix, '') AND status = old.status
        AND reason = CASE old.status WHEN 'quarantined' THEN coalesce(old.reason, '') ELSE '' END;
END;
CREATE TRIGGER run_counts AFTER INSERT ON runs BEGIN
    INSERT INTO date_runs VALUES (new.date_prefix, new.status, 1) ON CONFLICT DO UPDATE SET runs = runs + 1;
END;
CREATE TRIGGER run_counts_change AFTER UPDATE OF status ON runs WHEN old.status <> new.status BEGIN
    UPDATE date_runs SET runs = runs - 1 WHERE date_prefix = old.date_prefix AND status = old.status;
    INSERT INTO date_runs VALUES (new.date_prefix, new.status, 1) ON CONFLICT DO UPDATE SET runs = runs + 1;
END;
CREATE TRIGGER run_counts_end AFTER DELETE ON runs BEGIN
    UPDATE date_runs SET runs = runs - 1 WHERE date_prefix = old.date_prefix AND status = old.status;
END;
CREATE TRIGGER run_output AFTER UPDATE OF summary ON runs WHEN old.summary IS NOT new.summary BEGIN
    INSERT INTO date_output VALUES (new.date_prefix, 0, 0, 0, 0, 0, 0, 0, 0, NULL) ON CONFLICT DO NOTHING;
    UPDATE date_output SET
        rows = rows + coalesce(new.summary ->> 'rows', 0) - coalesce(old.summary ->> 'rows', 0),
        rejected = rejected + coalesce(new.summary ->> 'rejected', 0) - coalesce(old.summary ->> 'rejected', 0),
        input_bytes = input_bytes + coalesce(new.summary ->> 'input_bytes', 0) - coalesce(old.summary ->> 'input_bytes', 0),
        output_bytes = output_bytes + coalesce(new.summary ->> 'output_bytes', 0) - coalesce(old.summary ->> 'output_bytes', 0),
        outputs = outputs + coalesce(new.summary ->> 'outputs', 0) - coalesce(old.summary ->> 'outputs', 0),
        cpu_micros = cpu_micros + coalesce(new.summary ->> 'cpu_micros', 0) - coalesce(old.summary ->> 'cpu_micros', 0),
        reads = reads + coalesce(new.summary ->> 'reads', 0) - coalesce(old.summary ->> 'reads', 0),
        writes = writes + coalesce(new.summary ->> 'writes', 0) - coalesce(old.summary ->> 'writes', 0),
        last_commit = nullif(max(coalesce(last_commit, ''), coalesce(new.committed_at, '')), '')
        WHERE date_prefix = new.date_prefix;
END;
";

/// Migration from format 3: locks get the time they were taken, builders their heartbeats, and each run the summary
/// of its newest valid result.
pub(super) const FROM_3: &str = "
ALTER TABLE locks ADD COLUMN acquired_at TEXT NOT NULL DEFAULT '1970-01-01T00:00:00.000000Z';
CREATE TABLE builders (
    id      TEXT PRIMARY KEY,
    seen_at TEXT NOT NULL,
    note    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
ALTER TABLE runs ADD COLUMN summary TEXT;
UPDATE runs SET summary = (
    SELECT json_object('rows', result -> 'rows', 'rejected', result -> 'rejected', 'input_bytes', result -> 'input_bytes',
        'output_bytes', result -> 'output_bytes', 'outputs', json_array_length(result, '$.outputs'), 'executors', (
            SELECT count(DISTINCT each.value ->> 'executor') FROM json_each(result, '$.outputs') AS each))
    FROM commits WHERE commits.manifest_id = runs.manifest_id AND result <> 'null' AND json_type(result, '$.rows') = 'integer'
    ORDER BY generation DESC LIMIT 1);
";
