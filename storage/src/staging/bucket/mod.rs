//! Publication in a bucket: multipart uploads that only the commit completes.
//!
//! An executor uploads the parts of an output, and checks that its key is free. The last part, the tail with the
//! footer, also travels in the task's report: it may change until the commit, and is then uploaded again.
//!
//! Each upload is recorded in a private object, its note: the key before the upload is begun, the id after that. So an
//! attempt can abort its own uploads and no others. An attempt that gives up aborts its uploads by id, and leaves notes
//! without an id. For these, later attempts, publication and the sweep find the upload by its key. Outputs of all
//! attempts have the same keys, so that this happens only while no later attempt has noted uploads.
//!
//! The commit record contains the ids of its uploads: their notes are removed while the uploads are completed, and
//! after a crash the remaining uploads are completed from the record.

mod examine;
mod notes;
mod writer;

use super::local::LocalStaging;
use super::private::untrue;
use super::{Mark, PrivateKind, PrivateName, RewriteTail, StagedFile, Tail, Upload, local};
use crate::bucket::{fail, is_changed, size, status};
use crate::transfer::ObjectReader;
use crate::{Location, Storage, StorageError, StorageResult, bucket_and_key};
use aws_sdk_s3::Client;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_manifest::{InvalidUri, ObjectUri};
use notes::{Notes, Reach};
use serde::{Deserialize, Serialize};
use std::io::{self, ErrorKind, Read, Write};
pub(super) use writer::BucketWriter;
use writer::Part;

/// Metadata key that tells which upload an object was made by.
const MARK: &str = "millwork-upload";
/// Limit of the concurrent requests for different objects.
const REQUESTS_AT_ONCE: usize = 16;

/// Keys of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketStaging {
    bucket: String,
    manifest: String,
    /// Prefix of the private keys of the manifest; the attempt number follows.
    private: String,
    attempt: u32,
    /// Key of an output, with `{part}` in place of its number.
    output: String,
}

