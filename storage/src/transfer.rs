//! Content of objects in buckets, for callers that read as from files.
//!
//! Requests run on threads of their own and several at a time, so that a caller that parses overlaps with them, and can
//! block without holding them up.

use crate::bucket::{fail, is_changed};
use crate::{Storage, bucket_and_key};
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::StreamExt;
use millwork_manifest::ObjectUri;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

/// Limit of the bytes that one request reads: 8 MiB.
const CHUNK_BYTES: u64 = 8 << 20;
/// Limit of a reader's chunks: requested, received, and being read.
const CHUNKS_AHEAD: usize = 3;
/// Number of attempts to request a chunk, and the pause after the first; each pause is four times the one before.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// Error kind for failures on the connection to the server.
const BROKEN: ErrorKind = ErrorKind::ConnectionReset;

/// Reader of a byte range of an object, which must have the given entity tag. Requests start at once.
///
/// Errors: [`ErrorKind::NotFound`] if the object is gone, [`ErrorKind::StaleNetworkFileHandle`] if it changed,
/// [`ErrorKind::ConnectionReset`] if the server's answers are broken.
pub struct ObjectReader {
    chunks: Receiver<io::Result<Chunk>>,
    current: Option<Chunk>,
    /// Permits for chunks that may be requested.
    room: Arc<Semaphore>,
    remaining: u64,
    has_arrived: Arc<AtomicBool>,
    task: AbortHandle,
    /// Threads of the requests, which last as long as this.
    _storage: Storage,
}

/// The object that is read.
struct Stored {
    uri: ObjectUri,
    etag: String,
    /// Size of the whole object, in bytes; another size means that it changed.
    size_bytes: u64,
    client: Client,
}

/// Unread bytes of an answer, in the pieces in which they arrived: copied only once, when read.
struct Chunk(VecDeque<Bytes>);

impl Chunk {
    /// Fills the buffer, or reads all there is, so that the amount read does not depend on the sizes of the pieces.
    fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut read = 0;
        while let Some(piece) = self.0.front_mut().filter(|_| read < buffer.len()) {
            let count = piece.len().min(buffer.len() - read);
            buffer[read..read + count].copy_from_slice(&piece.split_to(count));
            read += count;
            if piece.is_empty() {
                self.0.pop_front();
            }
        }
        read
    }
}

impl ObjectReader {
    /// Opens an object for reading. Another size means that it changed.
    pub fn open(
        storage: &Storage,
        uri: &ObjectUri,
        etag: &str,
        range: Range<u64>,
        size_bytes: u64,
    ) -> io::Result<Self> {
        Self::begin(storage, (uri, etag, size_bytes), range, (CHUNK_BYTES, CHUNKS_AHEAD))
    }

    /// Opens an object for a caller that may need only the first bytes: the rest is requested when it is read.
    pub fn open_start(
        storage: &Storage,
        uri: &ObjectUri,
        etag: &str,
        range: Range<u64>,
        size_bytes: u64,
        first_bytes: u64,
    ) -> io::Result<Self> {
        Self::begin(storage, (uri, etag, size_bytes), range, (first_bytes, 1))
    }

    /// Begins to read an object of this address, entity tag and size: the first request has `first_bytes`, and `ahead` requests are sent at
    /// once.
    fn begin(
        storage: &Storage,
        (uri, etag, size_bytes): (&ObjectUri, &str, u64),
        range: Range<u64>,
        (first_bytes, ahead): (u64, usize),
    ) -> io::Result<Self> {
        let (sender, chunks) = channel();
        let room = Arc::new(Semaphore::new(ahead));
        let remaining = range.end.saturating_sub(range.start);
        let has_arrived = Arc::new(AtomicBool::new(range.is_empty()));
        let (uri, etag, begun, arrived) = (uri.clone(), etag.to_owned(), room.clone(), has_arrived.clone());
        let task = storage.threads.spawn(move |client| {
            let object = Stored { uri, etag, size_bytes, client };
            fetch(object, cut(range, first_bytes), sender, begun, arrived)
        })?;
        Ok(Self { chunks, current: None, room, remaining, has_arrived, task, _storage: storage.clone() })
    }

