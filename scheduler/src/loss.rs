//! Recovery from committed outputs that are lost before publication: somebody removed private files, or a bucket's
//! lifecycle rule aborted uploads.
//!
//! Such a publication cannot be completed. The output is given up, and the manifest is converted again as the next
//! generation, whose files have other names. The scheduler does so by itself after it has found twice, with a pause
//! between, that a file or upload named by the record is gone and not published either, and if the input is unchanged.
//! An operator can request it by retry, and, if the input is gone too, by force, which fails the run. A store or a
//! bucket that does not answer does not count as a loss.
//!
//! Steps in order, with recovery from a crash before each is done:
//!
//! | step | what a crash before its end leaves | recovery |
//! |---|---|---|
//! | the store marks the record as given up and queues the run, atomically, if the run is committing in this attempt | a committing run; some outputs may be published | publication detects the loss again |
//! | the rest of the output is withdrawn: uploads are aborted and private files removed, then published files | a queued run; some outputs of the old generation may be published | each start of an attempt withdraws first, and so does a cancellation of the run |
//! | an attempt starts, converts, commits, and is published | as for every attempt | as for every attempt; its publication removes the old names once more |
//!
//! The store is changed first: after that, a former scheduler with the old record cannot complete the run. It can
//! publish files of the old generation only until they are withdrawn, which happens before any of the next generation
//! is published, and before the input files can go into another manifest.

use crate::commit::CommitRecord;
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId, ObjectUri};
use millwork_storage::{Storage, StorageError, StorageResult};
use millwork_tracking::{CommitStore, Replaced, TrackingError, TrackingResult};

/// Reason why the remaining files of lost outputs cannot be withdrawn now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeBackError {
    #[error(transparent)]
    Store(#[from] TrackingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// Withdraws the remaining files of outputs that were given up.
pub(crate) async fn take_back_superseded(
    store: &dyn CommitStore,
    storage: &Storage,
    id: &ManifestId,
) -> Result<(), TakeBackError> {
    let superseded = |replaced: &Replaced| replaced.is_superseded.then(|| CommitRecord::of(&replaced.commit));
    let replaced = store.replaced(id).await?;
    let records = replaced.iter().filter_map(superseded).collect::<TrackingResult<Vec<_>>>()?;
    if records.is_empty() {
        return Ok(());
    }
    let storage = storage.clone();
    Ok(blocking(move || records.iter().try_for_each(|record| record.take_back(&storage))).await?)
}

/// An input file of a manifest that is gone or has changed; `None` if all are intact.
pub(crate) async fn missing_input(storage: &Storage, manifest: &Manifest) -> StorageResult<Option<ObjectUri>> {
    let (storage, files) = (storage.clone(), manifest.files.clone());
    blocking(move || {
        let heads = storage.heads_blocking(files.iter().map(|file| file.uri.clone()).collect(), None)?;
        for (file, head) in files.into_iter().zip(heads) {
            match head {
                Ok(there) if file.etag.as_ref().is_none_or(|etag| etag.is_empty() || *etag == there.object.etag) => {}
                Err(e) if !e.is_not_found() => return Err(e),
                Ok(_) | Err(_) => return Ok(Some(file.uri)),
            }
        }
        Ok(None)
    })
    .await
}

/// Failure that is recorded for an output that is given up.
pub(crate) fn failure_of(lost: &StorageError) -> Failure {
    let message = format!("a committed output was lost before it was shown, and is converted anew: {lost}");
    Failure::new(FailureClass::Storage, message)
}

/// Checks that all outputs of a commit exist, on a blocking thread.
pub(crate) async fn check_there(storage: &Storage, record: CommitRecord) -> StorageResult<()> {
    let storage = storage.clone();
    blocking(move || record.check_there(&storage)).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> StorageResult<T> + Send + 'static) -> StorageResult<T> {
    let broken = |e: tokio::task::JoinError| StorageError::on_read(&"what a commit names")(std::io::Error::other(e));
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

#[cfg(test)]
mod tests;
