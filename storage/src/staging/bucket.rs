//! Publication in a bucket: multipart uploads that only the commit completes.
//!
//! An executor uploads the parts of an output, but for its end: the footer, which may change until the commit, travels in
//! the task's report. If a process dies, its uploads stay open and unseen; the next attempt at the manifest, or the end
//! of its run, aborts those below the manifest's own keys, and no others.

use super::{RewriteTail, StagedFile, Upload};
use crate::bucket::{fail, size};
use crate::transfer::{ObjectReader, client, exists_blocking, start, wait};
use crate::{Location, StorageError, StorageResult, bucket_and_key};
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
        BucketWriter::new(&self.bucket, self.output.replace("{part}", &format!("{number:05}")), true)
    }

    pub(super) fn create(&self, name: &str) -> BucketWriter {
        BucketWriter::new(&self.bucket, format!("{}{}/{name}", self.private, self.attempt), false)
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
        let parts = || -> io::Result<Vec<ObjectReader>> {
            let open = |file: &StagedFile| {
                let uri = self.uri(&file.name).map_err(io::Error::other)?;
                ObjectReader::open(&uri, "", 0..file.size_bytes)
            };
            files.iter().map(open).collect()
        };
        match bucket_and_key(to) {
            Some((bucket, key)) => {
                if exists_blocking(to)? {
                    return Ok(());
                }
                let mut writer = BucketWriter::new(bucket, key.to_owned(), false);
                for mut part in parts().map_err(write)? {
                    io::copy(&mut part, &mut writer).map_err(write)?;
                }
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
                    for mut part in parts()? {
                        io::copy(&mut part, &mut into)?;
                    }
                    into.sync_all()?;
                    std::fs::rename(&private, &path)
                };
                joined().map_err(write)
            }
        }
    }

    /// Aborts the open uploads and removes the private objects of the manifest, of this attempt and of earlier ones.
    pub(super) fn discard(&self) -> StorageResult<()> {
        wait(discard(self.clone()))
    }
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
    let mut writer = BucketWriter::new(bucket, key.to_owned(), false);
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

async fn discard(staging: BucketStaging) -> StorageResult<()> {
    let client = client().await;
    let bucket = &staging.bucket;
    let prefix = staging.output.split("{part}").next().unwrap_or(&staging.output);
    let what = || format!("s3://{bucket}/{prefix}…");
    let listed = client.list_multipart_uploads().bucket(bucket).prefix(prefix).send().await;
    for upload in listed.map_err(|e| fail("list the uploads of", what(), e))?.uploads() {
        let (Some(key), Some(id)) = (upload.key(), upload.upload_id()) else { continue };
        let aborted = client.abort_multipart_upload().bucket(bucket).key(key).upload_id(id).send().await;
        match aborted.map_err(|e| fail("abort the upload of", format!("s3://{bucket}/{key}"), e)) {
            Err(e) if !e.is_not_found() => return Err(e),
            _ => {}
        }
    }
    let listed = client.list_objects_v2().bucket(bucket).prefix(&staging.private).send().await;
    for object in listed.map_err(|e| fail("list", format!("s3://{bucket}/{}", staging.private), e))?.contents() {
        let Some(key) = object.key() else { continue };
        let deleted = client.delete_object().bucket(bucket).key(key).send().await;
        deleted.map_err(|e| fail("delete", format!("s3://{bucket}/{key}"), e))?;
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
    /// The entity tags of the parts, as they come in, each with its place.
    done: Receiver<(usize, StorageResult<String>)>,
    doing: Sender<(usize, StorageResult<String>)>,
    etags: Vec<Option<String>>,
    on_the_way: usize,
    size_bytes: u64,
}

impl BucketWriter {
    fn new(bucket: &str, key: String, is_output: bool) -> Self {
        let (doing, done) = channel();
        Self {
            bucket: bucket.to_owned(),
            key,
            is_output,
            buffer: Vec::new(),
            upload: None,
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
        let (bucket, key) = (self.bucket.clone(), self.key.clone());
        let id = wait(async move {
            let created = client().await.create_multipart_upload().bucket(&bucket).key(&key).send().await;
            let created = created.map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))?;
            Ok(created.upload_id.unwrap_or_default())
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
        while self.buffer.len() >= 2 * PART_BYTES {
            self.send(PART_BYTES).map_err(|e| io::Error::new(e.source.kind(), e))?;
        }
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
