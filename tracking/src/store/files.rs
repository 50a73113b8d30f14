//! Store of files: the life of each, and how much of each date waits.

use crate::{
    Backlog, FileFilter, FoundFile, Overwrites, Page, TimelineEntry, TrackedBatch, TrackedFile, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ObjectUri};

/// Files, and the backlogs of their dates.
#[async_trait]
pub trait FileStore: Send + Sync {
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

    /// The oldest pending files of a date, at most `limit`. It may lag behind: only [`DraftStore::claim`](crate::DraftStore::claim) tells.
    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>>;

    /// The backlog of a date.
    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog>;

    /// The backlogs of all dates that have had pending files lately, oldest date first.
    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>>;

    /// Counts a date's backlog anew. Its cost grows with the number pending.
    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog>;
}
