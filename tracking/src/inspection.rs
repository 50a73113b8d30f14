//! Reads of the store for inspection by people, and the one change that only operators make.

use crate::{TrackedFile, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{BatchCaps, FileRules, FileState, ManifestId, MissingDate, ObjectUri, RunState};
use serde::{Deserialize, Serialize};

/// Limit of the builders in a listing: 200, those with the latest heartbeats.
pub const MAX_BUILDERS: usize = 200;
/// Limit of a builder's note, in bytes: 4 KiB, many times its usual size.
pub const MAX_NOTE_BYTES: usize = 4096;
/// Retention of the note of a silent builder, in days: 7.
pub const KEEP_BUILDER_DAYS: i64 = 7;

/// State of a lock: held, released, or expired.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LockState {
    /// Name of the lock.
    pub name: String,
    /// Present or last holder of the lock.
    pub holder: String,
    /// Token, which grows with each holder.
    pub token: u64,
    /// Time at which it was taken, if recorded.
    pub acquired_at: Option<DateTime<Utc>>,
    /// Expiry time; `None` if it was released.
    pub expires_at: Option<DateTime<Utc>>,
}

/// Runs that precede a given one in the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueAhead {
    /// Number of preceding runs, up to the requested limit.
    pub runs: u64,
    /// Bytes of the manifests of these runs.
    pub bytes: u64,
    /// Number of files in those of these runs whose manifests have no sizes.
    pub unsized_files: u64,
    /// True if more runs precede it than were counted.
    pub is_capped: bool,
}

/// Facts that a builder publishes about itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BuilderAbout {
    /// Version of Millwork.
    pub version: String,
    /// Mode in which it runs: `serve`, `watch` or `lambda`.
    pub mode: String,
    /// Time at which it was started.
    pub started_at: Option<DateTime<Utc>>,
    /// Limit of the files in a manifest.
    pub max_files: u64,
    /// Limit of the bytes in a manifest.
    pub max_bytes: u64,
    /// Time for which files that do not fill a manifest wait, in seconds.
    pub max_wait_seconds: u64,
    /// Interval of its sweeps, in seconds; `None` if it makes none.
    pub sweep_interval_seconds: Option<u64>,
    /// Interval at which it looks for operators' wishes, in seconds; `None` for versions that do not.
    pub wish_interval_seconds: Option<u64>,
    /// Expected size of a file, in MiB.
    pub expected_file_size_mb: f64,
    /// Allowed deviation from the expected size, in percent.
    pub size_tolerance_percent: f64,
    /// True if a file without a date gets today's.
    pub dates_missing_ones_today: bool,
    /// URL of the queue that it reads.
    pub queue_url: Option<String>,
    /// URL of the dead-letter queue.
    pub dead_letter_queue_url: Option<String>,
}

impl BuilderAbout {
    /// A builder that judges files by these rules, and groups them by these limits.
    pub fn judging(rules: &FileRules, caps: &BatchCaps) -> Self {
        // Names each rule, so that a new one cannot be left out.
        let FileRules { expected_file_size_mb, size_tolerance_percent, missing_date } = *rules;
        let BatchCaps { max_bytes, max_files, max_wait_seconds } = *caps;
        Self {
            max_files: max_files as u64,
            max_bytes,
            max_wait_seconds,
            expected_file_size_mb,
            size_tolerance_percent,
            dates_missing_ones_today: missing_date == MissingDate::Today,
            ..Self::default()
        }
    }

    /// Rules by which it judges files.
    pub fn rules(&self) -> FileRules {
        FileRules {
            expected_file_size_mb: self.expected_file_size_mb,
            size_tolerance_percent: self.size_tolerance_percent,
            missing_date: if self.dates_missing_ones_today { MissingDate::Today } else { MissingDate::Quarantine },
        }
    }

    /// Limits by which it groups them.
    pub fn caps(&self) -> BatchCaps {
        BatchCaps {
            max_bytes: self.max_bytes,
            max_files: usize::try_from(self.max_files).unwrap_or(usize::MAX),
            max_wait_seconds: self.max_wait_seconds,
        }
    }
}

