//! The tables.

/// The format of the database, kept in `user_version`.
pub(crate) const VERSION: i64 = 1;

pub(crate) const TABLES: &str = "
CREATE TABLE files (
    uri         TEXT PRIMARY KEY,
    date_prefix TEXT,
    size_bytes  INTEGER NOT NULL,
    etag        TEXT NOT NULL,
    status      TEXT NOT NULL,
    version     INTEGER NOT NULL,
    manifest_id TEXT,
    reason      TEXT,
    upload_time TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX files_by_status ON files (status, date_prefix, upload_time, uri);
CREATE INDEX files_by_manifest ON files (manifest_id);

CREATE TABLE timeline (
    uri    TEXT NOT NULL,
    at     TEXT NOT NULL,
    status TEXT NOT NULL,
    detail TEXT
) STRICT;
CREATE INDEX timeline_by_uri ON timeline (uri, at);

CREATE TABLE runs (
    manifest_id   TEXT PRIMARY KEY,
    date_prefix   TEXT NOT NULL,
    manifest_uri  TEXT NOT NULL,
    document      TEXT NOT NULL,
    status        TEXT NOT NULL,
    attempts      INTEGER NOT NULL,
    failure       TEXT,
    created_at    TEXT NOT NULL,
    updated_at    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX runs_by_status ON runs (status, created_at);

CREATE TABLE commits (
    manifest_id TEXT PRIMARY KEY,
    attempt     INTEGER NOT NULL,
    record      TEXT NOT NULL,
    result      TEXT NOT NULL,
    at          TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE batch_indexes (
    date_prefix TEXT PRIMARY KEY,
    last_index  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
";
