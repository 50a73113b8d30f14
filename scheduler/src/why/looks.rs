//! Lookups of objects, each with a time limit.

use super::Inspector;
use millwork_diagnosis::ObjectFacts;
use millwork_manifest::ObjectUri;
use millwork_storage::{Located, Places, StorageResult};
use std::time::Duration;

/// Time limit for looking up objects: 10 s, since a user waits for the answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Limit of the output files that are looked up: 50. Larger outputs are checked in part.
const MAX_OUTPUTS: usize = 50;

impl Inspector {
    /// Present object of a file. Names outside the input places are not looked up.
    pub(crate) async fn look(&self, uri: &ObjectUri) -> ObjectFacts {
        let Some(input) = self.input.clone() else { return ObjectFacts::NotAsked };
        let places = input.and(self.mended.as_ref().map_or_else(Places::none, Places::of));
        if !places.contains(uri) {
            return ObjectFacts::Foreign;
        }
        let (storage, uri) = (self.storage.clone(), uri.clone());
        let looked = timed(move || storage.heads_blocking(vec![uri], Some(&places))).await;
        match looked.map(|heads| heads.into_iter().next()) {
            Ok(Some(Ok(Located { object, .. }))) => {
                ObjectFacts::There { size_bytes: object.size_bytes, etag: object.etag, modified_at: object.modified_at }
            }
            Ok(Some(Err(error))) if error.is_not_found() => ObjectFacts::Gone,
            // A link that leads outside, or not a regular file: its target is not revealed.
            Ok(Some(Err(error))) if error.is_foreign() => ObjectFacts::Foreign,
            Ok(Some(Err(error))) => ObjectFacts::Unreachable(error.to_string()),
            Ok(None) => ObjectFacts::NotAsked,
            Err(message) => ObjectFacts::Unreachable(message),
        }
    }

    /// Output files that are missing, as far as that can be determined; at most 50 are looked up.
    pub(crate) async fn missing(&self, outputs: &[String]) -> Vec<String> {
        let uris: Vec<ObjectUri> = outputs.iter().take(MAX_OUTPUTS).filter_map(|uri| uri.parse().ok()).collect();
        if uris.is_empty() {
            return Vec::new();
        }
        let (storage, asked) = (self.storage.clone(), uris.clone());
        let looked = timed(move || storage.heads_blocking(asked, None)).await;
        let gone =
            |head: &StorageResult<Located>| head.as_ref().is_err_and(millwork_storage::StorageError::is_not_found);
        let heads = looked.unwrap_or_default();
        uris.iter().zip(&heads).filter(|(_, head)| gone(head)).map(|(uri, _)| uri.to_string()).collect()
    }
}

/// Runs blocking work off the async threads, with a time limit.
pub(crate) async fn timed<T: Send + 'static>(
    look: impl FnOnce() -> StorageResult<T> + Send + 'static,
) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, tokio::task::spawn_blocking(look)).await {
        Ok(Ok(Ok(found))) => Ok(found),
        Ok(Ok(Err(error))) => Err(error.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("the storage did not answer within {} s", PATIENCE.as_secs())),
    }
}