impl BuilderNote {
    /// Decodes the facts in the note; `None` if another version wrote them in an incompatible form.
    pub fn about(&self) -> Option<BuilderAbout> {
        serde_json::from_str(&self.note).ok()
    }
}

/// Heartbeat of a builder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuilderNote {
    /// Name of the builder: host and process.
    pub id: String,
    /// Time of the heartbeat, by the builder's clock.
    pub seen_at: DateTime<Utc>,
    /// Facts about the builder ([`BuilderAbout`]), as JSON of at most [`MAX_NOTE_BYTES`].
    pub note: String,
}

/// State of the run on which a change of a file depends: the change is refused unless the run is still in this state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunSeen {
    /// The file is in no manifest.
    NoManifest,
    /// The run did not exist.
    Absent(ManifestId),
    /// The run was in this state.
    InState(ManifestId, RunState),
}

/// Size and identity of an object, as found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundContent {
    /// Size in bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version, in a bucket with versioning.
    pub version_id: Option<String>,
}

/// A change of a file's state by an operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// URI of the file.
    pub uri: ObjectUri,
    /// State and version that were read.
    pub seen: (FileState, u64),
    /// State of its run that was read.
    pub run: RunSeen,
    /// New state.
    pub to: FileState,
    /// Manifest to be recorded with the file, if it changes.
    pub manifest: Option<ManifestId>,
    /// Reason to be recorded, for failed and quarantined files.
    pub reason: Option<String>,
    /// Content to be recorded, if it changes.
    pub content: Option<FoundContent>,
    /// Text for the timeline entry.
    pub detail: String,
}

/// Result of a change of state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StateChanged {
    /// The change was made; this is the file after it.
    Done(Box<TrackedFile>),
    /// The file or its run has changed since it was read: nothing was changed. This is the present file, if known.
    Moved(Option<Box<TrackedFile>>),
}

impl StateChange {
    /// The file after this change, except for its version and time.
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

/// A fault of the store's structure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreFault {
    /// Faulty part of the store: a table, an index, or the file.
    pub what: String,
    /// Description of the fault.
    pub found: String,
    /// Action required from a person.
    pub remedy: String,
}

/// Reads of the store for people. Each is bounded, whatever the store contains.
#[async_trait]
pub trait Inspection: Send + Sync {
    /// Locks of these names that were ever taken, in the order of `names`, of which there may be at most 100.
    async fn locks(&self, names: &[String]) -> TrackingResult<Vec<LockState>>;

    /// The runs that start before a queued one, counted up to `limit`; `None` if the run is not queued. May be
    /// eventually consistent.
    async fn ahead(&self, id: &ManifestId, limit: usize) -> TrackingResult<Option<QueueAhead>>;

    /// Records a builder's heartbeat, and removes builders that have been silent for [`KEEP_BUILDER_DAYS`].
    async fn note_builder(&self, note: &BuilderNote) -> TrackingResult<()>;

    /// Builders with heartbeats, latest first; at most [`MAX_BUILDERS`].
    async fn builders(&self) -> TrackingResult<Vec<BuilderNote>>;

    /// Known files whose URIs sort just before and just after one, at most `limit` on either side.
    async fn neighbours(&self, uri: &ObjectUri, limit: usize) -> TrackingResult<Vec<ObjectUri>>;

    /// Changes a file's state if the file and its run are unchanged. Change, timeline entry and, in SQLite, counters
    /// are atomic. Repeated after its effect it returns [`StateChanged::Moved`], with the changed file.
    async fn change_state(&self, change: &StateChange, now: DateTime<Utc>) -> TrackingResult<StateChanged>;

    /// Faults of the store: in tables, indexes and expiry in DynamoDB, in the database file in SQLite.
    async fn faults(&self) -> TrackingResult<Vec<StoreFault>>;
}
