//! Content of objects in buckets, for callers that use blocking reads and writes.
//!
//! Requests run on threads of their own, several at a time, so that callers that parse or encode overlap with them, and
//! may block without stopping them.

use crate::bucket::{client_from_env, fail, is_changed};
use crate::{Located, Object, Places, StorageError, StorageResult, bucket_and_key, local};
use aws_sdk_s3::Client;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use millwork_manifest::ObjectUri;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, Semaphore};
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
/// Limit of the concurrent metadata requests.
const LOOKS_AT_ONCE: usize = 32;
/// Number of cores per thread for requests: such a thread only decrypts and copies what the cores convert, and mostly
/// waits.
const CORES_PER_THREAD: usize = 4;

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    let threads = cores().div_ceil(CORES_PER_THREAD);
    Builder::new_multi_thread().worker_threads(threads).thread_name("millwork-io").enable_all().build()
});
static CLIENT: OnceCell<Client> = OnceCell::const_new();

/// Number of cores that the process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

fn runtime() -> io::Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()))
}

pub(crate) async fn client() -> Client {
    CLIENT.get_or_init(client_from_env).await.clone()
}

/// Starts work on the threads for requests; its result is sent to the channel.
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    done: Sender<T>,
) -> io::Result<()> {
    runtime()?.spawn(async move {
        // The receiver may be gone.
        let _ = done.send(work.await);
    });
    Ok(())
}

/// Runs work on the threads for requests, and waits for its result.
pub(crate) fn wait<T: Send + 'static>(
    work: impl Future<Output = StorageResult<T>> + Send + 'static,
) -> StorageResult<T> {
    let (sender, receiver) = channel();
    let broken = |e: io::Error| StorageError::new("reach", "a bucket", e);
    start(work, sender).map_err(broken)?;
    receiver.recv().map_err(|e| broken(io::Error::other(e)))?
}

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
}

/// The object that is read.
struct Stored {
    uri: ObjectUri,
    etag: String,
    /// Size of the whole object, in bytes; another size means that it changed.
    size_bytes: u64,
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
    pub fn open(uri: &ObjectUri, etag: &str, range: Range<u64>, size_bytes: u64) -> io::Result<Self> {
        let object = Stored { uri: uri.clone(), etag: etag.to_owned(), size_bytes };
        Self::begin(object, range, CHUNK_BYTES, CHUNKS_AHEAD)
    }

    /// Opens an object for a caller that may need only the first bytes: the rest is requested when it is read.
    pub fn open_start(
        uri: &ObjectUri,
        etag: &str,
        range: Range<u64>,
        size_bytes: u64,
        first_bytes: u64,
    ) -> io::Result<Self> {
        let object = Stored { uri: uri.clone(), etag: etag.to_owned(), size_bytes };
        Self::begin(object, range, first_bytes, 1)
    }

    fn begin(object: Stored, range: Range<u64>, first_bytes: u64, ahead: usize) -> io::Result<Self> {
        let (sender, chunks) = channel();
        let room = Arc::new(Semaphore::new(ahead));
        let remaining = range.end.saturating_sub(range.start);
        let has_arrived = Arc::new(AtomicBool::new(range.is_empty()));
        let requests = fetch(object, cut(range, first_bytes), sender, room.clone(), has_arrived.clone());
        let task = runtime()?.spawn(requests).abort_handle();
        Ok(Self { chunks, current: None, room, remaining, has_arrived, task })
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
        let Self { uri, etag, size_bytes } = self;
        let (bucket, key) = bucket_and_key(uri).ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
        let changed = || io::Error::new(ErrorKind::StaleNetworkFileHandle, "it has other content by now");
        let request = client().await.get_object().bucket(bucket).key(key);
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

/// Size, entity tag and time of one object, for blocking callers.
pub(crate) fn head_blocking(uri: &ObjectUri) -> StorageResult<Object> {
    match bucket_and_key(uri) {
        None => local::head(uri),
        Some(_) => {
            let uri = uri.clone();
            wait(async move { crate::bucket::head(&client().await, &uri).await })
        }
    }
}

/// Size, entity tag and time of each object, in the order of `uris`, for blocking callers. With `places`, objects
/// outside them are refused.
pub fn heads_blocking(uris: Vec<ObjectUri>, places: Option<&Places>) -> StorageResult<Vec<StorageResult<Located>>> {
    if uris.iter().all(|uri| bucket_and_key(uri).is_none()) {
        return Ok(uris.iter().map(|uri| locate(uri, places)).collect());
    }
    let places = places.cloned().map(Arc::new);
    let head = move |uri: ObjectUri| {
        let places = places.clone();
        async move {
            if bucket_and_key(&uri).is_none() {
                return locate(&uri, places.as_deref());
            }
            places.map_or(Ok(()), |places| places.admit(&uri))?;
            Ok(Located { object: crate::bucket::head(&client().await, &uri).await?, inside: None })
        }
    };
    wait(async move { Ok(futures::stream::iter(uris).map(head).buffered(LOOKS_AT_ONCE).collect().await) })
}

fn locate(uri: &ObjectUri, places: Option<&Places>) -> StorageResult<Located> {
    match places {
        Some(places) => places.locate(uri),
        None => Ok(Located { object: local::head(uri)?, inside: None }),
    }
}

/// Removes an object, for blocking callers. A missing object is not an error.
pub fn remove_blocking(uri: &ObjectUri) -> StorageResult<()> {
    let Some((bucket, key)) = bucket_and_key(uri) else {
        return match std::fs::remove_file(local::path_of(uri)?) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StorageError::new("delete", uri, e)),
            _ => Ok(()),
        };
    };
    let (bucket, key, uri) = (bucket.to_owned(), key.to_owned(), uri.clone());
    wait(async move {
        let deleted = client().await.delete_object().bucket(bucket).key(key).send().await;
        deleted.map(|_| ()).map_err(|e| crate::bucket::fail("delete", uri, e))
    })
}

/// Tells whether an object exists, for blocking callers.
pub(crate) fn exists_blocking(uri: &ObjectUri) -> StorageResult<bool> {
    find_blocking(std::slice::from_ref(uri)).map(|found| found.is_some())
}

/// Finds one of these objects that exists, for blocking callers.
pub fn find_blocking(uris: &[ObjectUri]) -> StorageResult<Option<ObjectUri>> {
    let (remote, local): (Vec<_>, Vec<_>) = uris.iter().cloned().partition(|uri| bucket_and_key(uri).is_some());
    for uri in local {
        if local::path_of(&uri)?.exists() {
            return Ok(Some(uri));
        }
    }
    if remote.is_empty() {
        return Ok(None);
    }
    let look = |uri: ObjectUri| async move {
        match crate::bucket::head(&client().await, &uri).await {
            Ok(_) => Ok(Some(uri)),
            Err(e) if e.is_not_found() => Ok(None),
            Err(e) => Err(e),
        }
    };
    wait(async move {
        let found = futures::stream::iter(remote).map(look).buffer_unordered(LOOKS_AT_ONCE);
        std::pin::pin!(found.try_filter_map(async |uri| Ok(uri))).try_next().await
    })
}