    /// Flag that is set while there is something to read without waiting.
    pub fn has_arrived(&self) -> Arc<AtomicBool> {
        self.has_arrived.clone()
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Cuts a range into the ranges of single requests.
fn cut(range: Range<u64>, first_bytes: u64) -> Vec<Range<u64>> {
    let mut chunks = Vec::new();
    let (mut start, mut size) = (range.start, first_bytes.clamp(1, CHUNK_BYTES));
    while start < range.end {
        let end = (start + size).min(range.end);
        chunks.push(start..end);
        (start, size) = (end, (size * 4).min(CHUNK_BYTES));
    }
    chunks
}

/// Requests chunks as permits allow, and passes them on in order.
async fn fetch(
    object: Stored,
    chunks: Vec<Range<u64>>,
    sender: Sender<io::Result<Chunk>>,
    room: Arc<Semaphore>,
    has_arrived: Arc<AtomicBool>,
) {
    let requests = futures::stream::iter(chunks).map(|chunk| async {
        room.acquire().await.map_err(io::Error::other)?.forget();
        object.get_again(chunk).await
    });
    let mut answers = requests.buffered(CHUNKS_AHEAD);
    while let Some(chunk) = answers.next().await {
        if sender.send(chunk).is_err() {
            return;
        }
        has_arrived.store(true, Ordering::Relaxed);
    }
}

impl Stored {
    /// Requests a chunk, and again if the body breaks off: the client's own retries end where the body begins.
    async fn get_again(&self, chunk: Range<u64>) -> io::Result<Chunk> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.get(chunk.clone()).await {
                Err(e) if e.kind() == BROKEN => tokio::time::sleep(pause).await,
                done => return done,
            }
            pause *= 4;
        }
        self.get(chunk).await
    }

    async fn get(&self, range: Range<u64>) -> io::Result<Chunk> {
        let Self { uri, etag, size_bytes, client } = self;
        let (bucket, key) = bucket_and_key(uri).ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
        let changed = || io::Error::new(ErrorKind::StaleNetworkFileHandle, "it has other content by now");
        let request = client.get_object().bucket(bucket).key(key);
        let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
        let request = if etag.is_empty() { request } else { request.if_match(format!("\"{etag}\"")) };
        let mut answer = request.send().await.map_err(|e| match is_changed(&e) {
            true => changed(),
            false => match fail("read", uri, e).source {
                e if e.kind() == ErrorKind::Other => broken(e),
                e => e,
            },
        })?;
        // Format: `bytes 0-99/1234` (RFC 9110, 14.4).
        let total = answer.content_range().and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        if total.is_some_and(|total: u64| total != *size_bytes) {
            return Err(changed());
        }
        let wanted = range.end - range.start;
        let (mut pieces, mut found) = (VecDeque::new(), 0);
        while let Some(piece) = answer.body.next().await {
            let piece = piece.map_err(broken)?;
            found += piece.len() as u64;
            if found > wanted {
                return Err(broken(format!("more than {wanted} bytes came")));
            }
            if !piece.is_empty() {
                pieces.push_back(piece);
            }
        }
        if found < wanted {
            return Err(broken(format!("{found} of {wanted} bytes came")));
        }
        Ok(Chunk(pieces))
    }
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(BROKEN, cause)
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.remaining == 0 {
            return Ok(0);
        }
        if self.current.as_ref().is_some_and(|chunk| chunk.0.is_empty()) {
            self.current = None;
            self.room.add_permits(1);
        }
        let chunk = match &mut self.current {
            Some(chunk) => chunk,
            none => none.insert(self.chunks.recv().map_err(io::Error::other)??),
        };
        let count = chunk.read(buffer);
        self.remaining -= count as u64;
        if self.remaining == 0 {
            self.current = None;
        }
        Ok(count)
    }
}
