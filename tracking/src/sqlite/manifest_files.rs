//! Files of one manifest in a temporary table, which is joined with the table of files: a manifest of 100,000 files is
//! checked, claimed and returned by a few statements, not by some per file.
//!
//! The table belongs to the connection, and contains the files of the current operation.

use super::job::Done;
use super::rows::time;
#[cfg(doc)]
use crate::life;
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, MAX_OBJECT_BYTES, Manifest, ManifestId};
use rusqlite::{Connection, OptionalExtension, params};

/// Statement that creates the table; `place` is the index of the file in the manifest.
const TABLE: &str = "CREATE TEMP TABLE IF NOT EXISTS manifest_files (
    uri        TEXT PRIMARY KEY,
    place      INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    etag       TEXT NOT NULL,
    version_id TEXT
) STRICT, WITHOUT ROWID; DELETE FROM temp.manifest_files;";

/// A file in an unexpected state: the first in the manifest.
pub(super) struct Other {
    pub(super) uri: String,
    pub(super) state: String,
    pub(super) manifest_id: Option<String>,
}

/// Fills the table with the files of a manifest.
pub(super) fn fill(c: &Connection, manifest: &Manifest) -> Done<()> {
    c.execute_batch(TABLE)?;
    let mut insert = c.prepare_cached("INSERT INTO temp.manifest_files VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (place, file) in manifest.files.iter().enumerate() {
        let etag = file.etag.as_deref().unwrap_or_default();
        insert.execute(params![
            file.uri.as_str(),
            place,
            file.size_bytes.unwrap_or(0).min(MAX_OBJECT_BYTES + 1),
            etag,
            file.version_id
        ])?;
    }
    Ok(())
}

/// Fills the table with the files of a run's manifest, by URI only.
pub(super) fn fill_from_document(c: &Connection, id: &ManifestId) -> Done<()> {
    c.execute_batch(TABLE)?;
    // The stored form of a manifest has a single location that lists every file.
    let sql = "INSERT INTO temp.manifest_files SELECT each.value, each.key, 0, '', NULL
        FROM documents, json_each(documents.document, '$.fileLocations[0].URIPrefixes') AS each WHERE manifest_id = ?1";
    c.prepare_cached(sql)?.execute([id.as_str()])?;
    Ok(())
}

/// First file that is neither free nor held by this manifest.
pub(super) fn first_taken(c: &Connection, id: &ManifestId) -> Done<Option<Other>> {
    let is_well = "status IN ('pending', 'failed') OR (status = 'manifested' AND manifest_id IS ?1)";
    first_but(c, is_well, id)
}

/// First file that a run which ended without output cannot have again; see [`life::can_return`].
pub(super) fn first_lost(c: &Connection, id: &ManifestId) -> Done<Option<Other>> {
    first_but(c, RETURNS, id)
}

/// First file that is not in this state in this manifest.
pub(super) fn first_not_in(c: &Connection, id: &ManifestId, state: FileState) -> Done<Option<Other>> {
    first_but(c, &format!("status = '{state}' AND manifest_id IS ?1"), id)
}

/// Condition of [`life::can_return`], in SQL.
const RETURNS: &str = "CASE WHEN manifest_id IS NULL THEN status IN ('pending', 'failed')
    ELSE manifest_id = ?1 AND status IN ('pending', 'failed', 'manifested', 'processing') END";

/// Number of files that a run which ended without output can have again.
pub(super) fn count_returning(c: &Connection, id: &ManifestId) -> Done<u64> {
    let sql = format!("SELECT count(*) FROM temp.manifest_files CROSS JOIN files USING (uri) WHERE {RETURNS}");
    Ok(c.prepare_cached(&sql)?.query_row([id.as_str()], |row| row.get(0))?)
}

fn first_but(c: &Connection, is_well: &str, id: &ManifestId) -> Done<Option<Other>> {
    let sql = format!(
        "SELECT uri, status, manifest_id FROM temp.manifest_files CROSS JOIN files USING (uri) WHERE NOT ({is_well})
         ORDER BY place LIMIT 1"
    );
    let mut statement = c.prepare_cached(&sql)?;
    let other = statement
        .query_row([id.as_str()], |row| Ok(Other { uri: row.get(0)?, state: row.get(1)?, manifest_id: row.get(2)? }));
    Ok(other.optional()?)
}

/// Assigns all files to a manifest, including unknown ones. None may belong to another: see [`first_taken`].
pub(super) fn claim(c: &Connection, manifest: &Manifest, now: DateTime<Utc>) -> Done<()> {
    let (id, at) = (manifest.id.as_str(), time(now));
    let sql =
        "INSERT INTO timeline SELECT manifest_files.uri, ?2, 'manifested', ?1 FROM temp.manifest_files LEFT JOIN files USING (uri)
        WHERE files.uri IS NULL OR status IN ('pending', 'failed') ORDER BY place";
    c.prepare_cached(sql)?.execute(params![id, at])?;
    set_manifested(c, id, "+status IN ('pending', 'failed')", &at)?;
    let sql =
        "INSERT INTO files SELECT uri, ?3, size_bytes, etag, version_id, NULL, 'manifested', 1, ?1, NULL, NULL, NULL,
        ?2, ?2 FROM temp.manifest_files WHERE NOT EXISTS (SELECT 1 FROM files WHERE files.uri = manifest_files.uri)";
    c.prepare_cached(sql)?.execute(params![id, at, manifest.date.to_string()])?;
    empty(c)
}

/// Empties the table, to free its memory.
fn empty(c: &Connection) -> Done<()> {
    c.prepare_cached("DELETE FROM temp.manifest_files")?.execute([])?;
    Ok(())
}

/// Returns all files of a run to its manifest.
pub(super) fn return_all(c: &Connection, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let at = time(now);
    set_manifested(c, id.as_str(), "true", &at)?;
    let sql = "INSERT INTO timeline SELECT uri, ?2, 'manifested', ?1 FROM temp.manifest_files ORDER BY place";
    c.prepare_cached(sql)?.execute(params![id.as_str(), at])?;
    empty(c)
}

fn set_manifested(c: &Connection, id: &str, which: &str, at: &str) -> Done<()> {
    let sql = format!(
        "UPDATE files SET status = 'manifested', manifest_id = ?1, reason = NULL, version = version + 1, updated_at = ?2
         WHERE uri IN (SELECT uri FROM temp.manifest_files) AND {which}"
    );
    c.prepare_cached(&sql)?.execute(params![id, at])?;
    Ok(())
}
