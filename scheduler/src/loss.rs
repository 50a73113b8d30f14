//! Committed outputs that are lost before they are shown: somebody removed private files, or a bucket's rule aborted uploads.
//!
//! Nobody can finish such a publication. The output is given up, and the run converted anew as its next generation, whose
//! files have names of their own. The scheduler does so by itself once it has found twice, with a pause between, that a file
//! or upload which the record names is gone and not shown either, and if the input is still as the manifest says. An operator
//! can ask for it by retry, and, if the input is gone too, by force: then the run fails. A store or a bucket that does not
//! answer has lost nothing.
//!
//! The steps, in order, and what a death leaves:
//!
//! | step | the process dies before it is done | what the next one does |
//! |---|---|---|
//! | the store gives the record up and queues the run, at once, if the run is committing in this attempt | a committing run; some outputs may be shown | publication finds the loss again |
//! | what is left of the output is taken back: uploads are aborted and private files removed, then what is shown | a queued run; some outputs of the old generation may be shown | each start of an attempt takes back first, and so does who cancels the run |
//! | an attempt starts, converts, commits, and is published | as for every attempt | as for every attempt; its publication removes the old names once more |
//!
//! The store comes first: from then on a scheduler that was away and still has the old record can complete nothing. It can
//! show something of it only until that is taken back, which is before any row of the next generation is shown, and before
//! the files can go into another manifest.

use crate::commit::CommitRecord;
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestId, ObjectUri};
use millwork_storage::{StorageError, StorageResult, heads_blocking};
use millwork_tracking::{Commit, CommitStore, Replaced, TrackingError, TrackingResult};

/// Reason why what is left of outputs cannot be taken back now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TakeBackError {
    #[error(transparent)]
    Store(#[from] TrackingError),
    #[error(transparent)]
    Storage(#[from] StorageError),
}

/// A commit's record, as it was written.
pub(crate) fn record_of(commit: &Commit) -> TrackingResult<CommitRecord> {
    let corrupt = |e: serde_json::Error| TrackingError::Corrupt { what: "commit record", value: e.to_string() };
    serde_json::from_str(&commit.record).map_err(corrupt)
}

/// Takes back what is left of outputs that were given up.
pub(crate) async fn take_back_superseded(store: &dyn CommitStore, id: &ManifestId) -> Result<(), TakeBackError> {
    let superseded = |replaced: &Replaced| replaced.is_superseded.then(|| record_of(&replaced.commit));
    let replaced = store.replaced(id).await?;
    let records = replaced.iter().filter_map(superseded).collect::<TrackingResult<Vec<_>>>()?;
    if records.is_empty() {
        return Ok(());
    }
    Ok(blocking(move || records.iter().try_for_each(CommitRecord::take_back)).await?)
}

/// An input file of a manifest that is gone, or is not as the manifest says.
pub(crate) async fn missing_input(manifest: &Manifest) -> StorageResult<Option<ObjectUri>> {
    let files = manifest.files.clone();
    blocking(move || {
        let heads = heads_blocking(files.iter().map(|file| file.uri.clone()).collect(), None)?;
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

/// The failure that is noted of an output which is given up.
pub(crate) fn failure_of(lost: &StorageError) -> Failure {
    let message = format!("a committed output was lost before it was shown, and is converted anew: {lost}");
    Failure::new(FailureClass::Storage, message)
}

/// Looks for all that a commit names, somewhere else than on the threads of the runtime.
pub(crate) async fn check_there(record: CommitRecord) -> StorageResult<()> {
    blocking(move || record.check_there()).await
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> StorageResult<T> + Send + 'static) -> StorageResult<T> {
    let broken = |e: tokio::task::JoinError| StorageError::on_read(&"what a commit names")(std::io::Error::other(e));
    tokio::task::spawn_blocking(work).await.map_err(broken)?
}

#[cfg(test)]
mod tests;
