//! Notes of uploads: private objects from which the uploads of dead attempts are found and aborted.

use super::{BucketStaging, at_once};
use crate::bucket::{fail, status};
use crate::staging::Mark;
use crate::{StorageError, StorageResult};
use aws_sdk_s3::Client;
use serde::{Deserialize, Serialize};
use std::io;

/// Folder of the notes, relative to the private keys of an attempt.
const NOTES: &str = "uploads/";

/// Limit of a note, in bytes: 16 KiB, for a key of 1,024 bytes, a bucket and an id, all escaped.
const MAX_NOTE_BYTES: i64 = 16 << 10;

/// Attempts that a clean-up covers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Private objects of this attempt only.
    Own,
    /// The attempt and all earlier ones, none of which is running.
    AllSoFar,
}

/// Place for the notes of an attempt's uploads.
#[derive(Clone)]
pub(super) struct Notes {
    pub(super) bucket: String,
    prefix: String,
}

impl Notes {
    pub(super) fn new(bucket: &str, attempt: String) -> Self {
        Self { bucket: bucket.to_owned(), prefix: attempt + NOTES }
    }

    /// Key of the note of the upload with this mark.
    pub(super) fn key(&self, mark: &Mark) -> String {
        format!("{}{mark}.json", self.prefix)
    }
}

/// Content of the note of an upload.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    /// Bucket of the upload, if it differs from the note's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    pub(super) key: String,
    /// Id of the upload; `None` while it is being begun.
    pub(super) upload_id: Option<String>,
}

pub(super) async fn put_note(client: &Client, bucket: &str, name: &str, note: &Note) -> StorageResult<()> {
    let write = |e: serde_json::Error| StorageError::new("write", name, e.into());
    let content = serde_json::to_vec(note).map_err(write)?;
    let put = client.put_object().bucket(bucket).key(name).body(content.into()).send().await;
    put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{name}"), e))
}

/// A private object of some attempt.
pub(super) struct Private {
    key: String,
    attempt: u32,
    is_note: bool,
}

impl BucketStaging {
    /// Removes these notes, which are no longer needed. Returns all other private objects, of all attempts.
    pub(super) async fn found_but(&self, client: &Client, notes: Vec<String>) -> StorageResult<Vec<Private>> {
        let deleted = at_once(notes.iter().map(|note| self.delete(client, note)).collect());
        let (mut found, _) = futures::future::try_join(self.list(client), deleted).await?;
        found.retain(|found| !notes.contains(&found.key));
        Ok(found)
    }

    /// Aborts the noted uploads and removes the private objects of the attempts in reach.
    pub(super) async fn discard_found(&self, client: &Client, found: Vec<Private>, reach: Reach) -> StorageResult<()> {
        let is_meant = |found: &Private| match reach {
            Reach::Own => found.attempt == self.attempt,
            Reach::AllSoFar => found.attempt <= self.attempt,
        };
        let discard = |Private { key, is_note, .. }: Private| async move {
            if is_note && !self.abort_noted(client, &key, reach).await? {
                return Ok(());
            }
            self.delete(client, &key).await
        };
        at_once(found.into_iter().filter(is_meant).map(discard).collect()).await.map(|_| ())
    }

    async fn delete(&self, client: &Client, key: &str) -> StorageResult<()> {
        let deleted = client.delete_object().bucket(&self.bucket).key(key).send().await;
        deleted.map(|_| ()).map_err(|e| fail("delete", format!("s3://{}/{key}", self.bucket), e))
    }

