//! Writer of an object in parts, which uploads parts while later ones are written.

use super::notes::{Note, Notes, abort, put_note};
use super::{MARK, complete};
use crate::bucket::{fail, status, upload_id};
use crate::buffers::Buffer;
use crate::staging::{Mark, Upload};
use crate::{Storage, StorageError, StorageResult};
use aws_sdk_s3::Client;
use aws_sdk_s3::config::RequestChecksumCalculation;
use bytes::Bytes;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel};

/// Least size of every part but the last: 5 MiB (Amazon S3 User Guide, "Multipart upload limits").
const MIN_PART_BYTES: usize = 5 << 20;
/// Number of parts of the same size: the first 1,000 have the least size, the next 1,000 twice that, and so on. Small
/// objects then need little memory, and the limit of 10,000 parts allows nearly the 5 TiB of the largest object.
const PARTS_OF_A_SIZE: usize = 1000;

/// Size in bytes of the part that follows this number of others.
fn part_bytes(others: usize) -> usize {
    MIN_PART_BYTES << (others / PARTS_OF_A_SIZE)
}

/// A part of a multipart upload.
pub(super) struct Part {
    pub(super) bucket: String,
    pub(super) key: String,
    pub(super) upload: String,
    pub(super) number: usize,
}

impl Part {
    /// Uploads the part. Returns its entity tag.
    ///
    /// The content is signed by its CRC, if the client sends one, which proves that it arrived intact without hashing
    /// hundreds of megabytes by SHA-256.
    pub(super) async fn put(self, client: Client, content: Bytes) -> StorageResult<String> {
        let what = format!("s3://{}/{}", self.bucket, self.key);
        let number = i32::try_from(self.number).map_err(|e| StorageError::new("write", &what, io::Error::other(e)))?;
        let has_crc = client.config().request_checksum_calculation() != Some(&RequestChecksumCalculation::WhenRequired);
        let request = client.upload_part().bucket(self.bucket).key(self.key).upload_id(self.upload);
        let request = request.part_number(number).body(content.into()).customize();
        let request = if has_crc { request.disable_payload_signing() } else { request };
        let put = request.send().await.map_err(|e| fail("write", what, e))?;
        Ok(put.e_tag.unwrap_or_default())
    }
}

/// Writer of an object: either an output, whose upload stays open, or a complete object.
pub(in crate::staging) struct BucketWriter {
    bucket: String,
    key: String,
    is_output: bool,
    /// Full part that is held back, so that the last part, the tail, is never below the least size.
    behind: Option<Buffer>,
    buffer: Option<Buffer>,
    upload: Begun,
    /// Mark that will identify the object.
    mark: Mark,
    /// Place of the upload's note; `None` if the upload is not noted.
    notes: Option<Notes>,
    /// True if the bytes written now may still be changed later.
    is_in_tail: bool,
    /// Results of the parts as they finish: index and entity tag.
    done: Receiver<(usize, StorageResult<String>)>,
    doing: Sender<(usize, StorageResult<String>)>,
    etags: Vec<Option<String>>,
    on_the_way: usize,
    size_bytes: u64,
    /// Storage with the threads for requests. The last field, so that it is dropped after the upload, whose beginning is
    /// awaited on those threads.
    storage: Storage,
}

/// Result of an upload that is being begun. Always waited for, so that an attempt that gives up finds the id noted.
struct Beginning(Receiver<StorageResult<String>>);

impl Drop for Beginning {
    fn drop(&mut self) {
        let _ = self.0.recv();
    }
}

/// State of the upload.
enum Begun {
    Not,
    Being(Beginning),
    /// Begun; S3 assigned this upload id.
    Is(String),
}

impl BucketWriter {
    pub(super) fn new(storage: &Storage, bucket: &str, key: String) -> Self {
        let (doing, done) = channel();
        Self {
            storage: storage.clone(),
            bucket: bucket.to_owned(),
            key,
            is_output: false,
            behind: None,
            buffer: None,
            upload: Begun::Not,
            mark: Mark::new(),
            notes: None,
            is_in_tail: false,
            done,
            doing,
            etags: Vec::new(),
            on_the_way: 0,
            size_bytes: 0,
        }
    }

    /// Makes the writer note its upload, so that it can be aborted if the attempt dies.
    pub(super) fn noted_in(self, notes: Notes) -> Self {
        Self { notes: Some(notes), ..self }
    }

    /// Makes the writer leave its upload open.
    pub(super) fn of_output(self) -> Self {
        Self { is_output: true, ..self }
    }

    /// Begins the upload unless it is begun, without waiting.
    fn begin(&mut self) -> StorageResult<()> {
        if !matches!(self.upload, Begun::Not) {
            return Ok(());
        }
        let (sender, receiver) = channel();
        let (bucket, key, mark, notes) = (self.bucket.clone(), self.key.clone(), self.mark, self.notes.clone());
        let begun = move |client| begin(client, bucket, key, mark, notes);
        let started = self.storage.threads.start(begun, sender);
        started.map_err(|e| StorageError::new("write", &self.key, e))?;
        self.upload = Begun::Being(Beginning(receiver));
        Ok(())
    }

    /// Id of the upload, which is begun if necessary.
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

    /// Takes all bytes that are not sent yet.
    fn take_rest(&mut self) -> Buffer {
        match (self.behind.take(), self.buffer.take()) {
            (Some(mut rest), Some(buffer)) => {
                rest.extend_from_slice(&buffer);
                rest
            }
            (rest, buffer) => rest.or(buffer).unwrap_or_else(|| self.storage.buffers.take(0)),
        }
    }

