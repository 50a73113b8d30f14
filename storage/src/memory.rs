//! Objects in memory, for tests and simulations.

use crate::{Location, Object, Objects, StorageError, StorageResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures::stream::{self, BoxStream, StreamExt};
use millwork_manifest::ObjectUri;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Objects in memory, shared by all clones; dropped with the last of them.
#[derive(Clone, Default)]
pub struct MemoryObjects {
    contents: Arc<Mutex<BTreeMap<ObjectUri, Vec<u8>>>>,
}

impl MemoryObjects {
    /// Stores an object, replacing an existing one.
    pub fn put(&self, uri: &ObjectUri, content: &[u8]) {
        self.contents().insert(uri.clone(), content.to_vec());
    }

    /// All objects, with their contents.
    pub fn all(&self) -> Vec<(ObjectUri, Vec<u8>)> {
        self.contents().iter().map(|(uri, content)| (uri.clone(), content.clone())).collect()
    }

    fn contents(&self) -> MutexGuard<'_, BTreeMap<ObjectUri, Vec<u8>>> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn object(uri: &ObjectUri, key: String, content: &[u8]) -> Object {
    // 64-bit FNV-1a of the content.
    let hash = content
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    Object {
        uri: uri.clone(),
        key,
        size_bytes: content.len() as u64,
        etag: format!("{hash:016x}"),
        version_id: None,
        modified_at: DateTime::<Utc>::UNIX_EPOCH,
    }
}

fn missing(operation: &'static str, uri: &ObjectUri) -> StorageError {
    StorageError::new(operation, uri, ErrorKind::NotFound.into())
}

#[async_trait]
impl Objects for MemoryObjects {
    async fn list(&self, place: &Location) -> StorageResult<BoxStream<'static, StorageResult<Object>>> {
        let contents = self.contents();
        let found = contents.iter().filter_map(|(uri, content)| Some(Ok(object(uri, place.key_of(uri)?, content))));
        Ok(stream::iter(found.collect::<Vec<_>>()).boxed())
    }

    async fn head(&self, uri: &ObjectUri) -> StorageResult<Object> {
        let contents = self.contents();
        let content = contents.get(uri).ok_or_else(|| missing("read", uri))?;
        Ok(object(uri, uri.key(), content))
    }

    async fn read(&self, uri: &ObjectUri) -> StorageResult<Vec<u8>> {
        self.contents().get(uri).cloned().ok_or_else(|| missing("read", uri))
    }

    async fn write_once(&self, uri: &ObjectUri, content: &[u8]) -> StorageResult<bool> {
        let mut contents = self.contents();
        let is_new = !contents.contains_key(uri);
        if is_new {
            contents.insert(uri.clone(), content.to_vec());
        }
        Ok(is_new)
    }

    async fn move_object(&self, from: &ObjectUri, to: &ObjectUri, etag: &str) -> StorageResult<()> {
        let mut contents = self.contents();
        let content = contents.get(from).ok_or_else(|| missing("move", from))?;
        crate::bucket::check_etag(from, etag, &object(from, String::new(), content).etag)?;
        if contents.contains_key(to) {
            return Err(StorageError::new("move", format!("{from}` to `{to}"), ErrorKind::AlreadyExists.into()));
        }
        let content = contents.remove(from).unwrap_or_default();
        contents.insert(to.clone(), content);
        Ok(())
    }
}
