//! Manifests in the making, and manifests submitted.

use super::rows::{collect, find_file, insert_file, instant, note, time};
use super::worker::Done;
use super::{locks, parse_document};
use crate::{Draft, FoundFile, Lock, QueuedManifest, TrackedFile, TrackingError};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, Manifest, ManifestFile, ManifestId, ObjectUri};
use rusqlite::{Connection, OptionalExtension, params};

pub(super) fn next_batch_index(c: &Connection, date: DatePrefix) -> Done<u64> {
    let sql = "INSERT INTO batch_indexes VALUES (?1, 1)
        ON CONFLICT DO UPDATE SET last_index = last_index + 1 RETURNING last_index";
    Ok(c.prepare_cached(sql)?.query_row([date.to_string()], |row| row.get(0))?)
}

pub(super) fn begin_draft(c: &Connection, draft: &Draft, lock: &Lock) -> Done<()> {
    locks::check(c, lock)?;
    insert_run(c, &draft.manifest, &draft.uri, "draft", draft.begun_at)?;
    Ok(())
}

/// Whether the run is new.
fn insert_run(c: &Connection, manifest: &Manifest, uri: &str, status: &str, at: DateTime<Utc>) -> Done<bool> {
    let sql = "INSERT INTO runs VALUES (?1, ?2, ?3, ?4, ?5, 0, NULL, ?6, ?6) ON CONFLICT DO NOTHING";
    let values = params![manifest.id.as_str(), manifest.date.to_string(), uri, manifest.to_json(), status, time(at)];
    Ok(c.prepare_cached(sql)?.execute(values)? > 0)
}

pub(super) fn claim(
    c: &Connection,
    id: &ManifestId,
    seen: &[TrackedFile],
    lock: &Lock,
    now: DateTime<Utc>,
) -> Done<Vec<ObjectUri>> {
    locks::check(c, lock)?;
    let mut held = Vec::with_capacity(seen.len());
    for seen in seen {
        let Some(known) = find_file(c, &seen.uri)? else { continue };
        let is_as_seen = known.state == seen.state && known.version == seen.version;
        if is_as_seen && matches!(known.state, FileState::Pending | FileState::Failed) {
            set_manifested(c, &seen.uri, id, now)?;
            held.push(known.uri);
        } else if is_held(&known, id) {
            held.push(known.uri);
        }
    }
    Ok(held)
}

fn is_held(file: &TrackedFile, id: &ManifestId) -> bool {
    file.state == FileState::Manifested && file.manifest_id.as_deref() == Some(id.as_str())
}

fn set_manifested(c: &Connection, uri: &ObjectUri, id: &ManifestId, now: DateTime<Utc>) -> Done<()> {
    let now = time(now);
    let sql = "UPDATE files SET status = 'manifested', manifest_id = ?2, reason = NULL, version = version + 1,
        updated_at = ?3 WHERE uri = ?1";
    c.prepare_cached(sql)?.execute(params![uri.as_str(), id.as_str(), now])?;
    note(c, uri.as_str(), FileState::Manifested, Some(id.as_str()), &now)
}

pub(super) fn finish_draft(c: &Connection, queued: &QueuedManifest, now: DateTime<Utc>) -> Done<()> {
    let manifest = &queued.manifest;
    let sql = "UPDATE runs SET status = 'queued', document = ?2, updated_at = ?3
        WHERE manifest_id = ?1 AND status = 'draft'";
    c.prepare_cached(sql)?.execute(params![manifest.id.as_str(), manifest.to_json(), time(now)])?;
    Ok(())
}

pub(super) fn drop_draft(c: &Connection, id: &ManifestId, lock: &Lock) -> Done<()> {
    locks::check(c, lock)?;
    let sql = "DELETE FROM runs WHERE manifest_id = ?1 AND status = 'draft'
        AND NOT EXISTS (SELECT 1 FROM files WHERE manifest_id = ?1)";
    c.prepare_cached(sql)?.execute([id.as_str()])?;
    Ok(())
}

pub(super) fn drafts(c: &Connection, begun_before: DateTime<Utc>) -> Done<Vec<Draft>> {
    let sql = "SELECT manifest_id, document, manifest_uri, created_at FROM runs
        WHERE status = 'draft' AND created_at < ?1 ORDER BY created_at";
    let mut statement = c.prepare_cached(sql)?;
    let rows: Vec<(String, String, String, DateTime<Utc>)> = collect(
        statement
            .query_map([time(begun_before)], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, instant(row, 3)?)))?,
    )?;
    let draft = |(id, document, uri, begun_at): (String, String, String, _)| {
        Ok(Draft { manifest: parse_document(&id, &document)?, uri, begun_at })
    };
    rows.into_iter().map(draft).collect()
}

pub(super) fn submit(c: &Connection, queued: &QueuedManifest, now: DateTime<Utc>) -> Done<bool> {
    let manifest = &queued.manifest;
    let sql = "SELECT status, document FROM runs WHERE manifest_id = ?1";
    let known: Option<(String, String)> =
        c.prepare_cached(sql)?.query_row([manifest.id.as_str()], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
    match known {
        Some((status, document)) if status != "draft" => {
            check_same_files(manifest, &document)?;
            return Ok(false);
        }
        Some(_) => {
            for file in &manifest.files {
                claim_submitted(c, manifest, file, now)?;
            }
            finish_draft(c, queued, now)?;
        }
        None => {
            for file in &manifest.files {
                claim_submitted(c, manifest, file, now)?;
            }
            insert_run(c, manifest, &queued.uri, "queued", now)?;
        }
    }
    Ok(true)
}

fn claim_submitted(c: &Connection, manifest: &Manifest, file: &ManifestFile, now: DateTime<Utc>) -> Done<()> {
    let id = &manifest.id;
    let Some(known) = find_file(c, &file.uri)? else {
        let found = FoundFile {
            uri: file.uri.clone(),
            date: Some(manifest.date),
            size_bytes: file.size_bytes.unwrap_or(0),
            etag: file.etag.clone().unwrap_or_default(),
            version_id: file.version_id.clone(),
            sequencer: None,
            quarantine: None,
        };
        return insert_file(c, &found, FileState::Manifested, Some(id.as_str()), now);
    };
    match known.state {
        FileState::Pending | FileState::Failed => set_manifested(c, &file.uri, id, now),
        _ if is_held(&known, id) => Ok(()),
        _ => Err(TrackingError::Taken {
            uri: file.uri.to_string(),
            state: known.state,
            holder: known.manifest_id.map(|id| format!(" in manifest `{id}`")).unwrap_or_default(),
            manifest_id: id.to_string(),
        }
        .into()),
    }
}

/// Refuses a manifest that has the id of another one.
fn check_same_files(manifest: &Manifest, document: &str) -> Done<()> {
    let known = parse_document(manifest.id.as_str(), document)?;
    let uris = |manifest: &Manifest| manifest.files.iter().map(|file| file.uri.clone()).collect::<Vec<_>>();
    if uris(&known) == uris(manifest) {
        return Ok(());
    }
    Err(TrackingError::Conflict {
        manifest_id: manifest.id.to_string(),
        found: "known with other files".to_owned(),
        wanted: "give the new manifest an id of its own",
    }
    .into())
}