impl BucketStaging {
    /// The attempt's number.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    pub(super) fn new(output: &Location, manifest: &str, attempt: u32, output_path: &str) -> Self {
        let Location::Bucket { bucket, prefix } = output else {
            let none = String::new;
            return Self { bucket: none(), manifest: manifest.to_owned(), private: none(), attempt, output: none() };
        };
        let below = |path: &str| if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
        Self {
            bucket: bucket.clone(),
            manifest: manifest.to_owned(),
            private: below(&format!("_millwork/staging/{manifest}/")),
            attempt,
            output: below(output_path),
        }
    }

    pub(super) fn is_first(&self) -> bool {
        self.attempt == 1
    }

    pub(super) fn uri(&self, key: &str) -> Result<ObjectUri, InvalidUri> {
        format!("s3://{}/{key}", self.bucket).parse()
    }

    /// Key of a private file; for an output, its final key.
    pub(super) fn key(&self, name: &PrivateName) -> String {
        match name.kind() {
            PrivateKind::Output => self.output.replace("{part}", &format!("{:05}", name.number())),
            PrivateKind::Rejects => format!("{}{}/{name}", self.private, self.attempt),
        }
    }

    pub(super) fn create(&self, storage: &Storage, name: &PrivateName) -> BucketWriter {
        let writer = BucketWriter::new(storage, &self.bucket, self.key(name)).noted_in(self.notes());
        match name.kind() {
            PrivateKind::Output => writer.of_output(),
            PrivateKind::Rejects => writer,
        }
    }

    /// Opens a private object of rejected lines, and checks its reported size.
    pub(super) fn open_rejects(&self, storage: &Storage, file: &StagedFile) -> StorageResult<Box<dyn Read>> {
        let key = self.key(&file.name);
        let open = || -> io::Result<ObjectReader> {
            let uri = self.uri(&key).map_err(io::Error::other)?;
            let there = storage.head_blocking(&uri).map_err(|e| io::Error::new(e.source.kind(), e))?;
            if there.size_bytes != file.size_bytes {
                return Err(untrue(format!("it has {} bytes, {} were reported", there.size_bytes, file.size_bytes)));
            }
            ObjectReader::open(storage, &uri, &there.etag, 0..file.size_bytes, file.size_bytes)
        };
        Ok(Box::new(open().map_err(|e| StorageError::new("read", &key, e))?))
    }

    /// The notes of the attempt's open uploads.
    fn notes(&self) -> Notes {
        Notes::new(&self.bucket, format!("{}{}/", self.private, self.attempt))
    }

    /// Uploads the tails of outputs again, if they change, or if their entity tags do not prove that they are the
    /// reported ones.
    pub(super) fn settle(
        &self,
        storage: &Storage,
        files: Vec<&mut StagedFile>,
        rewrite: Option<RewriteTail<'_>>,
    ) -> StorageResult<()> {
        let mut changed = Vec::new();
        for (file, StagedFile { name, size_bytes, upload }) in files.into_iter().enumerate() {
            let Some(upload) = upload.as_mut().filter(|upload| !upload.tail.is_empty()) else { continue };
            let key = self.key(name);
            let old = std::mem::take(&mut upload.tail);
            let number = upload.parts.len();
            let Some(last) = upload.parts.last_mut() else {
                return Err(StorageError::new("settle", key, untrue("its end was not uploaded".to_owned())));
            };
            let offset = size_bytes.checked_sub(old.len() as u64);
            let offset =
                offset.ok_or_else(|| StorageError::new("settle", &key, untrue("it is too short".to_owned())))?;
            let tail = match rewrite {
                Some(rewrite) => rewrite(&Tail { file, offset, bytes: &old })
                    .map_err(|e| StorageError::new("rewrite the footer of", &key, e))?,
                None if examine::is_proved(last, &old) => continue,
                None => old,
            };
            *size_bytes = offset + tail.len() as u64;
            let part = Part { bucket: self.bucket.clone(), key, upload: upload.id.clone(), number };
            changed.push((last, (part, Bytes::from(tail))));
        }
        let (last, parts): (Vec<_>, Vec<_>) = changed.into_iter().unzip();
        for (last, etag) in last.into_iter().zip(put_all(storage, parts)?) {
            *last = etag;
        }
        Ok(())
    }

    /// Completes the uploads of outputs, and removes their notes meanwhile, since the commit record has the ids. Then
    /// removes everything else left by this attempt and earlier ones, all of which have ended, and returns the result
    /// of that clean-up.
    pub(super) fn publish<'a>(
        &self,
        storage: &Storage,
        files: impl Iterator<Item = &'a StagedFile>,
    ) -> StorageResult<StorageResult<()>> {
        let (mut notes, mut completing, place) = (Vec::new(), Vec::new(), self.notes());
        for file in files {
            let Some(upload) = file.upload.clone() else { continue };
            notes.extend(upload.mark.as_ref().map(|mark| place.key(mark)));
            completing.push((self.key(&file.name), upload, file.size_bytes));
        }
        let staging = self.clone();
        storage.threads.wait(|client| async move {
            let complete = |(key, upload, size_bytes)| complete(&client, &staging.bucket, key, upload, size_bytes);
            let completing = at_once(completing.into_iter().map(complete).collect());
            let (completed, found) = futures::join!(completing, staging.found_but(&client, notes));
            completed?;
            Ok(async { staging.discard_found(&client, found?, Reach::AllSoFar).await }.await)
        })
    }

    pub(super) fn publish_joined(&self, storage: &Storage, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        // Files are copied one after the other: each has a few megabytes.
        let copy_all = |into: &mut dyn Write| -> io::Result<()> {
            for file in files {
                let uri = self.uri(&self.key(&file.name)).map_err(io::Error::other)?;
                io::copy(&mut ObjectReader::open(storage, &uri, "", 0..file.size_bytes, file.size_bytes)?, into)?;
            }
            Ok(())
        };
        if is_there(storage, to, files)? {
            return Ok(());
        }
        let joined = match bucket_and_key(to) {
            Some((bucket, key)) => {
                BucketWriter::new(storage, bucket, key.to_owned()).noted_in(self.notes()).write_whole(copy_all)
            }
            None => local::write_elsewhere(&crate::path_of(to)?, |into| copy_all(into)),
        };
        joined
            .map_err(|e| if e.is_not_found() && self.is_any_gone(storage, files) { StorageError::lost(to) } else { e })
    }

    fn is_any_gone(&self, storage: &Storage, files: &[StagedFile]) -> bool {
        let is_gone = |file: &StagedFile| {
            self.uri(&self.key(&file.name)).is_ok_and(|uri| matches!(storage.exists_blocking(&uri), Ok(false)))
        };
        files.iter().any(is_gone)
    }

    /// Aborts the open uploads and removes the private objects of this attempt alone; others may be running.
    pub(super) fn discard(&self, storage: &Storage) -> StorageResult<()> {
        self.discard_all(storage, Reach::Own)
    }

    /// Aborts the open uploads and removes the private objects of this attempt and earlier ones, all of which have
    /// ended.
    pub(super) fn clear(&self, storage: &Storage) -> StorageResult<()> {
        self.discard_all(storage, Reach::AllSoFar)
    }

    fn discard_all(&self, storage: &Storage, reach: Reach) -> StorageResult<()> {
        let staging = self.clone();
        storage.threads.wait(move |client| async move {
            let found = staging.found_but(&client, Vec::new()).await?;
            staging.discard_found(&client, found, reach).await
        })
    }
}