    /// The private objects of all attempts.
    async fn list(&self, client: &Client) -> StorageResult<Vec<Private>> {
        let (bucket, prefix) = (&self.bucket, &self.private);
        let mut pages = client.list_objects_v2().bucket(bucket).prefix(prefix).into_paginator().send();
        let mut found = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| fail("list", format!("s3://{bucket}/{prefix}"), e))?;
            found.extend(page.contents().iter().filter_map(|object| {
                let key = object.key()?.to_owned();
                let (attempt, name) = key.strip_prefix(prefix.as_str())?.split_once('/')?;
                let (attempt, is_note) = (attempt.parse().ok()?, name.starts_with(NOTES));
                Some(Private { key, attempt, is_note })
            }));
        }
        Ok(found)
    }

    /// Tells whether a key can be one that an attempt at this manifest writes, of any generation: an output, private
    /// rejected lines, or the joined ones. A clean-up may not know the path of the outputs; then any key qualifies that
    /// contains the manifest's id as a word.
    fn is_own(&self, key: &str) -> bool {
        if !self.output.contains("{part}") {
            return has_word(key, &self.manifest);
        }
        let [key_of_first, layout] = [key, self.output.as_str()].map(|text| of_first_generation(text, &self.manifest));
        key.starts_with(&self.private)
            || is_numbered(&key_of_first, &layout)
            || is_of_rejected_lines(&key_of_first, &self.manifest)
    }

    /// Aborts the upload of a note, if it is still open. Returns whether the note is no longer needed.
    async fn abort_noted(&self, client: &Client, note: &str, reach: Reach) -> StorageResult<bool> {
        let what = format!("s3://{}/{note}", self.bucket);
        let got = match client.get_object().bucket(&self.bucket).key(note).send().await {
            // Another process has just removed it.
            Err(e) if status(&e) == Some(404) => return Ok(true),
            got => got.map_err(|e| fail("read", &what, e))?,
        };
        let read = |e: io::Error| StorageError::new("read", &what, e);
        // Executors can write notes: one that cannot be read is ignored, and removed with the rest.
        if got.content_length().is_none_or(|bytes| bytes > MAX_NOTE_BYTES) {
            return Ok(true);
        }
        let content = got.body.collect().await.map_err(|e| read(io::Error::other(e)))?.to_vec();
        let Ok(Note { bucket, key, upload_id }) = serde_json::from_slice(&content) else { return Ok(true) };
        // Uploads to other keys do not belong to this manifest, whoever wrote the note.
        if !self.is_own(&key) {
            return Ok(true);
        }
        let bucket = bucket.as_ref().unwrap_or(&self.bucket);
        let ids = match (upload_id, reach) {
            (Some(id), _) => vec![id],
            // The upload may be about to begin.
            (None, Reach::Own) => return Ok(false),
            (None, Reach::AllSoFar) => match self.open_uploads_of(client, bucket, &key).await? {
                Some(ids) => ids,
                None => return Ok(false),
            },
        };
        for id in ids {
            abort(client, bucket, &key, &id).await?;
        }
        Ok(true)
    }

    /// The ids of the open uploads of a key; none if a later attempt has noted uploads, whose they may be.
    async fn open_uploads_of(&self, client: &Client, bucket: &str, key: &str) -> StorageResult<Option<Vec<String>>> {
        let listed = client.list_multipart_uploads().bucket(bucket).prefix(key).send().await;
        let listed = listed.map_err(|e| fail("list the uploads of", format!("s3://{bucket}/{key}"), e))?;
        // A later attempt has open uploads of the same keys, and writes its notes before it begins them; none
        // may be aborted by key.
        if self.list(client).await?.iter().any(|found| found.is_note && found.attempt > self.attempt) {
            return Ok(None);
        }
        let of_key = listed.uploads().iter().filter(|upload| upload.key() == Some(key));
        Ok(Some(of_key.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect()))
    }
}

/// Tells whether a text contains a manifest's id that is not part of a longer word.
fn has_word(text: &str, id: &str) -> bool {
    text.match_indices(id).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + id.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric()) && after.is_none_or(|c| !c.is_alphanumeric())
    })
}

/// Removes the generation number, which follows the manifest's id, from a key.
fn of_first_generation(text: &str, manifest: &str) -> String {
    let of_later = format!("{manifest}-g");
    let mut parts = text.split(&of_later);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, rest| match rest.trim_start_matches(|c: char| c.is_ascii_digit()) {
        same if same.len() == rest.len() => text + manifest + "-g" + rest,
        rest => text + manifest + rest,
    })
}

