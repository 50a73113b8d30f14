//! What is remembered.

use crate::{AttemptWork, RunSummary};
use chrono::{DateTime, Utc};
use millwork_manifest::{
    DatePrefix, Failure, FailureClass, FileState, MAX_OBJECT_BYTES, Manifest, ManifestFile, ManifestId, ObjectUri,
    QuarantineReason, RunState,
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::str::FromStr;

/// The order of the events of one key, as S3 gives it: hexadecimal digits of varying number, compared as numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequencer(String);

impl Sequencer {
    /// From an event's text.
    pub fn new(text: &str) -> Self {
        Self(text.trim_start_matches('0').to_ascii_uppercase())
    }

    /// As it is stored.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Ord for Sequencer {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(&other.0))
    }
}

impl PartialOrd for Sequencer {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// A file as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundFile {
    /// Where it is: its identity.
    pub uri: ObjectUri,
    /// Its date; none if it has none, which is a reason to quarantine it.
    pub date: Option<DatePrefix>,
    /// Its size.
    pub size_bytes: u64,
    /// Its entity tag, without quotes.
    pub etag: String,
    /// Its version, in a bucket that keeps versions.
    pub version_id: Option<String>,
    /// Where the event that told of it stands among the events of its key. A listing has none.
    pub sequencer: Option<Sequencer>,
    /// Why it is quarantined, if it is.
    pub quarantine: Option<QuarantineReason>,
}

impl FoundFile {
    /// The same, with a size that every store can hold and add up. One that no object has stays larger than any may be.
    pub(crate) fn bounded(&self) -> Self {
        Self { size_bytes: self.size_bytes.min(MAX_OBJECT_BYTES + 1), ..self.clone() }
    }

    /// A file as a manifest lists it.
    pub(crate) fn listed(file: &ManifestFile, date: DatePrefix) -> Self {
        Self {
            uri: file.uri.clone(),
            date: Some(date),
            size_bytes: file.size_bytes.unwrap_or(0).min(MAX_OBJECT_BYTES + 1),
            etag: file.etag.clone().unwrap_or_default(),
            version_id: file.version_id.clone(),
            sequencer: None,
            quarantine: None,
        }
    }
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
    /// Its version then.
    pub version_id: Option<String>,
    /// The newest event known of it.
    #[serde(skip)]
    pub sequencer: Option<Sequencer>,
    /// Where it is in its life.
    pub state: FileState,
    /// Grows by one with each change.
    pub version: u64,
    /// The manifest it is in.
    pub manifest_id: Option<String>,
    /// Why it is quarantined, or why it failed.
    pub reason: Option<String>,
    /// Where it was moved to, if it was.
    pub quarantine_uri: Option<String>,
    /// The entity tag of newer content that was seen when the file was no longer pending.
    pub overwritten_etag: Option<String>,
    /// When it was first seen.
    pub arrived_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

/// A change in a file's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// It was not known, or had other content; it is quarantined now.
    Quarantined(QuarantineReason),
    /// It is known as quarantined, and as it was.
    StillQuarantined(QuarantineReason),
    /// It is known, and as it was.
    Known,
    /// It is known with other content, and still to be converted, also if it failed: size and entity tag are those found now.
    Updated,
    /// It is known with other content, but its rows are converted or being converted: it stays so, noted once in its
    /// timeline.
    Overwritten,
    /// The event is older than what is known: nothing changed.
    Outdated,
}

/// What becomes of a converted file whose object has other content now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrites {
    /// It is noted and shown.
    #[default]
    Record,
    /// It is pending again: its new rows are converted beside the old ones.
    Reprocess,
}

impl FromStr for Overwrites {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "record" => Ok(Self::Record),
            "reprocess" => Ok(Self::Reprocess),
            _ => Err(format!("`{text}` is neither `record` nor `reprocess`")),
        }
    }
}

/// How much of a date waits for a manifest. A hint: a crash can leave it wrong until it is recounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Pending files.
    pub pending_files: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// When the oldest of them arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
}

/// What tracking a batch of files came to.
#[derive(Clone, Debug, Default)]
pub struct TrackedBatch {
    /// What became of each file, in their order.
    pub outcomes: Vec<Tracked>,
    /// The backlogs of the dates that gained pending files.
    pub backlogs: Vec<(DatePrefix, Backlog)>,
}

