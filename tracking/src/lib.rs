//! What Millwork remembers: the life of every file, the manifests cut, their runs, and the commit records that decide
//! who won.
//!
//! Every change of state is conditional on the state it saw, and is noted in the file's timeline. The store knows
//! nothing of Parquet, plans or directories: a commit record is text to it.

mod schema;
mod sqlite;

pub use sqlite::SqliteStore;

use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, Failure, FileState, Manifest, ManifestId, ObjectUri, QuarantineReason};
use serde::{Deserialize, Serialize};

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is: its identity.
    pub uri: ObjectUri,
    /// Its date; none if it has none, which is a reason to quarantine it.
    pub date: Option<DatePrefix>,
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag.
    pub etag: String,
    /// Why it is quarantined, if it is.
    pub quarantine: Option<QuarantineReason>,
}

/// A file as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackedFile {
    /// Where it is.
    pub uri: ObjectUri,
    /// Its date.
    pub date: Option<DatePrefix>,
    /// Its size when it was last looked at.
    pub size_bytes: u64,
    /// Its entity tag then.
    pub etag: String,
    /// Where it is in its life.
    pub state: FileState,
    /// Grows by one with each change.
    pub version: u64,
    /// The manifest it is in.
    pub manifest_id: Option<String>,
    /// When it was first seen.
    pub arrived_at: DateTime<Utc>,
}

/// A change in a file's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TimelineEntry {
    /// When it changed.
    pub at: DateTime<Utc>,
    /// The state it had then.
    pub state: FileState,
    /// What there is to say of it: the manifest, a reason.
    pub detail: Option<String>,
}

/// What tracking a found file came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// It was not known; it is pending now.
    New,
    /// It was not known; it is quarantined now.
    Quarantined(QuarantineReason),
    /// It is known as quarantined, and as it was.
    StillQuarantined(QuarantineReason),
    /// It is known, and as it was.
    Known,
    /// It is known with other content, and still to be converted: size and entity tag are those found now.
    Updated,
    /// It is known with other content, but its rows are converted or being converted: it stays so, noted once in its
    /// timeline.
    Overwritten,
}

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Waiting for its turn.
    Queued,
    /// Being planned and converted.
    Running,
    /// Committed; its files are being given their names.
    Committing,
    /// Done.
    Completed,
    /// Ended without output.
    Failed,
    /// Ended by request.
    Cancelled,
}

impl RunState {
    /// The name under which the state is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing more happens to the run by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }

    fn parse(text: &str) -> Option<Self> {
        [Self::Queued, Self::Running, Self::Committing, Self::Completed, Self::Failed, Self::Cancelled]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// The run of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The manifest.
    pub manifest_id: ManifestId,
    /// Its date.
    pub date: DatePrefix,
    /// Where its document is.
    pub manifest_uri: String,
    /// Where the run is.
    pub state: RunState,
    /// Attempts started so far.
    pub attempts: u32,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// When the run was queued.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// What it produced, once it is committed.
    pub result: Option<serde_json::Value>,
}

/// A commit: from now on, this attempt's output is the manifest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The manifest.
    pub manifest_id: ManifestId,
    /// The attempt that won.
    pub attempt: u32,
    /// What is needed to finish publication.
    pub record: String,
}

/// What went wrong with the store.
#[derive(Debug, thiserror::Error)]
pub enum TrackingError {
    /// The store cannot be used.
    #[error("state `{path}`: {source}")]
    Unavailable {
        /// The database file.
        path: String,
        /// The cause.
        source: rusqlite::Error,
    },
    /// The file system does not let the store be opened.
    #[error("cannot open state `{path}`: {source}")]
    Open {
        /// The file.
        path: String,
        /// The cause.
        source: std::io::Error,
    },
    /// Another process has the store open to run things.
    #[error("state `{0}` is in use by another millwork process: wait for it to end, or use another --state")]
    InUse(String),
    /// A newer Millwork wrote it.
    #[error("state `{path}` has format {found}, this version knows up to {known}: use a newer millwork")]
    TooNew {
        /// The database file.
        path: String,
        /// Its format.
        found: i64,
        /// The newest format known.
        known: i64,
    },
    /// A file that something else happened to meanwhile.
    #[error("file `{uri}` is {state}{holder}: it cannot be put in manifest `{manifest_id}`")]
    Taken {
        /// The file.
        uri: String,
        /// The state it is in.
        state: FileState,
        /// The manifest it is in, as ` in …`.
        holder: String,
        /// The manifest it was wanted for.
        manifest_id: String,
    },
    /// A run that is not as it should be for what was asked.
    #[error("run `{manifest_id}` is {found}; {wanted}")]
    Conflict {
        /// The run.
        manifest_id: String,
        /// The state it is in.
        found: String,
        /// What was asked.
        wanted: &'static str,
    },
    /// Something in the store that no version of Millwork writes.
    #[error("state holds {what} `{value}`, which is not valid")]
    Corrupt {
        /// What kind of thing.
        what: &'static str,
        /// The thing.
        value: String,
    },
}

/// The result of an operation on the store.
pub type TrackingResult<T> = Result<T, TrackingError>;

/// A manifest and what goes with its run.
#[derive(Clone, Debug)]
pub struct QueuedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// Where its document is.
    pub uri: String,
}