/// Tells whether a key matches a layout, with a number in each place of the part number.
fn is_numbered(key: &str, layout: &str) -> bool {
    let mut literals = layout.split("{part}");
    let first = literals.next().and_then(|first| key.strip_prefix(first));
    let rest = literals.fold(first, |rest, literal| {
        let after = rest?.trim_start_matches(|c: char| c.is_ascii_digit());
        after.strip_prefix(literal).filter(|_| after.len() < rest.map_or(0, str::len))
    });
    rest == Some("")
}

/// Tells whether a key is that of the joined rejected lines of a manifest or of an attempt at it:
/// `rejected-lines/DATE/NAME.ndjson`.
fn is_of_rejected_lines(key: &str, manifest: &str) -> bool {
    let mut segments = key.rsplit('/');
    let (name, _date, folder) = (segments.next(), segments.next(), segments.next());
    let rest = name.and_then(|name| name.strip_prefix(manifest)?.strip_suffix(".ndjson"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let is_own = |rest: &str| rest.is_empty() || rest.strip_prefix("-attempt-").is_some_and(is_number);
    folder == Some("rejected-lines") && rest.is_some_and(is_own)
}

/// Aborts an upload. An upload that is not open is not an error.
pub(super) async fn abort(client: &Client, bucket: &str, key: &str, id: &str) -> StorageResult<()> {
    let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
    match aborted.map_err(|e| fail("abort the upload of", format!("s3://{bucket}/{key}"), e)) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Location;

    #[test]
    fn without_a_layout_keys_with_the_very_id_are_its_own() {
        let output: Location = Location::parse("s3://out/data").unwrap();
        let staging = BucketStaging::new(&output, "m-1", 3, "");
        for key in [
            "data/date=x/m-1-part-00000.parquet",
            "data/m-1-g2/00000.parquet",
            "data/_millwork/staging/m-1/3/a",
            "q/m-1.ndjson",
            "m-1",
        ] {
            assert!(staging.is_own(key), "{key}");
        }
        for key in ["data/m-10-part-00000.parquet", "data/am-1-part.parquet", "data/m-2", ""] {
            assert!(!staging.is_own(key), "{key}");
        }
    }

    #[test]
    fn only_keys_of_this_very_manifest_are_its_own() {
        let output: Location = Location::parse("s3://out/data").unwrap();
        let own = |generation: &str| {
            let layout = format!("date=2025-12-23/m-1{generation}-{{part}}.parquet");
            BucketStaging::new(&output, "m-1", 3, &layout)
        };
        for staging in [own(""), own("-g12")] {
            for key in [
                "data/date=2025-12-23/m-1-00000.parquet",
                "data/date=2025-12-23/m-1-123456.parquet",
                "data/date=2025-12-23/m-1-g7-00001.parquet",
                "data/_millwork/staging/m-1/2/rejects-3-0",
                "quarantine/rejected-lines/2025-12-23/m-1.ndjson",
                "rejected-lines/2025-12-23/m-1-g2-attempt-4.ndjson",
            ] {
                assert!(staging.is_own(key), "{key}");
            }
            for key in [
                "data/date=2025-12-23/m-10-00000.parquet",
                "data/date=2025-12-23/am-1-00000.parquet",
                "data/date=2025-12-23/m-1-x-00000.parquet",
                "data/date=2025-12-23/m-1-.parquet",
                "data/date=2025-12-23/m-1-00000.parquet/x",
                "data/date=2025-12-24/m-1-00000.parquet",
                "other/date=2025-12-23/m-1-00000.parquet",
                "data/_millwork/staging/m-10/2/x",
                "data/_millwork/staging/m-1",
                "rejected-lines/2025-12-23/m-10.ndjson",
                "rejected-lines/2025-12-23/m-1-10.ndjson",
                "rejected-lines/2025-12-23/m-1-attempt-x.ndjson",
                "lines/2025-12-23/m-1.ndjson",
                "m-1",
                "",
            ] {
                assert!(!staging.is_own(key), "{key}");
            }
        }
    }
}