/// A lock that is held, or was: each write under it shows the token, and is refused once somebody else holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// What is locked.
    pub name: String,
    /// Who holds it, for people.
    pub holder: String,
    /// Grows with each holder.
    pub token: u64,
    /// When others may take it.
    pub expires_at: DateTime<Utc>,
}

/// A manifest that is being made: its files are being claimed, or its document being written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The manifest as it was meant; some of its files may not have been claimed.
    pub manifest: Manifest,
    /// Where its document goes.
    pub uri: String,
    /// When it was begun.
    pub begun_at: DateTime<Utc>,
}

/// A manifest and what goes with its run.
#[derive(Clone, Debug)]
pub struct QueuedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// Where its document is.
    pub uri: String,
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
    /// Runs of higher priority go first; of the same, the oldest.
    pub priority: i32,
    /// The files of the manifest.
    pub files: u64,
    /// Their bytes, as far as the manifest tells.
    pub bytes: u64,
    /// Attempts started so far, those that a crash ended included.
    pub attempts: u32,
    /// Attempts that failed since somebody queued the run.
    pub failures: u32,
    /// Which output of the manifest this is: 1, and one more each time it is forced, or converted anew because a committed
    /// output was lost before it was shown.
    pub generation: u32,
    /// When the next attempt may start, after a failure that can pass.
    pub not_before: Option<DateTime<Utc>>,
    /// Whether somebody wants it cancelled, and it has not come to that yet.
    pub cancel_requested: bool,
    /// Why it failed, or the attempt before did. A completed run has one if it was forced and that failed: its output is
    /// the one before.
    pub failure: Option<Failure>,
    /// When the run was queued.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// When its newest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// When its output was decided on: the one that it has, also while it is converted again to replace that.
    pub committed_at: Option<DateTime<Utc>>,
    /// When it ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Summary of what it produced, once it is committed.
    pub summary: Option<RunSummary>,
    /// Its newest attempts, at most [`Run::HISTORY`], oldest first. Listings have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Attempt>,
    /// What it produced, once it is committed. Listings have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

impl Run {
    /// How many attempts are remembered.
    pub const HISTORY: usize = 100;
}

/// An attempt at a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub number: u32,
    /// When it started.
    pub started_at: DateTime<Utc>,
    /// When it ended. One that never did was given up: its scheduler died, or its columns turned out to be others.
    pub ended_at: Option<DateTime<Utc>>,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// What was done in it, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<AttemptWork>,
}

/// Which runs a listing shows, newest first.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// The state they are in.
    pub state: Option<RunState>,
    /// The date of their manifest.
    pub date: Option<DatePrefix>,
    /// The class of their failure.
    pub failure_class: Option<FailureClass>,
    /// How many at most, above 0.
    pub limit: usize,
    /// Where the page before this one ended.
    pub cursor: Option<String>,
}

/// The runs in one state that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunCount {
    /// The state.
    pub state: RunState,
    /// How many there are.
    pub runs: u64,
    /// The bytes of their manifests.
    pub bytes: u64,
    /// When the oldest of them was queued.
    pub oldest: Option<DateTime<Utc>>,
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

/// A commit that a later one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The commit.
    pub commit: Commit,
    /// Whether its output was given up before it was shown, so that nothing of it counts; else it is what readers have.
    pub is_superseded: bool,
}

/// Which files a listing shows.
#[derive(Clone, Debug, Default)]
pub struct FileFilter {
    /// The state they are in. The order is that of arrival.
    pub state: Option<FileState>,
    /// Their date.
    pub date: Option<DatePrefix>,
    /// How many at most, above 0.
    pub limit: usize,
    /// Where the page before this one ended.
    pub cursor: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items, perhaps none though there are more pages.
    pub items: Vec<T>,
    /// Where the next page begins, unless this is the last.
    pub next_cursor: Option<String>,
}

/// A number that is counted per day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// The day it happened.
    pub metric_date: String,
    /// What is counted, such as `files_tracked`.
    pub metric_type: String,
    /// How many.
    pub value: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequencers_of_different_length_compare_as_numbers() {
        let new = Sequencer::new;
        assert!(new("0A") < new("00ff"));
        assert!(new("0055AED6DCD90281E5") < new("0055AED6DCD90281E6"));
        assert_eq!(new("00ff"), new("FF"));
    }
}
