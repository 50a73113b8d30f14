//! Publication in a bucket: multipart uploads that only the commit completes.
//!
//! An executor uploads the parts of an output, but for its end: the footer, which may change until the commit, travels in
//! the task's report. For each upload a private object notes its key, before it is begun, then its id, so that an attempt's
//! uploads are aborted, and no others. An attempt that gives up aborts its own by id. Where no other attempt can be alive,
//! at the start of the next one and after publication, an upload that was begun and whose id was not noted any more is
//! found by its key.

use super::{RewriteTail, StagedFile, Upload};
use crate::bucket::{fail, size};
use crate::transfer::{ObjectReader, client, exists_blocking, start, wait};
use crate::{Location, StorageError, StorageResult, bucket_and_key};
use aws_sdk_s3::Client;
use aws_sdk_s3::types::{CompletedMultipartUpload, CompletedPart};
use bytes::Bytes;
use millwork_manifest::{InvalidUri, ObjectUri};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The size of a part. 10,000 parts are the most an upload has, so this allows outputs of 78 GiB.
const PART_BYTES: usize = 8 << 20;
/// The least that any part but the last may have (Amazon S3 User Guide, "Multipart upload limits").
const MIN_PART_BYTES: usize = 5 << 20;
/// What the private keys go on with that note uploads.
const NOTES: &str = "uploads/";
/// How many parts of one file are on their way at once.
const PARTS_AT_ONCE: usize = 3;

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
    fn notes(&self) -> String {
        format!("{}{}/{NOTES}", self.private, self.attempt)
    }

    /// Uploads the end of an output as its last part.
    pub(super) fn settle(&self, file: &mut StagedFile, rewrite: Option<RewriteTail<'_>>) -> StorageResult<()> {
        let Some(upload) = &mut file.upload else { return Ok(()) };
        if upload.tail.is_empty() {
            return Ok(());
        }
        let old = std::mem::take(&mut upload.tail);
        let tail = match rewrite {
            Some(rewrite) => rewrite(&old).map_err(|e| StorageError::new("rewrite the footer of", &file.name, e))?,
            None => old.clone(),
        };
        file.size_bytes = file.size_bytes - old.len() as u64 + tail.len() as u64;
        let part = Part {
            bucket: self.bucket.clone(),
            key: file.name.clone(),
            upload: upload.id.clone(),
            number: upload.parts.len() + 1,
        };
        upload.parts.push(wait(part.put(tail.into()))?);
        Ok(())
    }

    pub(super) fn publish(&self, file: &StagedFile) -> StorageResult<()> {
        let Some(upload) = file.upload.clone() else { return Ok(()) };
        wait(complete(self.bucket.clone(), file.name.clone(), upload, file.size_bytes))
    }

    pub(super) fn publish_joined(&self, files: &[StagedFile], to: &ObjectUri) -> StorageResult<()> {
        let write = |e| StorageError::new("write", to, e);
        // One after the other: each holds some megabytes.
        let copy_all = |into: &mut dyn Write| -> io::Result<()> {
            for file in files {
                let uri = self.uri(&file.name).map_err(io::Error::other)?;
                io::copy(&mut ObjectReader::open(&uri, "", 0..file.size_bytes, u64::MAX)?, into)?;
            }
            Ok(())
        };
        match bucket_and_key(to) {
            Some((bucket, key)) => {
                if exists_blocking(to)? {
                    return Ok(());
                }
                let mut writer = BucketWriter::new(bucket, key.to_owned());
                copy_all(&mut writer).map_err(write)?;
                writer.finish().map(|_| ())
            }
            None => {
                let path = crate::path_of(to)?;
                let joined = || -> io::Result<()> {
                    if path.exists() {
                        return Ok(());
                    }
                    std::fs::create_dir_all(path.parent().unwrap_or(&path))?;
                    let private = path.with_extension("tmp");
                    let mut into = File::create(&private)?;
                    copy_all(&mut into)?;
                    into.sync_all()?;
                    std::fs::rename(&private, &path)
                };
                joined().map_err(write)
            }
        }
    }

    /// Aborts the open uploads and removes the private objects of this attempt, while others may be alive.
    pub(super) fn discard(&self) -> StorageResult<()> {
        wait(discard(self.clone(), Reach::Own))
    }

    /// The same for this attempt and earlier ones, of which none is alive.
    pub(super) fn clear(&self) -> StorageResult<()> {
        wait(discard(self.clone(), Reach::AllSoFar))
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
    let write = |e| StorageError::new("write", to, e);
    let (bucket, key) = bucket_and_key(to).ok_or_else(|| write(ErrorKind::Unsupported.into()))?;
    if exists_blocking(to)? {
        return Ok(());
    }
    let mut writer = BucketWriter::new(bucket, key.to_owned());
    for file in files {
        let mut part = File::open(path(file)).map_err(write)?;
        io::copy(&mut part, &mut writer).map_err(write)?;
    }
    writer.finish().map(|_| ())
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
    let refused = fail("publish", format!("s3://{bucket}/{key}"), error);
    match client.head_object().bucket(&bucket).key(&key).send().await {
        Ok(there) if size(&there) == size_bytes => Ok(()),
        _ => Err(refused),
    }
}

