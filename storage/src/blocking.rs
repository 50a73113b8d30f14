//! Single objects, wherever they are, for callers that block.

use crate::{Located, Object, Places, Storage, StorageError, StorageResult, bucket_and_key, local};
use aws_sdk_s3::Client;
use futures::{StreamExt, TryStreamExt};
use millwork_manifest::ObjectUri;
use std::io;
use std::sync::Arc;

/// Limit of the concurrent metadata requests.
const LOOKS_AT_ONCE: usize = 32;

impl Storage {
    /// Size, entity tag and time of one object, for blocking callers.
    pub(crate) fn head_blocking(&self, uri: &ObjectUri) -> StorageResult<Object> {
        match bucket_and_key(uri) {
            None => local::head(uri),
            Some(_) => {
                let uri = uri.clone();
                self.threads.wait(|client| async move { crate::bucket::head(&client, &uri).await })
            }
        }
    }

    /// Size, entity tag and time of each object, in the order of `uris`, for blocking callers. With `places`, objects
    /// outside them are refused.
    pub fn heads_blocking(
        &self,
        uris: Vec<ObjectUri>,
        places: Option<&Places>,
    ) -> StorageResult<Vec<StorageResult<Located>>> {
        if uris.iter().all(|uri| bucket_and_key(uri).is_none()) {
            return Ok(uris.iter().map(|uri| locate(uri, places)).collect());
        }
        let places = places.cloned().map(Arc::new);
        let head = move |client: Client, uri: ObjectUri| {
            let places = places.clone();
            async move {
                if bucket_and_key(&uri).is_none() {
                    return locate(&uri, places.as_deref());
                }
                places.map_or(Ok(()), |places| places.admit(&uri))?;
                Ok(Located { object: crate::bucket::head(&client, &uri).await?, inside: None })
            }
        };
        self.threads.wait(move |client| async move {
            let heads = futures::stream::iter(uris).map(move |uri| head(client.clone(), uri));
            Ok(heads.buffered(LOOKS_AT_ONCE).collect().await)
        })
    }

    /// Removes an object, for blocking callers. A missing object is not an error.
    pub fn remove_blocking(&self, uri: &ObjectUri) -> StorageResult<()> {
        let Some((bucket, key)) = bucket_and_key(uri) else {
            return match std::fs::remove_file(local::path_of(uri)?) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StorageError::new("delete", uri, e)),
                _ => Ok(()),
            };
        };
        let (bucket, key, uri) = (bucket.to_owned(), key.to_owned(), uri.clone());
        self.threads.wait(|client| async move {
            let deleted = client.delete_object().bucket(bucket).key(key).send().await;
            deleted.map(|_| ()).map_err(|e| crate::bucket::fail("delete", uri, e))
        })
    }

    /// Tells whether an object exists, for blocking callers.
    pub(crate) fn exists_blocking(&self, uri: &ObjectUri) -> StorageResult<bool> {
        self.find_blocking(std::slice::from_ref(uri)).map(|found| found.is_some())
    }

    /// Finds one of these objects that exists, for blocking callers.
    pub fn find_blocking(&self, uris: &[ObjectUri]) -> StorageResult<Option<ObjectUri>> {
        let (remote, local): (Vec<_>, Vec<_>) = uris.iter().cloned().partition(|uri| bucket_and_key(uri).is_some());
        for uri in local {
            if local::path_of(&uri)?.exists() {
                return Ok(Some(uri));
            }
        }
        if remote.is_empty() {
            return Ok(None);
        }
        let look = |client: Client, uri: ObjectUri| async move {
            match crate::bucket::head(&client, &uri).await {
                Ok(_) => Ok(Some(uri)),
                Err(e) if e.is_not_found() => Ok(None),
                Err(e) => Err(e),
            }
        };
        self.threads.wait(move |client| async move {
            let looks = futures::stream::iter(remote).map(move |uri| look(client.clone(), uri));
            let found = looks.buffer_unordered(LOOKS_AT_ONCE);
            std::pin::pin!(found.try_filter_map(async |uri| Ok(uri))).try_next().await
        })
    }
}

fn locate(uri: &ObjectUri, places: Option<&Places>) -> StorageResult<Located> {
    match places {
        Some(places) => places.locate(uri),
        None => Ok(Located { object: local::head(uri)?, inside: None }),
    }
}
