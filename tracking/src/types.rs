//! Records of the store: files, locks, manifests, runs, commits and counts, and the filters of their listings.

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
    /// Reads a sequencer from an event's text.
    pub fn new(text: &str) -> Self {
        Self(text.trim_start_matches('0').to_ascii_uppercase())
    }

    /// Text of the sequencer, as it is stored.
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
    /// URI of the file, by which it is known.
    pub uri: ObjectUri,
    /// Date of the file; none if it has none, which is a reason to quarantine it.
    pub date: Option<DatePrefix>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version of the object, in a bucket that keeps versions.
    pub version_id: Option<String>,
    /// Place of the event that told of the file among the events of its key. A file from a listing has none.
    pub sequencer: Option<Sequencer>,
    /// Reason for which the file is quarantined, if it is.
    pub quarantine: Option<QuarantineReason>,
}

impl FoundFile {
    /// Returns the file with a size that every store can hold and add up. A size that no object has stays larger than any may be.
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
    /// URI of the file.
    pub uri: ObjectUri,
    /// Date of the file.
    pub date: Option<DatePrefix>,
    /// Size in bytes when the object was last looked at.
    pub size_bytes: u64,
    /// Entity tag at that time.
    pub etag: String,
    /// Version of the object at that time, in a bucket that keeps versions.
    pub version_id: Option<String>,
    /// The newest event known of it.
    #[serde(skip)]
    pub sequencer: Option<Sequencer>,
    /// State in the life of the file.
    pub state: FileState,
    /// Number that grows by one with each change.
    pub version: u64,
    /// The manifest it is in.
    pub manifest_id: Option<String>,
    /// Reason for which the file is quarantined, or failed.
    pub reason: Option<String>,
    /// URI that the file was moved to, if it was.
    pub quarantine_uri: Option<String>,
    /// The entity tag of newer content that was seen when the file was no longer pending.
    pub overwritten_etag: Option<String>,
    /// Time at which the file was first seen.
    pub arrived_at: DateTime<Utc>,
    /// Time at which the file last changed.
    pub updated_at: DateTime<Utc>,
}

/// A change in a file's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Time of the change.
    pub at: DateTime<Utc>,
    /// The state it had then.
    pub state: FileState,
    /// Detail of the change: the manifest, a reason.
    pub detail: Option<String>,
}

/// Outcome of tracking a found file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// The file was not known; it is pending now.
    New,
    /// The file was not known, or had other content; it is quarantined now.
    Quarantined(QuarantineReason),
    /// The file is known as quarantined, and as it was.
    StillQuarantined(QuarantineReason),
    /// The file is known, and as it was.
    Known,
    /// The file is known with other content, and still to be converted, also if it failed: size and entity tag are those found now.
    Updated,
    /// The file is known with other content, but its rows are converted or being converted: it stays so, noted once in its
    /// timeline.
    Overwritten,
    /// The event is older than what is known: nothing changed.
    Outdated,
}

/// Treatment of a converted file whose object has other content now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrites {
    /// The other content is noted and shown.
    #[default]
    Record,
    /// The file is pending again: its new rows are converted beside the old ones.
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

/// Pending files of a date, which wait for a manifest. A hint: a crash can leave it wrong until it is recounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Pending files.
    pub pending_files: u64,
    /// Bytes of the pending files.
    pub pending_bytes: u64,
    /// Time at which the oldest of the pending files arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
}

/// Outcome of tracking a batch of files.
#[derive(Clone, Debug, Default)]
pub struct TrackedBatch {
    /// Outcome of each file, in their order.
    pub outcomes: Vec<Tracked>,
    /// The backlogs of the dates that gained pending files.
    pub backlogs: Vec<(DatePrefix, Backlog)>,
}

/// A lock that is held, or was: each write under it shows the token, and is refused once somebody else holds the lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Name of the lock.
    pub name: String,
    /// Process that holds the lock, for people.
    pub holder: String,
    /// Number that grows with each holder.
    pub token: u64,
    /// Time after which others may take the lock.
    pub expires_at: DateTime<Utc>,
}

/// A manifest that is being made: its files are being claimed, or its document being written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The manifest as it was meant; some of its files may not have been claimed.
    pub manifest: Manifest,
    /// URI at which its document is to be written.
    pub uri: String,
    /// Time at which the draft was begun.
    pub begun_at: DateTime<Utc>,
}

/// A manifest and what goes with its run.
#[derive(Clone, Debug)]
pub struct QueuedManifest {
    /// The manifest.
    pub manifest: Manifest,
    /// URI of its document.
    pub uri: String,
}