/// Whose uploads and private objects go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// This attempt's.
    Own,
    /// This attempt's and those of earlier ones, all of them dead.
    AllSoFar,
}

/// What is noted of an upload.
#[derive(Serialize, Deserialize)]
struct Note {
    key: String,
    /// None while it is being begun.
    upload_id: Option<String>,
}

async fn put_note(bucket: &str, name: Option<&str>, note: &Note) -> StorageResult<()> {
    let Some(name) = name else { return Ok(()) };
    let write = |e: serde_json::Error| StorageError::new("write", name, e.into());
    let content = serde_json::to_vec(note).map_err(write)?;
    let put = client().await.put_object().bucket(bucket).key(name).body(content.into()).send().await;
    put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{name}"), e))
}

/// Aborts the noted uploads and removes the private objects of some attempts.
async fn discard(staging: BucketStaging, reach: Reach) -> StorageResult<()> {
    let client = client().await;
    let bucket = &staging.bucket;
    let place = format!("s3://{bucket}/{}", staging.private);
    let mut pages = client.list_objects_v2().bucket(bucket).prefix(&staging.private).into_paginator().send();
    while let Some(page) = pages.next().await {
        for object in page.map_err(|e| fail("list", &place, e))?.contents() {
            let Some(key) = object.key() else { continue };
            let rest = key.strip_prefix(&staging.private).unwrap_or_default();
            let (attempt, name) = rest.split_once('/').unwrap_or_default();
            let is_meant = |attempt: u32| match reach {
                Reach::Own => attempt == staging.attempt,
                Reach::AllSoFar => attempt <= staging.attempt,
            };
            if !attempt.parse().is_ok_and(is_meant) {
                continue;
            }
            if name.starts_with(NOTES) {
                abort_noted(&client, bucket, key, reach).await?;
            }
            let deleted = client.delete_object().bucket(bucket).key(key).send().await;
            deleted.map_err(|e| fail("delete", format!("s3://{bucket}/{key}"), e))?;
        }
    }
    Ok(())
}

