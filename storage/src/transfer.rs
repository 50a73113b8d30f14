//! Content of objects in buckets, for callers that read and write as with files.
//!
//! Requests run on threads of their own and several at a time, so that a caller that parses or encodes overlaps with
//! them, and can block without holding them up.

use crate::bucket::{client_from_env, fail, is_changed};
use crate::{Object, StorageError, StorageResult, bucket_and_key, local};
use aws_sdk_s3::Client;
use futures::StreamExt;
use millwork_manifest::ObjectUri;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::AbortHandle;

/// What one request reads at most.
const CHUNK_BYTES: u64 = 8 << 20;
/// How many chunks of one reader are on their way, and how many wait to be consumed.
const CHUNKS_AHEAD: usize = 2;
/// How often a chunk is requested, and the pause after the first time; it quadruples.
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What goes wrong between here and the server.
const BROKEN: ErrorKind = ErrorKind::ConnectionReset;
/// Threads for requests: they mostly wait.
const THREADS: usize = 2;

static RUNTIME: LazyLock<io::Result<Runtime>> = LazyLock::new(|| {
    Builder::new_multi_thread().worker_threads(THREADS).thread_name("millwork-io").enable_all().build()
});
static CLIENT: OnceCell<Client> = OnceCell::const_new();

fn runtime() -> io::Result<&'static Runtime> {
    RUNTIME.as_ref().map_err(|e| io::Error::new(e.kind(), e.to_string()))
}

pub(crate) async fn client() -> Client {
    CLIENT.get_or_init(client_from_env).await.clone()
}

/// Starts work on the threads for requests; its result comes through the channel.
pub(crate) fn start<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
    done: Sender<T>,
) -> io::Result<()> {
    runtime()?.spawn(async move {
        // Nobody may be waiting.
        let _ = done.send(work.await);
    });
    Ok(())
}

/// Does work on the threads for requests, and waits for it.
pub(crate) fn wait<T: Send + 'static>(
    work: impl Future<Output = StorageResult<T>> + Send + 'static,
) -> StorageResult<T> {
    let (sender, receiver) = channel();
    let broken = |e: io::Error| StorageError::new("reach", "a bucket", e);
    start(work, sender).map_err(broken)?;
    receiver.recv().map_err(|e| broken(io::Error::other(e)))?
}

/// Reads a byte range of an object that must be the one with this entity tag. Reading begins at once.
///
/// An object that is gone gives [`ErrorKind::NotFound`], one that changed [`ErrorKind::StaleNetworkFileHandle`], a server
/// that does not answer as it should [`ErrorKind::ConnectionReset`].
pub struct ObjectReader {
    chunks: Receiver<io::Result<bytes::Bytes>>,
    current: bytes::Bytes,
    /// One permit for each chunk that may come.
    room: Arc<Semaphore>,
    remaining: u64,
    task: AbortHandle,
}

impl ObjectReader {
    /// Begins to read. The first request asks for `first_bytes`, for callers that may need no more.
    pub fn open(uri: &ObjectUri, etag: &str, range: Range<u64>, first_bytes: u64) -> io::Result<Self> {
        let (sender, chunks) = channel();
        let room = Arc::new(Semaphore::new(CHUNKS_AHEAD));
        let remaining = range.end.saturating_sub(range.start);
        let requests = fetch(uri.clone(), etag.to_owned(), cut(range, first_bytes), sender, room.clone());
        let task = runtime()?.spawn(requests).abort_handle();
        Ok(Self { chunks, current: bytes::Bytes::new(), room, remaining, task })
    }
}

impl Drop for ObjectReader {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The ranges of the requests for a range.
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

/// Requests chunks, several ahead of the reader, and hands them on in order.
async fn fetch(
    uri: ObjectUri,
    etag: String,
    chunks: Vec<Range<u64>>,
    sender: Sender<io::Result<bytes::Bytes>>,
    room: Arc<Semaphore>,
) {
    let requests = futures::stream::iter(chunks).map(|chunk| get_again(&uri, &etag, chunk));
    let mut answers = requests.buffered(CHUNKS_AHEAD);
    while let Some(chunk) = answers.next().await {
        match room.acquire().await {
            Ok(permit) => permit.forget(),
            Err(_) => return,
        }
        if sender.send(chunk).is_err() {
            return;
        }
    }
}

/// Requests a chunk, again where the answer broke off: the client's own retries end where the body begins.
async fn get_again(uri: &ObjectUri, etag: &str, chunk: Range<u64>) -> io::Result<bytes::Bytes> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..TRIES {
        match get(uri, etag, chunk.clone()).await {
            Err(e) if e.kind() == BROKEN => tokio::time::sleep(pause).await,
            done => return done,
        }
        pause *= 4;
    }
    get(uri, etag, chunk).await
}

async fn get(uri: &ObjectUri, etag: &str, range: Range<u64>) -> io::Result<bytes::Bytes> {
    let (bucket, key) = bucket_and_key(uri).ok_or_else(|| io::Error::from(ErrorKind::Unsupported))?;
    let request = client().await.get_object().bucket(bucket).key(key);
    let request = request.range(format!("bytes={}-{}", range.start, range.end - 1));
    let request = if etag.is_empty() { request } else { request.if_match(format!("\"{etag}\"")) };
    let answer = request.send().await.map_err(|e| match is_changed(&e) {
        true => io::Error::new(ErrorKind::StaleNetworkFileHandle, "it has other content by now"),
        false => match fail("read", uri, e).source {
            e if e.kind() == ErrorKind::Other => broken(e),
            e => e,
        },
    })?;
    let content = answer.body.collect().await.map_err(broken)?.into_bytes();
    let (found, wanted) = (content.len() as u64, range.end - range.start);
    if found != wanted {
        return Err(broken(format!("{found} of {wanted} bytes came")));
    }
    Ok(content)
}

fn broken(cause: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(BROKEN, cause)
}

impl Read for ObjectReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() && self.remaining > 0 {
            self.current = self.chunks.recv().map_err(io::Error::other)??;
            self.room.add_permits(1);
        }
        let count = self.current.len().min(buffer.len());
        buffer[..count].copy_from_slice(&self.current.split_to(count));
        self.remaining -= count as u64;
        Ok(count)
    }
}

/// Size, entity tag and time of one object, for callers that block.
pub fn head_blocking(uri: &ObjectUri) -> StorageResult<Object> {
    match bucket_and_key(uri) {
        None => local::head(uri),
        Some(_) => {
            let uri = uri.clone();
            wait(async move { crate::bucket::head(&client().await, &uri).await })
        }
    }
}

/// Removes an object, for callers that block. One that is not there is no error.
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

/// Whether there is an object, for callers that block.
pub fn exists_blocking(uri: &ObjectUri) -> StorageResult<bool> {
    match head_blocking(uri) {
        _ if bucket_and_key(uri).is_none() => Ok(local::path_of(uri)?.exists()),
        Ok(_) => Ok(true),
        Err(e) if e.is_not_found() => Ok(false),
        Err(e) => Err(e),
    }
}
