//! Publication in a bucket: multipart uploads that only the commit completes.
//!
//! An executor uploads the parts of an output, but for its end: the footer, which may change until the commit, travels in
//! the task's report. For each upload a private object notes its key, before it is begun, then its id, so that an attempt's
//! uploads are aborted, and no others. An attempt that gives up aborts its own by id, and leaves notes without one. Later
//! ones, publication and the sweep find an upload that was begun, and whose id was not noted any more, by its key. Since
//! outputs of all attempts have the same keys, they do so only while no later attempt has noted uploads.

use super::{RewriteTail, StagedFile, Upload, local};
use crate::bucket::{fail, is_changed, size, status};
use crate::buffers::Buffer;
use crate::transfer::{ObjectReader, client, exists_blocking, head_blocking, start, wait};
use crate::{Location, StorageError, StorageResult, bucket_and_key};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use aws_sdk_s3::error::ProvideErrorMetadata;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_manifest::{InvalidUri, ObjectUri};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The least that any part but the last may have (Amazon S3 User Guide, "Multipart upload limits").
const MIN_PART_BYTES: usize = 5 << 20;
/// So many parts are of the least size, so many more of twice that, and so on: few bytes wait in memory, and the 10,000 parts that an upload has
/// at the most hold nearly the 5 TiB that an object may have.
const PARTS_OF_A_SIZE: usize = 1000;
/// What the private keys go on with that note uploads.
const NOTES: &str = "uploads/";
/// The metadata that tells which upload became an object.
const MARK: &str = "millwork-upload";
/// How many parts of one file are on their way at once.
const PARTS_AT_ONCE: usize = 2;
/// How many requests about different objects are made at once.
const REQUESTS_AT_ONCE: usize = 16;

/// The keys of one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BucketStaging {
    bucket: String,
    /// Private keys of the manifest start with this, and those of the attempt go on with its number.
    private: String,
    attempt: u32,
    /// The key of an output, with `{part}` for its number.
    output: String,
}

impl BucketStaging {
    pub(super) fn new(output: &Location, manifest: &str, attempt: u32, output_path: &str) -> Self {
        let Location::Bucket { bucket, prefix } = output else {
            return Self { bucket: String::new(), private: String::new(), attempt, output: String::new() };
        };
        let below = |path: &str| if prefix.is_empty() { path.to_owned() } else { format!("{prefix}/{path}") };
        Self {
            bucket: bucket.clone(),
            private: below(&format!("_millwork/staging/{manifest}/")),
            attempt,
            output: below(output_path),
        }
    }

    pub(super) fn uri(&self, key: &str) -> Result<ObjectUri, InvalidUri> {
        format!("s3://{}/{key}", self.bucket).parse()
    }

    pub(super) fn create_output(&self, number: usize) -> BucketWriter {
        let key = self.output.replace("{part}", &format!("{number:05}"));
        BucketWriter { is_output: true, notes: Some(self.notes()), ..BucketWriter::new(&self.bucket, key) }
    }

    pub(super) fn create(&self, name: &str) -> BucketWriter {
        let key = format!("{}{}/{name}", self.private, self.attempt);
        BucketWriter { notes: Some(self.notes()), ..BucketWriter::new(&self.bucket, key) }
    }

    /// Where the attempt's open uploads are noted.
    fn notes(&self) -> Notes {
        Notes { bucket: self.bucket.clone(), prefix: format!("{}{}/{NOTES}", self.private, self.attempt) }
    }

    /// Uploads the ends of outputs as their last parts.
    pub(super) fn settle(&self, files: Vec<&mut StagedFile>, rewrite: Option<RewriteTail<'_>>) -> StorageResult<()> {
        let mut uploads = Vec::new();
        let mut parts = Vec::new();
        for StagedFile { name, size_bytes, upload } in files {
            let Some(upload) = upload.as_mut().filter(|upload| !upload.tail.is_empty()) else { continue };
            let old = std::mem::take(&mut upload.tail);
            let old_bytes = old.len() as u64;
            let tail = match rewrite {
                Some(rewrite) => rewrite(&old).map_err(|e| StorageError::new("rewrite the footer of", &*name, e))?,
                None => old,
            };
            *size_bytes = *size_bytes - old_bytes + tail.len() as u64;
            let part = Part {
                bucket: self.bucket.clone(),
                key: name.clone(),
                upload: upload.id.clone(),
                number: upload.parts.len() + 1,
            };
            parts.push(part.put(tail.into()));
            uploads.push(upload);
        }
        for (upload, etag) in uploads.into_iter().zip(wait(at_once(parts))?) {
            upload.parts.push(etag);
        }
        Ok(())
    }

