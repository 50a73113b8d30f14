//! Drafts, and submission of manifests.

use super::job::Done;
use super::rows::{find_file, instant, readable, tell_unreadable, time};
use super::{SqliteStore, locks, manifest_files, parse_document, run_rows};
use crate::{Draft, DraftStore, Lock, QueuedManifest, TrackedFile, TrackingError, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, Manifest, ManifestId, ObjectUri, RunState};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn next_batch_index(c: &Connection, date: DatePrefix) -> Done<u64> {
    let sql = "INSERT INTO batch_indexes VALUES (?1, 1)
        ON CONFLICT DO UPDATE SET last_index = last_index + 1 RETURNING last_index";
    Ok(c.prepare_cached(sql)?.query_row([date.to_string()], |row| row.get(0))?)
}

pub(super) fn begin_draft(c: &Connection, draft: &Draft, lock: &Lock) -> Done<()> {
    locks::check(c, lock)?;
    insert_run(c, &draft.manifest, &draft.manifest.to_json(), &draft.uri, (RunState::Draft, 0), draft.begun_at)
}

/// Inserts a run with its document.
fn insert_run(
    c: &Connection,
    manifest: &Manifest,
    document: &str,
    uri: &str,
    (state, priority): (RunState, i32),
    at: DateTime<Utc>,
) -> Done<()> {
    let sql = "INSERT INTO runs (manifest_id, date_prefix, manifest_uri, status, priority, files, bytes, attempts, failures,
        generation, not_before, cancel_requested, failure, failure_class, created_at, updated_at, started_at, committed_at,
        ended_at, history) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, 0, 1, NULL, 0, NULL, NULL, ?8, ?8, NULL, NULL,
        NULL, '[]') ON CONFLICT DO NOTHING";
    let is_new = c.prepare_cached(sql)?.execute(params![
        manifest.id.as_str(),
        manifest.date.to_string(),
        uri,
        state.as_str(),
        priority,
        manifest.files.len(),
        manifest.total_bytes(),
        time(at)
    ])?;
    if is_new > 0 {
        let sql = "INSERT INTO documents VALUES (?1, ?2)";
        c.prepare_cached(sql)?.execute(params![manifest.id.as_str(), document])?;
    }
    Ok(())
}

pub(super) fn claim(
    c: &Connection,
    id: &ManifestId,
    seen: &[TrackedFile],
    lock: &Lock,
    now: DateTime<Utc>,
) -> Done<Vec<ObjectUri>> {
    locks::check(c, lock)?;
    let (mut held, mut taken) = (Vec::with_capacity(seen.len()), Vec::with_capacity(seen.len()));
    for seen in seen {
        let Some(known) = find_file(c, &seen.uri)? else { continue };
        let is_as_seen = known.state == seen.state && known.version == seen.version;
        if is_as_seen && matches!(known.state, FileState::Pending | FileState::Failed) {
            taken.push(&seen.uri);
            held.push(known.uri);
        } else if is_held(&known, id) {
            held.push(known.uri);
        }
    }
    set_manifested(c, &taken, id, now)?;
    Ok(held)
}

fn is_held(file: &TrackedFile, id: &ManifestId) -> bool {
    file.state == FileState::Manifested && file.manifest_id.as_deref() == Some(id.as_str())
}

fn set_manifested(c: &Connection, uris: &[&ObjectUri], id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    if uris.is_empty() {
        return Ok(());
    }
    let uris = serde_json::Value::from_iter(uris.iter().map(|uri| uri.as_str())).to_string();
    let now = time(now);
    let sql = "UPDATE files SET status = 'manifested', manifest_id = ?2, reason = NULL, version = version + 1,
        updated_at = ?3 WHERE uri IN (SELECT value FROM json_each(?1))";
    c.prepare_cached(sql)?.execute(params![uris, id.as_str(), now])?;
    let sql = "INSERT INTO timeline SELECT DISTINCT value, ?3, 'manifested', ?2 FROM json_each(?1)";
    c.prepare_cached(sql)?.execute(params![uris, id.as_str(), now])?;
    Ok(())
}

pub(super) fn finish_draft(
    c: &Connection,
    queued: &QueuedManifest,
    document: &str,
    priority: i32,
    now: DateTime<Utc>,
) -> Done<()> {
    let manifest = &queued.manifest;
    let sql =
        "UPDATE runs SET status = 'queued', priority = ?2, files = ?3, bytes = ?4, created_at = ?5, updated_at = ?5
        WHERE manifest_id = ?1 AND status = 'draft'";
    let (id, files) = (manifest.id.as_str(), manifest.files.len());
    let values = params![id, priority, files, manifest.total_bytes(), time(now)];
    if c.prepare_cached(sql)?.execute(values)? > 0 {
        let sql = "UPDATE documents SET document = ?2 WHERE manifest_id = ?1";
        c.prepare_cached(sql)?.execute(params![id, document])?;
    }
    Ok(())
}