/// The run of a manifest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The manifest.
    pub manifest_id: ManifestId,
    /// Date of the manifest.
    pub date: DatePrefix,
    /// URI of the document of the manifest.
    pub manifest_uri: String,
    /// State of the run.
    pub state: RunState,
    /// Runs of higher priority go first; of the same, the oldest.
    pub priority: i32,
    /// The files of the manifest.
    pub files: u64,
    /// Bytes of the files, as far as the manifest tells.
    pub bytes: u64,
    /// Attempts started so far, those that a crash ended included.
    pub attempts: u32,
    /// Attempts that failed since somebody queued the run.
    pub failures: u32,
    /// Number of the output of the manifest: 1, and one more each time it is forced, or converted anew because a committed
    /// output was lost before it was shown.
    pub generation: u32,
    /// Time before which the next attempt may not start, after a failure that can pass.
    pub not_before: Option<DateTime<Utc>>,
    /// True if somebody wants the run cancelled, and it has not come to that yet.
    pub cancel_requested: bool,
    /// Failure of the run, or of the attempt before. A completed run has one if it was forced and that failed: its output is
    /// the one before.
    pub failure: Option<Failure>,
    /// Time at which the run was queued.
    pub created_at: DateTime<Utc>,
    /// Time at which the run last changed.
    pub updated_at: DateTime<Utc>,
    /// Time at which the newest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// Time at which the output was decided on: the one that the run has, also while it is converted again to replace that.
    pub committed_at: Option<DateTime<Utc>>,
    /// Time at which the run ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Summary of what it produced, once it is committed.
    pub summary: Option<RunSummary>,
    /// Newest attempts, at most [`Run::HISTORY`], oldest first. Listings have none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Attempt>,
    /// Result of the run, once it is committed. Listings have none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

impl Run {
    /// Limit of the attempts that are remembered: 100, the newest.
    pub const HISTORY: usize = 100;
}

/// An attempt at a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Time at which the attempt started.
    pub started_at: DateTime<Utc>,
    /// Time at which the attempt ended. One that never did was given up: its scheduler died, or its columns turned out to be others.
    pub ended_at: Option<DateTime<Utc>>,
    /// Failure of the attempt, if it failed.
    pub failure: Option<Failure>,
    /// Work that was done in the attempt, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<AttemptWork>,
}

/// Runs that a listing shows, newest first. A store that cannot narrow a listing by hints shows others, too.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// State of the runs.
    pub state: Option<RunState>,
    /// Date of the runs' manifests.
    pub date: Option<DatePrefix>,
    /// Class of the runs' failures.
    pub failure_class: Option<FailureClass>,
    /// Hint: the states that they are in, if `state` names none.
    pub states: Vec<RunState>,
    /// Hint: the classes of their failure, if `failure_class` names none.
    pub failure_classes: Vec<FailureClass>,
    /// Hint: the beginning of the ids of the runs' manifests.
    pub prefix: Option<String>,
    /// Hint: the time from which the runs were queued first.
    pub since: Option<DateTime<Utc>>,
    /// Hint: the time before which the runs were queued first.
    pub until: Option<DateTime<Utc>>,
    /// Limit of the runs of a page, above 0.
    pub limit: usize,
    /// Place after which the page begins: `next_cursor` of the page before; none for the first page.
    pub cursor: Option<String>,
}

/// The runs in one state that have not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunCount {
    /// The state.
    pub state: RunState,
    /// Number of runs in that state.
    pub runs: u64,
    /// Bytes of the manifests of these runs.
    pub bytes: u64,
    /// Files of those whose manifests tell no sizes.
    pub unsized_files: u64,
    /// Time at which the oldest of these runs was queued.
    pub oldest: Option<DateTime<Utc>>,
}

/// A commit: from now on, this attempt's output is the manifest's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The manifest.
    pub manifest_id: ManifestId,
    /// The attempt that won.
    pub attempt: u32,
    /// Data that is needed to finish publication; text to the store.
    pub record: String,
}

/// A commit that a later one takes the place of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The commit.
    pub commit: Commit,
    /// True if the output was given up before it was shown, so that nothing of it counts; else it is the output that readers have.
    pub is_superseded: bool,
}

/// Files that a listing shows. A store that cannot narrow a listing by hints shows others, too.
#[derive(Clone, Debug, Default)]
pub struct FileFilter {
    /// The state they are in. The order is that of arrival, if no prefix is given.
    pub state: Option<FileState>,
    /// Date of the files.
    pub date: Option<DatePrefix>,
    /// Hint: the states that they are in, if `state` names none.
    pub states: Vec<FileState>,
    /// Hint: the beginning of the files' URIs.
    pub prefix: Option<String>,
    /// Hint: the reason for which the files were refused, or failed.
    pub reason: Option<String>,
    /// Hint: the time from which the files arrived.
    pub since: Option<DateTime<Utc>>,
    /// Hint: the time before which the files arrived.
    pub until: Option<DateTime<Utc>>,
    /// Limit of the files of a page, above 0.
    pub limit: usize,
    /// Place after which the page begins: `next_cursor` of the page before; none for the first page.
    pub cursor: Option<String>,
}

/// A part of a listing.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// The items, perhaps none though there are more pages.
    pub items: Vec<T>,
    /// Place at which the next page begins, unless this is the last.
    pub next_cursor: Option<String>,
}

/// A number that is counted per day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// The day it happened.
    pub metric_date: String,
    /// Name of the count, such as `files_tracked`.
    pub metric_type: String,
    /// Count of that day.
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