    /// Starts to upload a part, once fewer parts than the limit are in progress.
    fn send(&mut self, content: Buffer) -> StorageResult<()> {
        let upload = self.upload()?;
        while let Ok(done) = self.done.try_recv() {
            self.note(done)?;
        }
        let permit = self.storage.uploads.take();
        let place = self.etags.len();
        let part = Part { bucket: self.bucket.clone(), key: self.key.clone(), upload, number: place + 1 };
        self.etags.push(None);
        self.on_the_way += 1;
        let send = move |client| async move {
            let sent = part.put(client, Bytes::from_owner(content)).await;
            drop(permit);
            (place, sent)
        };
        let started = self.storage.threads.start(send, self.doing.clone());
        started.map_err(|e| StorageError::new("write", &self.key, e))
    }

    /// Waits for one part in progress.
    fn receive(&mut self) -> StorageResult<()> {
        let done = self.done.recv().map_err(|e| StorageError::new("write", &self.key, io::Error::other(e)))?;
        self.note(done)
    }

    fn note(&mut self, (place, etag): (usize, StorageResult<String>)) -> StorageResult<()> {
        self.on_the_way -= 1;
        self.etags[place] = Some(etag?);
        Ok(())
    }

    /// Starts the tail: bytes from here on can be changed until the upload is settled. Earlier bytes are sent, if they
    /// suffice for a part.
    pub(in crate::staging) fn start_tail(&mut self) -> io::Result<()> {
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

    /// Writes an object that is less than a part.
    fn put_at_once(&mut self) -> StorageResult<()> {
        let (bucket, key, content) = (self.bucket.clone(), self.key.clone(), Bytes::from_owner(self.take_rest()));
        self.storage.threads.wait(|client| async move {
            let put = client.put_object().bucket(&bucket).key(&key).body(content.into()).send().await;
            put.map(|_| ()).map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))
        })
    }

    /// Ends the object. Returns its size in bytes and, for an output, its open upload.
    pub(in crate::staging) fn finish(&mut self) -> StorageResult<(u64, Option<Upload>)> {
        let (bucket, key, size_bytes) = (self.bucket.clone(), self.key.clone(), self.size_bytes);
        if !self.is_output && matches!(self.upload, Begun::Not) {
            self.put_at_once()?;
            return Ok((size_bytes, None));
        }
        let id = self.upload()?;
        let (sender, is_free) = channel();
        if self.is_output {
            let (bucket, key) = (bucket.clone(), key.clone());
            let started = self.storage.threads.start(|client| check_free(client, bucket, key), sender);
            started.map_err(|e| StorageError::new("write", &self.key, e))?;
        }
        let rest = self.take_rest();
        let tail = if self.is_output { rest.to_vec() } else { Vec::new() };
        if !rest.is_empty() {
            self.send(rest)?;
        }
        while self.on_the_way > 0 {
            self.receive()?;
        }
        if self.is_output {
            is_free.recv().map_err(|e| StorageError::new("write", &self.key, io::Error::other(e)))??;
        }
        let parts = std::mem::take(&mut self.etags).into_iter().flatten().collect();
        let upload = Upload { id, parts, tail, mark: Some(self.mark) };
        if self.is_output {
            return Ok((size_bytes, Some(upload)));
        }
        let threads = &self.storage.threads;
        threads.wait(move |client| async move { complete(&client, &bucket, key, upload, size_bytes).await })?;
        Ok((size_bytes, None))
    }

    /// Writes a complete object, or nothing.
    pub(super) fn write_whole(mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> StorageResult<()> {
        let written =
            write(&mut self).map_err(|e| StorageError::new("write", format!("s3://{}/{}", self.bucket, self.key), e));
        let finished = written.and_then(|()| self.finish().map(|_| ()));
        if finished.is_err() && !matches!(self.upload, Begun::Not) {
            let Ok(id) = self.upload() else { return finished };
            // Parts in progress are waited for, since one that arrives after the abort would remain.
            while self.on_the_way > 0 {
                let _ = self.receive();
            }
            let (bucket, key) = (self.bucket, self.key);
            // An upload that cannot be aborted now is found by its note, or removed by the bucket's lifecycle rule for
            // incomplete uploads.
            let threads = &self.storage.threads;
            let _ = threads.wait(|client| async move { abort(&client, &bucket, &key, &id).await });
        }
        finished
    }
}

/// Checks that an output's key is free: after the commit it would be too late to fail.
async fn check_free(client: Client, bucket: String, key: String) -> StorageResult<()> {
    match client.head_object().bucket(&bucket).key(&key).send().await {
        Ok(_) => Err(StorageError::in_the_way(format!("s3://{bucket}/{key}"))),
        Err(e) if status(&e) == Some(404) => Ok(()),
        Err(e) => Err(fail("look for", format!("s3://{bucket}/{key}"), e)),
    }
}

/// Begins an upload, and notes it before and after. Returns its id.
async fn begin(client: Client, bucket: String, key: String, mark: Mark, notes: Option<Notes>) -> StorageResult<String> {
    let place = notes.map(|notes| (notes.key(&mark), notes.bucket));
    let note = |upload_id: Option<String>| {
        let (client, place, key, of) = (&client, place.clone(), key.clone(), bucket.clone());
        async move {
            let Some((name, bucket)) = place else { return Ok(()) };
            put_note(client, &bucket, &name, &Note { bucket: (of != bucket).then_some(of), key, upload_id }).await
        }
    };
    note(None).await?;
    let created = client.create_multipart_upload().bucket(&bucket).key(&key).metadata(MARK, mark.to_string());
    let created = created.send().await.map_err(|e| fail("write", format!("s3://{bucket}/{key}"), e))?;
    let id = upload_id(created.upload_id, format!("s3://{bucket}/{key}"))?;
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
        let buffer = self.buffer.get_or_insert_with(|| self.storage.buffers.take(part));
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