/// Uploads parts, some at a time. Returns their entity tags, in order.
fn put_all(storage: &Storage, parts: Vec<(Part, Bytes)>) -> StorageResult<Vec<String>> {
    storage.threads.wait(|client: Client| {
        let put = |(part, content): (Part, Bytes)| part.put(client.clone(), content);
        at_once(parts.into_iter().map(put).collect())
    })
}

/// Ids of the manifests that have private objects.
pub(super) fn staged_manifests(storage: &Storage, output: &Location) -> StorageResult<Vec<String>> {
    let root = BucketStaging::new(output, "", 0, "");
    storage.threads.wait(|client| async move {
        let bucket = &root.bucket;
        // An empty manifest name leaves two slashes at the end, of which one is removed.
        let prefix = root.private.trim_end_matches('/').to_owned() + "/";
        let pages = client.list_objects_v2().bucket(bucket).prefix(&prefix).delimiter("/");
        let mut pages = pages.into_paginator().send();
        let mut names = Vec::new();
        while let Some(page) = pages.next().await {
            let page = page.map_err(|e| fail("list", format!("s3://{bucket}/{prefix}"), e))?;
            let below = page.common_prefixes().iter().filter_map(|found| found.prefix()?.strip_prefix(&prefix));
            names.extend(below.map(|name| name.trim_end_matches('/').to_owned()));
        }
        Ok(names)
    })
}

/// Joins private local files into one object.
pub(super) fn publish_local(
    storage: &Storage,
    staging: &LocalStaging,
    files: &[StagedFile],
    to: &ObjectUri,
) -> StorageResult<()> {
    let nowhere = || StorageError::new("write", to, ErrorKind::Unsupported.into());
    let (bucket, key) = bucket_and_key(to).ok_or_else(nowhere)?;
    if is_there(storage, to, files)? {
        return Ok(());
    }
    let written = BucketWriter::new(storage, bucket, key.to_owned()).write_whole(|into| staging.copy_all(files, into));
    let is_any_gone = || files.iter().any(|file| matches!(staging.path(file).try_exists(), Ok(false)));
    written.map_err(|e| if e.is_not_found() && is_any_gone() { StorageError::lost(to) } else { e })
}

/// Tells whether the object that these files are joined into exists; another object of its name is an error.
fn is_there(storage: &Storage, to: &ObjectUri, files: &[StagedFile]) -> StorageResult<bool> {
    match storage.head_blocking(to) {
        Ok(there) if there.size_bytes == files.iter().map(|file| file.size_bytes).sum::<u64>() => Ok(true),
        Ok(_) => Err(StorageError::taken(to)),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

async fn complete(client: &Client, bucket: &str, key: String, upload: Upload, size_bytes: u64) -> StorageResult<()> {
    let part = |(number, etag): (i32, String)| CompletedPart::builder().part_number(number).e_tag(etag).build();
    let parts = (1..).zip(upload.parts).map(part).collect();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let request = client.complete_multipart_upload().bucket(bucket).key(&key).upload_id(&upload.id);
    // A store that supports this header refuses parts whose total size differs.
    let request = request.set_mpu_object_size(i64::try_from(size_bytes).ok());
    let completed = request.multipart_upload(parts).if_none_match("*").send().await;
    let Err(error) = completed else { return Ok(()) };
    // A repeated call finds the upload gone, or the object present.
    let what = format!("s3://{bucket}/{key}");
    let (is_gone, is_taken) = (error.code() == Some("NoSuchUpload"), is_changed(&error));
    let refused = fail("publish", &what, error);
    match client.head_object().bucket(bucket).key(&key).send().await {
        Ok(there) if size(&there) == size_bytes && has_mark(&there, upload.mark.as_ref()) => Ok(()),
        Ok(_) if is_gone => Err(StorageError::lost(what)),
        Ok(_) if is_taken => Err(StorageError::taken(what)),
        Err(e) if is_gone && status(&e) == Some(404) => Err(StorageError::lost(what)),
        _ => Err(refused),
    }
}

pub(super) fn has_mark(there: &HeadObjectOutput, mark: Option<&Mark>) -> bool {
    mark.is_none_or(|mark| there.metadata().and_then(|metadata| metadata.get(MARK)) == Some(&mark.to_string()))
}

/// Runs some of the futures at a time, and all unless one fails. Returns their results in order.
async fn at_once<T>(work: Vec<impl Future<Output = StorageResult<T>>>) -> StorageResult<Vec<T>> {
    stream::iter(work).buffered(REQUESTS_AT_ONCE).try_collect().await
}
