//! The notes of uploads, by which those of attempts that died are found and aborted.

use super::{BucketStaging, at_once};
use crate::bucket::{fail, status};
use crate::staging::Mark;
use crate::transfer::client;
use crate::{StorageError, StorageResult};
use aws_sdk_s3::Client;
use serde::{Deserialize, Serialize};
use std::io;

/// Folder of the notes of uploads, below the private keys of an attempt.
const NOTES: &str = "uploads/";

/// Limit of the bytes of a note, 16 KiB: a key of 1,024 bytes, a bucket and an id, all of them escaped.
const MAX_NOTE_BYTES: i64 = 16 << 10;

/// Whose uploads and private objects go.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// This attempt's.
    Own,
    /// This attempt's and those of earlier ones, all of them dead.
    AllSoFar,
}

/// Place in which the uploads of an attempt are noted.
#[derive(Clone)]
pub(super) struct Notes {
    pub(super) bucket: String,
    prefix: String,
}

impl Notes {
    pub(super) fn new(bucket: &str, attempt: String) -> Self {
        Self { bucket: bucket.to_owned(), prefix: attempt + NOTES }
    }

    /// The key of the note of an upload with this mark.
    pub(super) fn key(&self, mark: &Mark) -> String {
        format!("{}{mark}.json", self.prefix)
    }
}

/// Content of the note of an upload.
#[derive(Serialize, Deserialize)]
pub(super) struct Note {
    /// Bucket of the upload, if that is another than the note's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) bucket: Option<String>,
    pub(super) key: String,
    /// None while it is being begun.
    pub(super) upload_id: Option<String>,
}

pub(super) async fn put_note(bucket: &str, name: &str, note: &Note) -> StorageResult<()> {
    let write = |e: serde_json::Error| StorageError::new("write", name, e.into());
    let content = serde_json::to_vec(note).map_err(write)?;
    let put = client().await.put_object().bucket(bucket).key(name).body(content.into()).send().await;
    put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{name}"), e))
}

/// A private object of an attempt.
pub(super) struct Private {
    key: String,
    attempt: u32,
    is_note: bool,
}

impl BucketStaging {
    /// Removes notes that are of no more use. Returns all other private objects, of all attempts.
    pub(super) async fn found_but(&self, notes: Vec<String>) -> StorageResult<Vec<Private>> {
        let client = &client().await;
        let deleted = at_once(notes.iter().map(|note| self.delete(client, note)).collect());
        let (mut found, _) = futures::future::try_join(self.list(client), deleted).await?;
        found.retain(|found| !notes.contains(&found.key));
        Ok(found)
    }

    /// Aborts the noted uploads and removes the private objects of some attempts.
    pub(super) async fn discard_found(&self, found: Vec<Private>, reach: Reach) -> StorageResult<()> {
        let client = &client().await;
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

    /// Aborts the upload of a note, if it is still open. Returns whether the note is of no more use.
    async fn abort_noted(&self, client: &Client, note: &str, reach: Reach) -> StorageResult<bool> {
        let what = format!("s3://{}/{note}", self.bucket);
        let got = match client.get_object().bucket(&self.bucket).key(note).send().await {
            // Another has just removed it.
            Err(e) if status(&e) == Some(404) => return Ok(true),
            got => got.map_err(|e| fail("read", &what, e))?,
        };
        let read = |e: io::Error| StorageError::new("read", &what, e);
        // Executors write notes, too: what is none says nothing, and goes with the rest.
        if got.content_length().is_none_or(|bytes| bytes > MAX_NOTE_BYTES) {
            return Ok(true);
        }
        let content = got.body.collect().await.map_err(|e| read(io::Error::other(e)))?.to_vec();
        let Ok(Note { bucket, key, upload_id }) = serde_json::from_slice(&content) else { return Ok(true) };
        // Uploads of others are none of this manifest's, whoever wrote the note: every key of its own has its id.
        if !key.contains(&self.manifest) {
            return Ok(true);
        }
        let bucket = bucket.as_ref().unwrap_or(&self.bucket);
        let ids = match (upload_id, reach) {
            (Some(id), _) => vec![id],
            // The upload may just be begun.
            (None, Reach::Own) => return Ok(false),
            (None, Reach::AllSoFar) => {
                let listed = client.list_multipart_uploads().bucket(bucket).prefix(&key).send().await;
                let listed = listed.map_err(|e| fail("list the uploads of", format!("s3://{bucket}/{key}"), e))?;
                // A later attempt's upload has been noted before it could be listed.
                if self.list(client).await?.iter().any(|found| found.is_note && found.attempt > self.attempt) {
                    return Ok(false);
                }
                let of_key = listed.uploads().iter().filter(|upload| upload.key() == Some(&key));
                of_key.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect()
            }
        };
        for id in ids {
            abort(client, bucket, &key, &id).await?;
        }
        Ok(true)
    }
}

/// Aborts an upload. One that is not open is no error.
pub(super) async fn abort(client: &Client, bucket: &str, key: &str, id: &str) -> StorageResult<()> {
    let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
    match aborted.map_err(|e| fail("abort the upload of", format!("s3://{bucket}/{key}"), e)) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}
