//! Operations on objects in directories and buckets.

use crate::bucket::Buckets;
use crate::buffers::BufferPool;
use crate::permits::UploadPermits;
use crate::threads::RequestThreads;
use crate::walk::{Listing, list};
use crate::{Location, Object, StorageError, StorageResult, local, relocate};
use async_trait::async_trait;
use aws_sdk_s3::Client;
use futures::stream::{self, BoxStream, StreamExt};
use millwork_manifest::ObjectUri;
use std::fmt;
use std::io::{self, ErrorKind};
use std::sync::Arc;

/// Store in which objects are listed, read, written once and moved.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Lists every object below a place, as a stream. Hidden names ([`is_hidden`](crate::is_hidden)) are other
    /// programs' private files and are left out. An item whose error [`StorageError::is_foreign`] is a refused entry:
    /// the listing continues after it.
    async fn list(&self, place: &Location) -> StorageResult<BoxStream<'static, StorageResult<Object>>>;

    /// Size, entity tag and time of one object.
    async fn head(&self, uri: &ObjectUri) -> StorageResult<Object>;

    /// Reads a small object as a whole, of at most [`MAX_READ_BYTES`](crate::MAX_READ_BYTES).
    async fn read(&self, uri: &ObjectUri) -> StorageResult<Vec<u8>>;

    /// Writes an object that must not exist yet, atomically. Returns whether this call wrote it; an existing object
    /// of that name is left unchanged.
    async fn write_once(&self, uri: &ObjectUri, content: &[u8]) -> StorageResult<bool>;

    /// Moves an object without replacing another, which gives [`ErrorKind::AlreadyExists`]. Gives
    /// [`ErrorKind::NotFound`] if the object is gone or its entity tag is not `etag`, [`ErrorKind::InvalidInput`]
    /// without an entity tag, and an error that [`StorageError::is_foreign`] if the path leads through a link. In a
    /// bucket the server copies the object, the copy is checked, then the source is deleted. A crash in the middle
    /// leaves the source, so that the move can be repeated.
    async fn move_object(&self, from: &ObjectUri, to: &ObjectUri, etag: &str) -> StorageResult<()>;
}

/// Local directories and buckets. A program makes one and hands it to all of its parts: clones share clients, threads for requests,
/// memory for parts, and the limit of parts that are on their way.
#[derive(Clone, Default)]
pub struct Storage {
    pub(crate) buckets: Arc<Buckets>,
    pub(crate) threads: Arc<RequestThreads>,
    pub(crate) uploads: Arc<UploadPermits>,
    pub(crate) buffers: BufferPool,
}

impl Storage {
    /// Creates a store that reaches buckets as the environment says: `AWS_REGION`, `AWS_ENDPOINT_URL_S3`, and the usual
    /// AWS credentials.
    pub fn from_env() -> Self {
        Self::default()
    }

    /// Buckets of this client.
    pub fn with_client(client: Client) -> Self {
        let (buckets, threads) = (Buckets::with_client(client.clone()), RequestThreads::with_client(client));
        Self { buckets: Arc::new(buckets), threads: Arc::new(threads), ..Self::default() }
    }
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Storage")
    }
}

#[async_trait]
impl Objects for Storage {
    async fn list(&self, place: &Location) -> StorageResult<BoxStream<'static, StorageResult<Object>>> {
        match place {
            Location::Bucket { bucket, prefix } => self.buckets.list(bucket, prefix).await,
            Location::Local(path) => {
                let path = path.clone();
                let Listing { objects, refused } = blocking(move || list(&path)).await?;
                Ok(stream::iter(objects.into_iter().map(Ok).chain(refused.into_iter().map(Err))).boxed())
            }
        }
    }

    async fn head(&self, uri: &ObjectUri) -> StorageResult<Object> {
        match crate::bucket_and_key(uri) {
            Some(_) => self.buckets.head(uri).await,
            None => {
                let uri = uri.clone();
                blocking(move || local::head(&uri)).await
            }
        }
    }

    async fn read(&self, uri: &ObjectUri) -> StorageResult<Vec<u8>> {
        match crate::bucket_and_key(uri) {
            Some(_) => self.buckets.read(uri).await,
            None => {
                let uri = uri.clone();
                blocking(move || local::read(&uri)).await
            }
        }
    }

    async fn write_once(&self, uri: &ObjectUri, content: &[u8]) -> StorageResult<bool> {
        match crate::bucket_and_key(uri) {
            Some(_) => self.buckets.write_once(uri, content).await,
            None => {
                let (path, content) = (local::path_of(uri)?, content.to_vec());
                blocking(move || local::write_once(&path, &content)).await
            }
        }
    }

    async fn move_object(&self, from: &ObjectUri, to: &ObjectUri, etag: &str) -> StorageResult<()> {
        match (crate::bucket_and_key(from), crate::bucket_and_key(to)) {
            (Some(_), Some(_)) => self.buckets.move_object(from, to, etag).await,
            (None, None) => {
                let (source, to, etag) = (from.clone(), local::path_of(to)?, etag.to_owned());
                blocking(move || relocate::move_object(&source, &to, &etag)).await
            }
            _ => {
                let reason = io::Error::new(ErrorKind::Unsupported, "one is in a bucket, the other in a directory");
                Err(StorageError::new("move", format!("{from}` to `{to}"), reason))
            }
        }
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> StorageResult<T> + Send + 'static) -> StorageResult<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(StorageError::new("reach", "a local file", io::Error::other(e))),
    }
}