    pub(super) fn publish<'a>(&self, files: impl Iterator<Item = &'a StagedFile>) -> StorageResult<()> {
        let uploads = files.filter_map(|file| {
            let upload = file.upload.clone()?;
            Some(complete(self.bucket.clone(), file.name.clone(), upload, file.size_bytes))
        });
        wait(at_once(uploads.collect())).map(|_| ())
    }

    pub(super) fn publish_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        // One after the other: each holds some megabytes.
        let copy_all = |into: &mut dyn Write| -> io::Result<()> {
            for file in files {
                let uri = self.uri(&file.name).map_err(io::Error::other)?;
                io::copy(&mut ObjectReader::open(&uri, "", 0..file.size_bytes)?, into)?;
            }
            Ok(())
        };
        if is_there(to, files)? {
            return Ok(());
        }
        let joined = match bucket_and_key(to) {
            Some((bucket, key)) => {
                let writer = BucketWriter { notes: Some(self.notes()), ..BucketWriter::new(bucket, key.to_owned()) };
                writer.write_whole(copy_all)
            }
            None => local::write_elsewhere(&crate::path_of(to)?, |into| copy_all(into)),
        };
        joined.map_err(|e| if e.is_not_found() && self.is_any_gone(files) { StorageError::lost(to) } else { e })
    }

    fn is_any_gone(&self, files: &[StagedFile]) -> bool {
        let is_gone =
            |file: &StagedFile| self.uri(&file.name).is_ok_and(|uri| matches!(exists_blocking(&uri), Ok(false)));
        files.iter().any(is_gone)
    }

    /// Aborts the open uploads and removes the private objects of this attempt, while others may be alive.
    pub(super) fn discard(&self) -> StorageResult<()> {
        wait(discard(self.clone(), Reach::Own, Vec::new()))
    }

    /// The same for this attempt and earlier ones, of which none is alive. The uploads of what is published have ended.
    pub(super) fn clear<'a>(&self, published: impl Iterator<Item = &'a StagedFile>) -> StorageResult<()> {
        let notes = self.notes();
        let note = |file: &StagedFile| Some(notes.key(file.upload.as_ref()?.mark.as_ref()?));
        wait(discard(self.clone(), Reach::AllSoFar, published.filter_map(note).collect()))
    }
}

