//! Interface for files and backlogs.

use crate::{
    Backlog, FileFilter, FoundFile, Overwrites, Page, TimelineEntry, TrackedBatch, TrackedFile, TrackingResult,
};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ObjectUri};

/// Files, and the backlogs of their dates.
#[async_trait]
pub trait FileStore: Send + Sync {
    /// Tracks found files independently of each other. Known files usually keep their state; see [`crate::Tracked`].
    /// `now` is the time of the finding: for a listing, its start.
    ///
    /// Costs one write per file, and one per date for the backlog, independent of the number of pending files.
    async fn track(
        &self,
        found: &[FoundFile],
        overwrites: Overwrites,
        now: DateTime<Utc>,
    ) -> TrackingResult<TrackedBatch>;

    /// Marks a file as gone: a pending or failed one is quarantined as `missing-object`; an unknown one is recorded as
    /// such, so that an older creation event does not make it pending. Others are unchanged. Returns whether something
    /// changed. `found` needs no size and no entity tag.
    async fn mark_missing(&self, found: &FoundFile, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Makes a failed file pending again, if it is unchanged (same state and version). Returns whether it was.
    async fn take_back(&self, seen: &TrackedFile, now: DateTime<Utc>) -> TrackingResult<bool>;

    /// Records the address that a quarantined file was moved to.
    async fn mark_moved(&self, uri: &ObjectUri, to: &str, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Files in the order of `uris`, with strong consistency; `None` for unknown ones.
    async fn files(&self, uris: &[ObjectUri]) -> TrackingResult<Vec<Option<TrackedFile>>>;

    /// Lists files. May be eventually consistent.
    async fn list_files(&self, filter: &FileFilter) -> TrackingResult<Page<TrackedFile>>;

    /// Number of files in each state. May be eventually consistent; the cost grows with the number of files.
    async fn count_files(&self) -> TrackingResult<Vec<(millwork_manifest::FileState, u64)>>;

    /// A file's timeline, oldest first.
    async fn timeline(&self, uri: &ObjectUri) -> TrackingResult<Vec<TimelineEntry>>;

    /// Oldest pending files of a date, at most `limit`. May be eventually consistent: only
    /// [`DraftStore::claim`](crate::DraftStore::claim) is authoritative.
    async fn pending(&self, date: DatePrefix, limit: usize) -> TrackingResult<Vec<TrackedFile>>;

    /// The backlog of a date.
    async fn backlog(&self, date: DatePrefix) -> TrackingResult<Backlog>;

    /// Backlogs of all dates that have recently had pending files, oldest date first.
    async fn backlogs(&self) -> TrackingResult<Vec<(DatePrefix, Backlog)>>;

    /// Recounts the backlog of a date. The cost grows with the number of pending files.
    async fn recount(&self, date: DatePrefix) -> TrackingResult<Backlog>;
}