pub(super) fn drop_draft(c: &Connection, id: &ManifestId, lock: &Lock) -> Done<()> {
    locks::check(c, lock)?;
    let sql = "DELETE FROM runs WHERE manifest_id = ?1 AND status = 'draft'
        AND NOT EXISTS (SELECT 1 FROM files WHERE manifest_id = ?1)";
    if c.prepare_cached(sql)?.execute([id.as_str()])? > 0 {
        c.prepare_cached("DELETE FROM documents WHERE manifest_id = ?1")?.execute([id.as_str()])?;
    }
    Ok(())
}

pub(super) fn drafts(c: &Connection, begun_before: DateTime<Utc>) -> Done<Vec<Draft>> {
    let sql = "SELECT manifest_id, document, manifest_uri, created_at FROM runs JOIN documents USING (manifest_id)
        WHERE status = 'draft' AND created_at < ?1 ORDER BY created_at";
    let mut statement = c.prepare_cached(sql)?;
    let rows: Vec<(String, String, String, DateTime<Utc>)> = readable(
        statement
            .query_map([time(begun_before)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, instant(row, 3)?)))?,
    )?;
    let draft = |(id, document, uri, begun_at): (String, String, String, _)| match parse_document(&id, &document) {
        Ok(manifest) => Some(Draft { manifest, uri, begun_at }),
        Err(error) => {
            tell_unreadable(&error);
            None
        }
    };
    Ok(rows.into_iter().filter_map(draft).collect())
}

pub(super) fn manifest(c: &Connection, id: &ManifestId) -> Done<Option<Manifest>> {
    let sql = "SELECT document FROM documents WHERE manifest_id = ?1";
    let document: Option<String> = c.prepare_cached(sql)?.query_row([id.as_str()], |row| row.get(0)).optional()?;
    Ok(document.map(|document| parse_document(id.as_str(), &document)).transpose()?)
}

/// Tells whether a manifest's run exists already; refused if it is that of a different manifest.
///
/// Also called before [`submit`], on a reader: the comparison takes time proportional to the size of the manifest.
pub(super) fn is_submitted(c: &Connection, manifest: &Manifest) -> Done<bool> {
    let known = run_rows::find(c, &manifest.id)?.map(|run| run.state);
    if known.is_none_or(|state| state == RunState::Draft) {
        return Ok(false);
    }
    check_same_files(c, manifest)?;
    Ok(true)
}

/// Submits a manifest; `document` is its stored form.
pub(super) fn submit(
    c: &Connection,
    queued: &QueuedManifest,
    document: &str,
    priority: i32,
    now: DateTime<Utc>,
) -> Done<bool> {
    let manifest = &queued.manifest;
    if is_submitted(c, manifest)? {
        return Ok(false);
    }
    manifest_files::fill(c, manifest)?;
    if let Some(taken) = manifest_files::first_taken(c, &manifest.id)? {
        return Err(TrackingError::Taken {
            uri: taken.uri,
            state: taken.state.parse().map_err(|_| corrupt_state(&taken.state))?,
            holder: taken.manifest_id.map(|id| format!(" in manifest `{id}`")).unwrap_or_default(),
            manifest_id: manifest.id.to_string(),
        }
        .into());
    }
    manifest_files::claim(c, manifest, now)?;
    match run_rows::find(c, &manifest.id)? {
        Some(_) => finish_draft(c, queued, document, priority, now)?,
        None => insert_run(c, manifest, document, &queued.uri, (RunState::Queued, priority), now)?,
    }
    Ok(true)
}

fn corrupt_state(state: &str) -> TrackingError {
    TrackingError::Corrupt { what: "file state", value: state.to_owned() }
}

/// Refuses a manifest that has the id of a different one.
fn check_same_files(c: &Connection, manifest: &Manifest) -> Done<()> {
    let known = self::manifest(c, &manifest.id)?;
    let uris = |manifest: &Manifest| manifest.files.iter().map(|file| file.uri.clone()).collect::<Vec<_>>();
    if known.as_ref().map(uris) == Some(uris(manifest)) {
        return Ok(());
    }
    Err(TrackingError::Conflict {
        manifest_id: manifest.id.to_string(),
        found: "known with other files".to_owned(),
        wanted: "give the new manifest an id of its own",
    }
    .into())
}

#[async_trait]
impl DraftStore for SqliteStore {
    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64> {
        self.worker.write(move |c| next_batch_index(c, date)).await
    }

    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()> {
        let (draft, lock) = (draft.clone(), lock.clone());
        self.worker.write(move |c| begin_draft(c, &draft, &lock)).await
    }

    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>> {
        let (id, seen, lock) = (id.clone(), seen.to_vec(), lock.clone());
        self.worker.write(move |c| claim(c, &id, &seen, &lock, now)).await
    }

    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()> {
        let (queued, document) = (queued.clone(), queued.manifest.to_json());
        self.worker.write(move |c| finish_draft(c, &queued, &document, 0, now)).await
    }

    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
        let (id, lock) = (id.clone(), lock.clone());
        self.worker.write(move |c| drop_draft(c, &id, &lock)).await
    }

    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>> {
        self.worker.read(move |c| drafts(c, begun_before)).await
    }
}