/// The manifests of which private objects are there.
pub(super) fn staged_manifests(output: &Location) -> StorageResult<Vec<String>> {
    let root = BucketStaging::new(output, "", 0, "");
    wait(async move {
        let (bucket, client) = (&root.bucket, client().await);
        // The private keys of a manifest without a name: two slashes.
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

/// Puts private files of a directory together as an object.
pub(super) fn publish_local(
    path: impl Fn(&StagedFile) -> PathBuf,
    files: &[StagedFile],
    to: &ObjectUri,
) -> StorageResult<()> {
    let nowhere = || StorageError::new("write", to, ErrorKind::Unsupported.into());
    let (bucket, key) = bucket_and_key(to).ok_or_else(nowhere)?;
    if is_there(to, files)? {
        return Ok(());
    }
    let copy_all = |into: &mut dyn Write| -> io::Result<()> {
        for file in files {
            io::copy(&mut File::open(path(file))?, into)?;
        }
        Ok(())
    };
    let written = BucketWriter::new(bucket, key.to_owned()).write_whole(copy_all);
    let is_any_gone = || files.iter().any(|file| matches!(path(file).try_exists(), Ok(false)));
    written.map_err(|e| if e.is_not_found() && is_any_gone() { StorageError::lost(to) } else { e })
}

/// Whether what these files become is there; something else is an error.
fn is_there(to: &ObjectUri, files: &[StagedFile]) -> StorageResult<bool> {
    match head_blocking(to) {
        Ok(there) if there.size_bytes == files.iter().map(|file| file.size_bytes).sum::<u64>() => Ok(true),
        Ok(_) => Err(StorageError::taken(to)),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}

async fn complete(bucket: String, key: String, upload: Upload, size_bytes: u64) -> StorageResult<()> {
    let client = client().await;
    let part = |(number, etag): (i32, String)| CompletedPart::builder().part_number(number).e_tag(etag).build();
    let parts = (1..).zip(upload.parts).map(part).collect();
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let request = client.complete_multipart_upload().bucket(&bucket).key(&key).upload_id(&upload.id);
    let completed = request.multipart_upload(parts).if_none_match("*").send().await;
    let Err(error) = completed else { return Ok(()) };
    // Who asks a second time finds the upload gone, or the object there.
    let what = format!("s3://{bucket}/{key}");
    let (is_gone, is_taken) = (error.code() == Some("NoSuchUpload"), is_changed(&error));
    let refused = fail("publish", &what, error);
    match client.head_object().bucket(&bucket).key(&key).send().await {
        Ok(there) if size(&there) == size_bytes && has_mark(&there, upload.mark.as_ref()) => Ok(()),
        Ok(_) if is_gone => Err(StorageError::lost(what)),
        Ok(_) if is_taken => Err(StorageError::taken(what)),
        Err(e) if is_gone && status(&e) == Some(404) => Err(StorageError::lost(what)),
        _ => Err(refused),
    }
}

fn has_mark(there: &HeadObjectOutput, mark: Option<&String>) -> bool {
    mark.is_none_or(|mark| there.metadata().and_then(|metadata| metadata.get(MARK)) == Some(mark))
}

/// Whose uploads and private objects go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This attempt's.
    Own,
    /// This attempt's and those of earlier ones, all of them dead.
    AllSoFar,
}

/// Where uploads are noted.
#[derive(Clone)]
struct Notes {
    bucket: String,
    prefix: String,
}

impl Notes {
    /// The key of the note of an upload with this mark.
    fn key(&self, mark: &str) -> String {
        format!("{}{mark}.json", self.prefix)
    }
}

/// What is noted of an upload.
#[derive(Serialize, Deserialize)]
struct Note {
    /// Its bucket, if that is another than the note's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    bucket: Option<String>,
    key: String,
    /// None while it is being begun.
    upload_id: Option<String>,
}

async fn put_note(bucket: &str, name: &str, note: &Note) -> StorageResult<()> {
    let write = |e: serde_json::Error| StorageError::new("write", name, e.into());
    let content = serde_json::to_vec(note).map_err(write)?;
    let put = client().await.put_object().bucket(bucket).key(name).body(content.into()).send().await;
    put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{name}"), e))
}

/// Does some of these at a time, all of them if none fails. Returns their results in order.
async fn at_once<T>(work: Vec<impl Future<Output = StorageResult<T>>>) -> StorageResult<Vec<T>> {
    stream::iter(work).buffered(REQUESTS_AT_ONCE).try_collect().await
}

/// Aborts the noted uploads and removes the private objects of some attempts. The `useless` are notes of uploads that have ended.
async fn discard(staging: BucketStaging, reach: Reach, useless: Vec<String>) -> StorageResult<()> {
    let (client, staging) = (&client().await, &staging);
    let delete = |key: String| async move {
        let deleted = client.delete_object().bucket(&staging.bucket).key(&key).send().await;
        deleted.map(|_| ()).map_err(|e| fail("delete", format!("s3://{}/{key}", staging.bucket), e))
    };
    let is_meant = |found: &Private| match reach {
        Reach::Own => found.attempt == staging.attempt,
        Reach::AllSoFar => found.attempt <= staging.attempt,
    };
    let deleted = at_once(useless.iter().cloned().map(delete).collect());
    let (found, _) = futures::future::try_join(staging.list(client), deleted).await?;
    let found = found.into_iter().filter(|found| is_meant(found) && !useless.contains(&found.key));
    let discard = |Private { key, is_note, .. }: Private| async move {
        if is_note && !staging.abort_noted(client, &key, reach).await? {
            return Ok(());
        }
        delete(key).await
    };
    at_once(found.map(discard).collect()).await.map(|_| ())
}

/// A private object of an attempt.
struct Private {
    key: String,
    attempt: u32,
    is_note: bool,
}

impl BucketStaging {
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
        let content = got.body.collect().await.map_err(|e| read(io::Error::other(e)))?.to_vec();
        let Note { bucket, key, upload_id } = serde_json::from_slice(&content).map_err(|e| read(e.into()))?;
        let bucket = bucket.as_ref().unwrap_or(&self.bucket);
        let ids = match (upload_id, reach) {
            (Some(id), _) => vec![id],
            // It may just be begun.
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
async fn abort(client: &Client, bucket: &str, key: &str, id: &str) -> StorageResult<()> {
    let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
    match aborted.map_err(|e| fail("abort the upload of", format!("s3://{bucket}/{key}"), e)) {
        Err(e) if !e.is_not_found() => Err(e),
        _ => Ok(()),
    }
}

/// The size of the part after so many others.
fn part_bytes(others: usize) -> usize {
    MIN_PART_BYTES << (others / PARTS_OF_A_SIZE)
}

/// A part of an upload.
struct Part {
    bucket: String,
    key: String,
    upload: String,
    number: usize,
}

impl Part {
    /// Uploads it. Returns its entity tag.
    ///
    /// What is signed of the content is its CRC, if the client sends one: that the server has what was sent needs no SHA-256 of
    /// hundreds of megabytes.
    async fn put(self, content: Bytes) -> StorageResult<String> {
        let what = format!("s3://{}/{}", self.bucket, self.key);
        let number = i32::try_from(self.number).map_err(|e| StorageError::new("write", &what, io::Error::other(e)))?;
        let client = client().await;
        let has_crc = client.config().request_checksum_calculation() != Some(&RequestChecksumCalculation::WhenRequired);
        let request = client.upload_part().bucket(self.bucket).key(self.key).upload_id(self.upload);
        let request = request.part_number(number).body(content.into()).customize();
        let request = if has_crc { request.disable_payload_signing() } else { request };
        let put = request.send().await.map_err(|e| fail("write", what, e))?;
        Ok(put.e_tag.unwrap_or_default())
    }
}

/// Writes an object: an output, whose upload stays open, or a whole one.
pub(super) struct BucketWriter {
    bucket: String,
    key: String,
    is_output: bool,
    /// A part that is not sent yet: what stays behind is enough for a part, whenever the tail starts.
    behind: Option<Buffer>,
    buffer: Option<Buffer>,
    upload: Begun,
    /// What the object will be known by.
    mark: String,
    /// Where the upload is noted, if it can be aborted when its attempt dies.
    notes: Option<Notes>,
    /// Whether what comes now may still be changed.
    is_in_tail: bool,
    /// The entity tags of the parts, as they come in, each with its place.
    done: Receiver<(usize, StorageResult<String>)>,
    doing: Sender<(usize, StorageResult<String>)>,
    etags: Vec<Option<String>>,
    on_the_way: usize,
    size_bytes: u64,
}

/// What comes of an upload that is being begun. It is waited for in any case: an attempt that gives up is to find the id noted.
struct Beginning(Receiver<StorageResult<String>>);

impl Drop for Beginning {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// How far an upload is begun.
enum Begun {
    Not,
    Being(Beginning),
    /// With its id.
    Is(String),
}

impl BucketWriter {
    fn new(bucket: &str, key: String) -> Self {
        let (doing, done) = channel();
        Self {
            bucket: bucket.to_owned(),
            key,
            is_output: false,
            behind: None,
            buffer: None,
            upload: Begun::Not,
            mark: uuid::Uuid::new_v4().to_string(),
            notes: None,
            is_in_tail: false,
            done,
            doing,
            etags: Vec::new(),
            on_the_way: 0,
            size_bytes: 0,
        }
    }

    /// Begins the upload, if it is not begun, without waiting for it.
    fn begin(&mut self) -> StorageResult<()> {
        if !matches!(self.upload, Begun::Not) {
            return Ok(());
        }
        let (sender, receiver) = channel();
        let begun = begin(self.bucket.clone(), self.key.clone(), self.mark.clone(), self.notes.clone());
        start(begun, sender).map_err(|e| StorageError::new("write", &self.key, e))?;
        self.upload = Begun::Being(Beginning(receiver));
        Ok(())
    }

    /// The id of the upload, begun if it is not.
    fn upload(&mut self) -> StorageResult<String> {
        self.begin()?;
        if let Begun::Being(beginning) = &self.upload {
            let id = beginning.0.recv().map_err(|e| StorageError::new("write", &self.key, io::Error::other(e)))?;
            self.upload = Begun::Is(id?);
        }
        match &self.upload {
            Begun::Is(id) => Ok(id.clone()),
            _ => Err(StorageError::new("write", &self.key, io::Error::other("its upload was not begun"))),
        }
    }

    /// All that is not sent yet.
    fn take_rest(&mut self) -> Buffer {
        match (self.behind.take(), self.buffer.take()) {
            (Some(mut rest), Some(buffer)) => {
                rest.extend_from_slice(&buffer);
                rest
            }
            (rest, buffer) => rest.or(buffer).unwrap_or_else(|| Buffer::with_capacity(0)),
        }
    }

    /// Sends a part on its way, once few enough others are.
    fn send(&mut self, content: Buffer) -> StorageResult<()> {
        let upload = self.upload()?;
        while self.on_the_way >= PARTS_AT_ONCE {
            self.receive()?;
        }
        let place = self.etags.len();
        let part = Part { bucket: self.bucket.clone(), key: self.key.clone(), upload, number: place + 1 };
        self.etags.push(None);
        self.on_the_way += 1;
        let sent = async move { (place, part.put(Bytes::from_owner(content)).await) };
        start(sent, self.doing.clone()).map_err(|e| StorageError::new("write", &self.key, e))
    }

    fn receive(&mut self) -> StorageResult<()> {
        let (place, etag) = self.done.recv().map_err(|e| StorageError::new("write", &self.key, io::Error::other(e)))?;
        self.on_the_way -= 1;
        self.etags[place] = Some(etag?);
        Ok(())
    }

    /// What comes from here on can be changed until it is settled; what came before is sent, if it is enough for a part.
    pub(super) fn start_tail(&mut self) -> io::Result<()> {
        self.is_in_tail = true;
        let fail = |e: StorageError| io::Error::new(e.source.kind(), e);
        if let Some(last) = self.buffer.take_if(|buffer| buffer.len() >= MIN_PART_BYTES) {
            if let Some(behind) = self.behind.take() {
                self.send(behind).map_err(fail)?;
            }
            self.send(last).map_err(fail)
        } else if self.behind.is_some() {
            let rest = self.take_rest();
            self.send(rest).map_err(fail)
        } else {
            Ok(())
        }
    }

    pub(super) fn finish(&mut self) -> StorageResult<StagedFile> {
        let (bucket, key, size_bytes) = (self.bucket.clone(), self.key.clone(), self.size_bytes);
        let mut file = StagedFile { name: key.clone(), size_bytes, upload: None };
        if !self.is_output && matches!(self.upload, Begun::Not) {
            let content = Bytes::from_owner(self.take_rest());
            wait(async move {
                let put = client().await.put_object().bucket(&bucket).key(&key).body(content.into()).send().await;
                put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))
            })?;
            return Ok(file);
        }
        let id = self.upload()?;
        let rest = self.take_rest();
        let mut tail = Vec::new();
        if self.is_output {
            tail.extend_from_slice(&rest);
        } else if !rest.is_empty() {
            self.send(rest)?;
        }
        while self.on_the_way > 0 {
            self.receive()?;
        }
        let parts = std::mem::take(&mut self.etags).into_iter().flatten().collect();
        let upload = Upload { id, parts, tail, mark: Some(self.mark.clone()) };
        if self.is_output {
            file.upload = Some(upload);
        } else {
            wait(complete(bucket, key, upload, size_bytes))?;
        }
        Ok(file)
    }

    /// Writes a whole object, or nothing.
    fn write_whole(mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> StorageResult<()> {
        let written =
            write(&mut self).map_err(|e| StorageError::new("write", format!("s3://{}/{}", self.bucket, self.key), e));
        let finished = written.and_then(|()| self.finish().map(|_| ()));
        if finished.is_err() && !matches!(self.upload, Begun::Not) {
            let Ok(id) = self.upload() else { return finished };
            // A part that comes later would stay.
            while self.on_the_way > 0 {
                let _ = self.receive();
            }
            let (bucket, key) = (self.bucket, self.key);
            // What cannot be aborted now is found by its note, or goes with the bucket's rule for incomplete uploads.
            let _ = wait(async move { abort(&client().await, &bucket, &key, &id).await });
        }
        finished
    }
}

/// Begins an upload, noted before and after. Returns its id.
async fn begin(bucket: String, key: String, mark: String, notes: Option<Notes>) -> StorageResult<String> {
    let place = notes.map(|notes| (notes.key(&mark), notes.bucket));
    let note = |upload_id: Option<String>| {
        let (place, key, of) = (place.clone(), key.clone(), bucket.clone());
        async move {
            let Some((name, bucket)) = place else { return Ok(()) };
            put_note(&bucket, &name, &Note { bucket: (of != bucket).then_some(of), key, upload_id }).await
        }
    };
    note(None).await?;
    let created = client().await.create_multipart_upload().bucket(&bucket).key(&key).metadata(MARK, &mark);
    let created = created.send().await.map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))?;
    let id = created.upload_id.unwrap_or_default();
    note(Some(id.clone())).await?;
    Ok(id)
}

impl Write for BucketWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fail = |e: StorageError| io::Error::new(e.source.kind(), e);
        if self.is_output {
            self.begin().map_err(fail)?;
        }
        let part = part_bytes(self.etags.len());
        let room = |buffer: &Buffer| if self.is_in_tail { usize::MAX } else { part.saturating_sub(buffer.len()) };
        let buffer = self.buffer.get_or_insert_with(|| Buffer::with_capacity(part));
        let taken = bytes.len().min(room(buffer));
        buffer.extend_from_slice(&bytes[..taken]);
        self.size_bytes += taken as u64;
        if room(buffer) == 0
            && let Some(behind) = self.buffer.take().and_then(|full| self.behind.replace(full))
        {
            self.send(behind).map_err(fail)?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
