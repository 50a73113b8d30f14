//! Looks of people at the store that no step of the work needs, and the one change that only a person makes.

use crate::{TrackedFile, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, ManifestId, ObjectUri, RunState};
use serde::{Deserialize, Serialize};

/// Limit of the builders that are told of: 200. Those that were seen last come first.
pub const MAX_BUILDERS: usize = 200;
/// Limit of a builder's note, in bytes: 4 KiB, many times what one takes.
pub const MAX_NOTE_BYTES: usize = 4096;
/// Time after which the note of a silent builder is forgotten, in days: 7, long enough to be told of as the last one.
pub const KEEP_BUILDER_DAYS: i64 = 7;

/// A lock as it is: held, let go of, or over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockState {
    /// Name of the lock.
    pub name: String,
    /// Process that holds the lock, or held it last.
    pub holder: String,
    /// Token, which grows with each holder.
    pub token: u64,
    /// Moment it was taken, where that was noted.
    pub acquired_at: Option<DateTime<Utc>>,
    /// Moment after which others may take it; none if it was let go of.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Runs that lie before one in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAhead {
    /// Runs before it, at most the limit that was asked for.
    pub runs: u64,
    /// Bytes of the manifests of these runs.
    pub bytes: u64,
    /// Files of those whose manifests tell no sizes.
    pub unsized_files: u64,
    /// True if more runs are before it than were counted.
    pub is_capped: bool,
}

/// Description that a builder gives of itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuilderAbout {
    /// Version of Millwork.
    pub version: String,
    /// Command by which it runs: `serve`, `watch` or `lambda`.
    pub mode: String,
    /// Moment it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// Files of a manifest at most.
    pub max_files: u64,
    /// Bytes of a manifest at most.
    pub max_bytes: u64,
    /// Time that a rest of a manifest waits, in seconds.
    pub max_wait_seconds: u64,
    /// Pause between two sweeps, in seconds; none if it makes none.
    pub sweep_interval_seconds: Option<u64>,
    /// Pause between two looks for wishes of operators, in seconds; none of a version that takes none.
    pub wish_interval_seconds: Option<u64>,
    /// Size a file is expected to have, in MB of 1024² bytes.
    pub expected_file_size_mb: f64,
    /// Deviation from the expected size that is allowed, in percent.
    pub size_tolerance_percent: f64,
    /// True if a file without a date counts as of today.
    pub dates_missing_ones_today: bool,
    /// Queue that it reads.
    pub queue_url: Option<String>,
    /// Queue for messages that can never be processed.
    pub dead_letter_queue_url: Option<String>,
}

impl BuilderNote {
    /// Description in the note; none if another version of Millwork writes it in other words.
    pub fn about(&self) -> Option<BuilderAbout> {
        serde_json::from_str(&self.note).ok()
    }
}

/// Sign of life of a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderNote {
    /// Name of the builder: host and process.
    pub id: String,
    /// Moment of the sign, by the builder's clock.
    pub seen_at: DateTime<Utc>,
    /// Description that the builder gives of itself ([`BuilderAbout`]), as JSON of at most [`MAX_NOTE_BYTES`].
    pub note: String,
}

/// The run that a change of a file rests on: it must be as it was seen, or not be there, or the change is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSeen {
    /// The file is in no manifest.
    NoManifest,
    /// The run was not there.
    Absent(ManifestId),
    /// The run was in this state.
    InState(ManifestId, RunState),
}

/// Size and identity of an object as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundContent {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version, in a bucket that keeps versions.
    pub version_id: Option<String>,
}

/// A change of a file's state that an operator makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// The file.
    pub uri: ObjectUri,
    /// State and version that it was seen with.
    pub seen: (FileState, u64),
    /// The run it was seen in.
    pub run: RunSeen,
    /// State that it gets.
    pub to: FileState,
    /// Manifest that is noted with it from then on, if that is to be another.
    pub manifest: Option<ManifestId>,
    /// Reason that stands in its record from then on, for files that are failed or quarantined.
    pub reason: Option<String>,
    /// Content that its object was found with, if that is to be taken over.
    pub content: Option<FoundContent>,
    /// Text for the change in the file's timeline.
    pub detail: String,
}

/// Outcome of a change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChanged {
    /// The change happened; this is the file now.
    Done(Box<TrackedFile>),
    /// The file, or its run, is not as it was seen: nothing changed. This is the file now, if it is known.
    Moved(Option<Box<TrackedFile>>),
}

impl StateChange {
    /// The file after this change, but for its version and time.
    pub(crate) fn applied_to(&self, file: &TrackedFile) -> TrackedFile {
        let mut after = TrackedFile { state: self.to, ..file.clone() };
        if let Some(content) = &self.content {
            after.size_bytes = content.size_bytes;
            after.etag.clone_from(&content.etag);
            after.version_id.clone_from(&content.version_id);
        }
        after.reason.clone_from(&self.reason);
        if matches!(self.to, FileState::Pending | FileState::Quarantined) {
            after.manifest_id = None;
            after.overwritten_etag = None;
            after.quarantine_uri = None;
        }
        if let Some(id) = &self.manifest {
            after.manifest_id = Some(id.to_string());
        }
        after
    }
}

/// Something of the store that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreFault {
    /// Part of the store that the fault is in: a table, an index, the file.
    pub what: String,
    /// Fault, in words.
    pub found: String,
    /// Remedy: what a person has to do.
    pub remedy: String,
}

/// Looks of people at the store. Each is bounded, whatever the store holds.
#[async_trait]
pub trait Inspection: Send + Sync {
    /// Returns those of these locks that were ever taken, in the order asked for. At most 100 may be asked for.
    async fn locks(&self, names: &[String]) -> TrackingResult<Vec<LockState>>;

    /// The runs that start before a queued one, as far as `limit` reaches; none if it does not wait. It may lag behind.
    async fn ahead(&self, id: &ManifestId, limit: usize) -> TrackingResult<Option<QueueAhead>>;

    /// Notes that a builder is alive, and forgets those that have been silent for [`KEEP_BUILDER_DAYS`].
    async fn note_builder(&self, note: &BuilderNote) -> TrackingResult<()>;

    /// The builders that have noted themselves, those seen last first; at most [`MAX_BUILDERS`].
    async fn builders(&self) -> TrackingResult<Vec<BuilderNote>>;

    /// Known files whose URIs stand just before and just after one, at most `limit` on either side.
    async fn neighbours(&self, uri: &ObjectUri, limit: usize) -> TrackingResult<Vec<ObjectUri>>;

    /// Changes a file's state if it and its run are as they were seen. The change, its line in the timeline and, in SQLite, the
    /// counters are one; made again after its effect, it is [`StateChanged::Moved`], with the file as it left it.
    async fn change_state(&self, change: &StateChange, now: DateTime<Utc>) -> TrackingResult<StateChanged>;

    /// Returns the faults of the store: in tables, indexes and expiry in DynamoDB, in the database file in SQLite.
    async fn faults(&self) -> TrackingResult<Vec<StoreFault>>;
}
