//! The store, as all of Millwork sees it.

use crate::{
    AuditEntry, AuditFilter, Backlog, Commit, Draft, DynamoStore, FileFilter, FoundFile, Inspection, Lock, Metric,
    NumberStore, Overwrites, Page, PlanRecord, QueuedManifest, Replaced, Run, RunCount, RunFilter, RunState,
    SqliteStore, TableNames, TimelineEntry, TrackedBatch, TrackedFile, TrackingError, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
#[cfg(doc)]
use millwork_manifest::FailureClass;
use millwork_manifest::{DatePrefix, Failure, Manifest, ManifestFile, ManifestId, ObjectUri};
use std::path::Path;
use std::sync::Arc;

/// The memory of Millwork.
///
/// An operation that fails with [`TrackingError::Unavailable`] may have happened, wholly or, where its text says so, in
/// part; each can be made again with the same arguments, and ends as if it had been made once.
#[async_trait]
pub trait TrackingStore: NumberStore {
    /// Looks at the store that only people need.
    fn inspection(&self) -> &dyn Inspection;

    // Files.

    /// Notes files as they were found, each for itself. Files that are known keep their state; see [`crate::Tracked`]. `now` is when
    /// they were looked at: for a listing, when it began.
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

    /// Makes a failed file pending again, if it is as it was seen: same state, same version. Returns whether it was.
    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool>;

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

    // Backlogs.

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
    //
    // The lock of the runs, which `start_attempt` shows, keeps two schedulers from starting attempts at a time; the number
    // of an attempt keeps whoever made an older one from everything else.

    /// Puts a manifest's files in it and queues its run. A file that is unknown is tracked; one that is in another
    /// manifest, or converted, refuses the whole. A run that is there stays as it is; returns whether it is new.
    async fn submit(&self, queued: &QueuedManifest, priority: i32, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Puts back the files that submissions put in manifests before a time, and that have no run: whoever submitted them
    /// died. Returns how many. Its cost does not grow with their number: it looks at some of those that came first.
    async fn release_abandoned(&self, before: DateTime<Utc>, now: DateTime<Utc>) -> TrackingResult<u64>;

    /// Asks for a sign of life: that what is stored can be read now, and that whatever writes is alive. Cheap enough to be
    /// asked every second; it waits for no write.
    async fn ping(&self) -> TrackingResult<()>;

    /// Does what it was asked before, then lets go of what it has open. If that is a file, whatever it is asked later fails.
    async fn close(&self) {}

    /// Returns a run with its attempts, but without what it produced.
    async fn run_head(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// Returns a run with its attempts and what it produced. Its cost grows with its files.
    async fn run(&self, id: &ManifestId) -> TrackingResult<Option<Run>>;

    /// The manifest of a run.
    async fn manifest(&self, id: &ManifestId) -> TrackingResult<Option<Manifest>>;

    /// A listing of runs, newest first. It may lag behind.
    async fn list_runs(&self, filter: &RunFilter) -> TrackingResult<Page<Run>>;

    /// The runs that have not ended, by state. It may lag behind, and its cost grows with their number.
    async fn count_runs(&self) -> TrackingResult<Vec<RunCount>>;

    /// The queued runs whose time has come, in the order in which they are to start: by priority, then by age. Its cost
    /// does not grow with their number. It may lag behind: only [`Self::start_attempt`] tells.
    async fn due(&self, limit: usize, now: DateTime<Utc>) -> TrackingResult<Vec<Run>>;

    /// The runs in [`RunState::OPEN`], oldest first. It may lag behind. What a crash left of runs that were about to fail is
    /// finished here.
    async fn open_runs(&self) -> TrackingResult<Vec<Run>>;

    /// Starts an attempt at a run that is queued or, after a crash, planning or running; [`TrackingError::LockLost`] if
    /// somebody else runs manifests now. Refused if some of the files are in another manifest by now, or if the run is
    /// to be cancelled. Returns the attempt's number, from 1. Made again, it starts another attempt.
    async fn start_attempt(&self, id: &ManifestId, lock: &Lock, now: DateTime<Utc>) -> TrackingResult<u32>;

    /// Notes that an attempt's plan is with the executors. Nothing happens if the run is further, or elsewhere.
    async fn set_running(&self, id: &ManifestId, attempt: u32, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Puts a run back in the queue after an attempt that failed, not to be started before a time. False, and no change, if
    /// the run is to be cancelled. Refused if the attempt is not the run's newest, or is committed.
    async fn retry_later(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<bool>;

    /// Ends a run without output, after this attempt, or 0 if there was none. By [`FailureClass::Cancelled`] it is
    /// cancelled, else failed. If one file is at fault, it alone fails, and the others wait for a new manifest; else all of
    /// them fail. A forced run is completed again instead, with the output it had, and its files stay as they are. Refused
    /// if the attempt is not the run's newest, or is committed.
    async fn fail(&self, id: &ManifestId, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Ends a run by request: one that is queued at once, as by [`Self::fail`]; for one that has a turn it is noted, and its
    /// attempt can no longer be committed. Returns the state it is in then. Refused if it is committed or has ended.
    async fn cancel(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<RunState>;

    /// Puts a failed or cancelled run back in the queue, with all its files; refused if some are in another manifest
    /// by now. No error if it is queued.
    async fn requeue(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Takes over the content that some files of a run have by now, which failed or was cancelled: `manifest` is its own but for
    /// their sizes, entity tags and versions. Files that are another manifest's by now stay as they are, and so does all of a run
    /// that is in another state.
    async fn refresh(&self, manifest: &Manifest, changed: &[ManifestFile], now: DateTime<Utc>) -> TrackingResult<()>;

    /// Queues a completed run once more, for an output that takes the place of the one it has. Its files stay completed.
    /// No error if it is queued.
    async fn force(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Changes the priority of a run that is queued; nothing happens to others.
    async fn prioritise(&self, id: &ManifestId, priority: i32, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Decides that this attempt's output is the manifest's (of this generation), for ever. False if another attempt, or the
    /// same one before, has won, or if the run is to be cancelled: then nothing changes.
    ///
    /// The record must hold all that is needed to finish the publication, by whoever comes.
    async fn commit(&self, commit: &Commit, result: &serde_json::Value, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// The commit of a run whose publication is not finished.
    async fn unpublished(&self, id: &ManifestId) -> TrackingResult<Option<Commit>>;

    /// Gives up the output that this attempt committed, since it can never be shown: what its record names is gone. The run
    /// is queued as its next generation, not to be started before a time; its record counts no more, but is kept, for who
    /// removes what is left of it. The files stay in the run. Refused unless the run is committing, by this attempt.
    async fn supersede(
        &self,
        id: &ManifestId,
        attempt: u32,
        failure: &Failure,
        not_before: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()>;

    /// The records whose places a run's next output takes, newest first, until that is committed: of outputs that were given
    /// up, and of the one that is shown, if there is one. None for a run that was never committed. Those of a run that failed
    /// or was cancelled are of outputs that were given up.
    async fn replaced(&self, id: &ManifestId) -> TrackingResult<Vec<Replaced>>;

    /// Notes that a committed run's output is in its place: the run and its files are completed.
    async fn complete(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<()>;

    // Numbers and notes.

    /// Adds to the day's numbers.
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()>;

    /// The numbers of a day.
    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>>;

    /// Leaves a note, or writes one anew that has the same time and id.
    async fn audit(&self, entry: &AuditEntry) -> TrackingResult<()>;

    /// A listing of the notes of a day, newest first.
    async fn audits(&self, filter: &AuditFilter) -> TrackingResult<Page<AuditEntry>>;

    // Planned changes.

    /// Keeps a plan, and forgets some whose time is over; false, and no change, if there is another of that id. One that is kept already as it is given is no error.
    async fn put_plan(&self, plan: &PlanRecord, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// A plan, as it is now.
    async fn plan(&self, id: &str) -> TrackingResult<Option<PlanRecord>>;

    /// Writes a plan anew, if the one that is kept has the revision before; else false, and no change.
    async fn update_plan(&self, plan: &PlanRecord) -> TrackingResult<bool>;
}

/// Opens the store that a URL names: `sqlite:PATH`, or `dynamodb:TABLE` with the other tables named by the environment.
pub async fn open(url: &str) -> TrackingResult<Arc<dyn TrackingStore>> {
    match url.split_once(':') {
        Some(("sqlite", path)) if !path.is_empty() => Ok(Arc::new(SqliteStore::open(Path::new(path))?)),
        Some(("dynamodb", table)) if !table.is_empty() => {
            Ok(Arc::new(DynamoStore::open(TableNames::from_env(table)).await?))
        }
        _ => Err(TrackingError::Url(url.to_owned())),
    }
}

/// Refuses a URL that names no store. Nothing is opened.
pub fn check_url(url: &str) -> TrackingResult<()> {
    match url.split_once(':') {
        Some(("sqlite" | "dynamodb", name)) if !name.is_empty() => Ok(()),
        _ => Err(TrackingError::Url(url.to_owned())),
    }
}