/// Aborts the upload of a note, if it is still open.
async fn abort_noted(client: &Client, bucket: &str, note: &str, reach: Reach) -> StorageResult<()> {
    let what = format!("s3://{bucket}/{note}");
    let got = client.get_object().bucket(bucket).key(note).send().await.map_err(|e| fail("read", &what, e))?;
    let read = |e: io::Error| StorageError::new("read", &what, e);
    let content = got.body.collect().await.map_err(|e| read(io::Error::other(e)))?.to_vec();
    let note: Note = serde_json::from_slice(&content).map_err(|e| read(e.into()))?;
    let ids = match (note.upload_id, reach) {
        (Some(id), _) => vec![id],
        (None, Reach::Own) => Vec::new(),
        (None, Reach::AllSoFar) => {
            let listed = client.list_multipart_uploads().bucket(bucket).prefix(&note.key).send().await;
            let listed = listed.map_err(|e| fail("list the uploads of", format!("s3://{bucket}/{}", note.key), e))?;
            let of_key = listed.uploads().iter().filter(|upload| upload.key() == Some(&note.key));
            of_key.filter_map(|upload| upload.upload_id().map(str::to_owned)).collect()
        }
    };
    for id in ids {
        let aborted = client.abort_multipart_upload().bucket(bucket).key(&note.key).upload_id(id).send().await;
        match aborted.map_err(|e| fail("abort the upload of", format!("s3://{bucket}/{}", note.key), e)) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    Ok(())
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
    async fn put(self, content: Bytes) -> StorageResult<String> {
        let what = format!("s3://{}/{}", self.bucket, self.key);
        let number = i32::try_from(self.number).map_err(|e| StorageError::new("write", &what, io::Error::other(e)))?;
        let request = client().await.upload_part().bucket(self.bucket).key(self.key).upload_id(self.upload);
        let put = request.part_number(number).body(content.into()).send().await.map_err(|e| fail("write", what, e))?;
        Ok(put.e_tag.unwrap_or_default())
    }
}

/// Writes an object: an output, whose upload stays open, or a whole one.
pub(super) struct BucketWriter {
    bucket: String,
    key: String,
    is_output: bool,
    buffer: Vec<u8>,
    upload: Option<String>,
    /// Where the upload is noted, if it must be aborted when its attempt dies.
    notes: Option<String>,
    /// Whether what comes now may still be changed.
    is_in_tail: bool,
    /// The entity tags of the parts, as they come in, each with its place.
    done: Receiver<(usize, StorageResult<String>)>,
    doing: Sender<(usize, StorageResult<String>)>,
    etags: Vec<Option<String>>,
    on_the_way: usize,
    size_bytes: u64,
}

impl BucketWriter {
    fn new(bucket: &str, key: String) -> Self {
        let (doing, done) = channel();
        Self {
            bucket: bucket.to_owned(),
            key,
            is_output: false,
            buffer: Vec::new(),
            upload: None,
            notes: None,
            is_in_tail: false,
            done,
            doing,
            etags: Vec::new(),
            on_the_way: 0,
            size_bytes: 0,
        }
    }

    /// The id of the upload, begun if it is not.
    fn upload(&mut self) -> StorageResult<String> {
        if let Some(id) = &self.upload {
            return Ok(id.clone());
        }
        let (bucket, key, notes) = (self.bucket.clone(), self.key.clone(), self.notes.clone());
        let id = wait(async move {
            let what = format!("s3://{bucket}/{key}");
            let name = notes.map(|notes| format!("{notes}{}.json", uuid::Uuid::new_v4()));
            let mut note = Note { key: key.clone(), upload_id: None };
            put_note(&bucket, name.as_deref(), &note).await?;
            let created = client().await.create_multipart_upload().bucket(&bucket).key(&key).send().await;
            let id = created.map_err(|e| fail("write", &what, e))?.upload_id.unwrap_or_default();
            note.upload_id = Some(id.clone());
            put_note(&bucket, name.as_deref(), &note).await?;
            Ok(id)
        })?;
        self.upload = Some(id.clone());
        Ok(id)
    }

    /// Sends the first bytes of the buffer on their way, once few enough others are.
    fn send(&mut self, bytes: usize) -> StorageResult<()> {
        let upload = self.upload()?;
        while self.on_the_way >= PARTS_AT_ONCE {
            self.receive()?;
        }
        let rest = self.buffer.split_off(bytes);
        let content = Bytes::from(std::mem::replace(&mut self.buffer, rest));
        let place = self.etags.len();
        let part = Part { bucket: self.bucket.clone(), key: self.key.clone(), upload, number: place + 1 };
        self.etags.push(None);
        self.on_the_way += 1;
        let sent = start(async move { (place, part.put(content).await) }, self.doing.clone());
        sent.map_err(|e| StorageError::new("write", &self.key, e))
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
        if self.buffer.len() < MIN_PART_BYTES {
            return Ok(());
        }
        self.send(self.buffer.len()).map_err(|e| io::Error::new(e.source.kind(), e))
    }

    pub(super) fn finish(mut self) -> StorageResult<StagedFile> {
        let file = |key, size_bytes, upload| StagedFile { name: key, size_bytes, upload };
        if !self.is_output && self.upload.is_none() {
            let (bucket, key, content) = (self.bucket.clone(), self.key.clone(), std::mem::take(&mut self.buffer));
            wait(async move {
                let put = client().await.put_object().bucket(&bucket).key(&key).body(content.into()).send().await;
                put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))
            })?;
            return Ok(file(self.key, self.size_bytes, None));
        }
        let id = self.upload()?;
        if !self.is_output && !self.buffer.is_empty() {
            self.send(self.buffer.len())?;
        }
        while self.on_the_way > 0 {
            self.receive()?;
        }
        let parts = self.etags.into_iter().flatten().collect();
        let upload = Upload { id, parts, tail: self.buffer };
        if self.is_output {
            return Ok(file(self.key, self.size_bytes, Some(upload)));
        }
        wait(complete(self.bucket, self.key.clone(), upload, self.size_bytes))?;
        Ok(file(self.key, self.size_bytes, None))
    }
}

impl Write for BucketWriter {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(buffer);
        self.size_bytes += buffer.len() as u64;
        // What stays behind is always enough for a part, whenever the tail starts.
        while self.buffer.len() >= 2 * PART_BYTES && !self.is_in_tail {
            self.send(PART_BYTES).map_err(|e| io::Error::new(e.source.kind(), e))?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
