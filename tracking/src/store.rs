//! The store, as all of Millwork sees it.

use crate::{
    AuditEntry, Backlog, Commit, Draft, DynamoStore, FileFilter, FoundFile, Lock, Metric, Overwrites, Page,
    QueuedManifest, Run, SqliteStore, TableNames, TimelineEntry, TrackedBatch, TrackedFile, TrackingError,
    TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, Failure, ManifestId, ObjectUri};
use std::path::Path;
use std::sync::Arc;

/// The memory of Millwork.
///
/// An operation that fails with [`TrackingError::Unavailable`] may have happened, wholly or, where its text says so, in
/// part; each can be made again with the same arguments, and ends as if it had been made once.
#[async_trait]
pub trait TrackingStore: Send + Sync {
    // Files.

    /// Notes files as they were found, each for itself. Files that are known keep their state; see [`crate::Tracked`].
    ///
    /// One write a file, and one a date for the backlog; nothing that grows with what is pending.
    async fn track(
        &self,
        found: &[FoundFile],
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<TrackedBatch>;

    /// Marks a file as gone: one that is pending or failed is quarantined as `missing-object`; one that is not known is
    /// remembered as such, so that an older event of its creation does not bring it back. Others stay.
    /// Returns whether something changed. `found` needs no size and no entity tag.
    async fn mark_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Notes where a quarantined file was moved to.
    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Files as they are, consistently, in the order asked for; none for those that are not known.
    async fn files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>>;

    /// A listing of files. It may lag behind.
    async fn list_files(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>>;

    /// The number of files in each state. It may lag behind, and its cost grows with the number of files.
    async fn count_files(&self) -> TrackingResult<Vec<(millwork_manifest::FileState, u64)>>;

    /// A file's timeline, oldest first.
    async fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>>;

    // What waits.

    /// The oldest pending files of a date, at most `limit`. It may lag behind: only [`Self::claim`] tells.
    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>>;

    /// The backlog of a date.
    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog>;

    /// The backlogs of all dates that have had pending files lately, oldest date first.
    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>>;

    /// Counts a date's backlog anew. Its cost grows with the number pending.
    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog>;

    // Locks.

    /// Takes a lock for `ttl`, if nobody holds it or its holder's time is over. The token is larger than any before.
    async fn lock(&self, name: &str, holder: &str, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Option<Lock>>;

    /// Holds a lock for `ttl` from now; [`TrackingError::LockLost`] if somebody else has it.
    async fn renew(&self, lock: &Lock, ttl: Duration, now: DateTime<Utc>) -> TrackingResult<Lock>;

    /// Lets go of a lock. One that was lost meanwhile stays with its holder.
    async fn unlock(&self, lock: &Lock) -> TrackingResult<()>;

    // Manifests in the making.

    /// The next batch index of a date; no two calls get the same.
    async fn next_batch_index(&self, date: DatePrefix) -> TrackingResult<u64>;

    /// Begins a manifest, under the lock of its date: what it is meant to hold, before the first file is claimed.
    async fn begin_draft(&self, draft: &Draft, lock: &Lock) -> TrackingResult<()>;

    /// Claims files for a draft, under the lock of its date: each one that is as it was seen (same state and version)
    /// becomes manifested in it. Returns the files that the draft holds now, those it held before included; the others
    /// changed meanwhile. May happen for some of the files only.
    async fn claim(
        &self,
        id: &ManifestId,
        seen: &[TrackedFile],
        lock: &Lock,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<ObjectUri>>;

    /// Queues the run of a draft whose document is written; `queued` holds the files that were claimed. No error, and no
    /// change, if the run is queued or further already.
    async fn finish_draft(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Forgets a draft that holds no file, under the lock of its date.
    async fn drop_draft(&self, id: &ManifestId, lock: &Lock) -> TrackingResult<()>;

    /// The drafts begun before a time.
    async fn drafts(&self, begun_before: DateTime<Utc>) -> TrackingResult<Vec<Draft>>;

    // Runs.

    /// Puts a manifest's files in it and queues its run. A file that is unknown is tracked; one that is in another
    /// manifest, or converted, refuses the whole. A run that is there stays as it is; returns whether it is new.
    async fn submit(&self, queued: &QueuedManifest, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// One run.
    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// The newest runs, newest first.
    async fn runs(&self, limit: usize) -> TrackingResult<Vec<Run>>;

    /// The manifests whose runs have not ended, oldest first; drafts are not among them.
    async fn unfinished(&self) -> TrackingResult<Vec<QueuedManifest>>;

    /// Starts an attempt at a run that is queued or, after a crash, running. Returns the attempt's number, from 1.
    async fn start_attempt(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<u32>;

    /// Ends a run without output. If one file is at fault, it alone fails, and the others wait for a new manifest; else
    /// all of them fail.
    async fn fail(&self, id: &ManifestId, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Puts an interrupted or failed run back in the queue, with all its files; refused if some are in another manifest
    /// by now.
    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Decides that this attempt's output is the manifest's, for ever. False if another attempt, or the same one
    /// before, has won: then nothing changes.
    ///
    /// The record must hold all that is needed to finish the publication, by whoever comes.
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// The commit of a run whose publication is not finished.
    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>>;

    /// Notes that a committed run's output is in its place: the run and its files are completed.
    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    // Numbers and notes.

    /// Adds to the day's numbers.
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()>;

    /// The numbers of a day.
    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>>;

    /// Leaves a note.
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()>;

    /// The notes of a day, oldest first.
    async fn audits(&self, day: DatePrefix) -> TrackingResult<Vec<AuditEntry>>;
}

/// Opens the store that a URL names: `sqlite:PATH`, or `dynamodb:TABLE` with the other tables named by the environment.
pub async fn open(url: &str) -> TrackingResult<Arc<dyn TrackingStore>> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Arc::new(SqliteStore::open(Path::new(path))?)),
        Some(("dynamodb", table)) if !table.is_empty() => {
            Ok(Arc::new(DynamoStore::open(TableNames::from_env(table)).await?))
        }
        _ => Err(TrackingError::Open {
            store: url.to_owned(),
            message: "a state is sqlite:PATH or dynamodb:TABLE".to_owned(),
        }),
    }
}
