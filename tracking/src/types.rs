//! Types of the store: files, locks, manifests, runs, commits, counters, and filters of listings.

use crate::{AttemptWork, RunSummary};
use chrono::{DateTime, Utc};
use millwork_manifest::{
    DatePrefix, Failure, FailureClass, FileState, MAX_OBJECT_BYTES, Manifest, ManifestFile, ManifestId, ObjectUri,
    QuarantineReason, RunState,
};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::str::FromStr;

/// Sequencer of the events of one object key, as assigned by S3: hexadecimal digits of varying length, compared as
/// numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequencer(String);

impl Sequencer {
    /// Parses the sequencer in an event.
    pub fn new(text: &str) -> Self {
        Self(text.trim_start_matches('0').to_ascii_uppercase())
    }

    /// Text of the sequencer, as stored.
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
    /// URI of the file, which identifies it.
    pub uri: ObjectUri,
    /// Date of the file; `None` is a reason to quarantine it.
    pub date: Option<DatePrefix>,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Entity tag, without quotes.
    pub etag: String,
    /// Version of the object, in a bucket with versioning.
    pub version_id: Option<String>,
    /// Sequencer of the event that named the file; `None` for a listing.
    pub sequencer: Option<Sequencer>,
    /// Reason for quarantining the file, if it is refused.
    pub quarantine: Option<QuarantineReason>,
}

impl FoundFile {
    /// The file with its size limited to what every store can hold and add up. Sizes of real objects are far smaller.
    pub(crate) fn bounded(&self) -> Self {
        Self { size_bytes: self.size_bytes.min(MAX_OBJECT_BYTES + 1), ..self.clone() }
    }

    /// A file as listed in a manifest.
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

/// Record of a tracked file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TrackedFile {
    /// URI of the file.
    pub uri: ObjectUri,
    /// Date of the file.
    pub date: Option<DatePrefix>,
    /// Size in bytes at the last lookup of the object.
    pub size_bytes: u64,
    /// Entity tag at that time.
    pub etag: String,
    /// Version of the object at that time, in a bucket with versioning.
    pub version_id: Option<String>,
    /// Sequencer of the newest known event.
    #[serde(skip)]
    pub sequencer: Option<Sequencer>,
    /// State of the file.
    pub state: FileState,
    /// Version, incremented by each change.
    pub version: u64,
    /// Manifest that contains it.
    pub manifest_id: Option<String>,
    /// Reason for the quarantine or failure of the file.
    pub reason: Option<String>,
    /// URI that the file was moved to, if it was moved.
    pub quarantine_uri: Option<String>,
    /// Entity tag of newer content that was found after the file had left the state pending.
    pub overwritten_etag: Option<String>,
    /// Time at which the file was first seen.
    pub arrived_at: DateTime<Utc>,
    /// Time at which the file last changed.
    pub updated_at: DateTime<Utc>,
}

/// A change in a file's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// Time of the change.
    pub at: DateTime<Utc>,
    /// State after the change.
    pub state: FileState,
    /// Detail of the change, such as the manifest or a reason.
    pub detail: Option<String>,
}

/// Result of tracking a found file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tracked {
    /// The file was unknown; it is pending now.
    New,
    /// The file was unknown, or had other content; it is quarantined now.
    Quarantined(QuarantineReason),
    /// The file is quarantined already, with the same content.
    StillQuarantined(QuarantineReason),
    /// The file is known, with the same content.
    Known,
    /// The file was known with other content and not converted yet, or had failed: it is pending with the new size and
    /// entity tag.
    Updated,
    /// The file was known with other content, but is converted or being converted: its state is unchanged, and the new
    /// content is recorded once in its timeline.
    Overwritten,
    /// The event is older than the record: nothing changed.
    Outdated,
}

/// Treatment of a converted file whose object has other content now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overwrites {
    /// Record and show the new content only.
    #[default]
    Record,
    /// Make the file pending again: its new rows are converted in addition to the old ones.
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

/// Pending files of a date. A hint: a crash can leave it wrong until a recount.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Backlog {
    /// Number of pending files.
    pub pending_files: u64,
    /// Bytes of the pending files.
    pub pending_bytes: u64,
    /// Time at which the oldest of the pending files arrived.
    pub oldest_pending: Option<DateTime<Utc>>,
}

/// Result of tracking several files.
#[derive(Clone, Debug, Default)]
pub struct TrackedBatch {
    /// Result for each file, in order.
    pub outcomes: Vec<Tracked>,
    /// Backlogs of the dates that gained pending files.
    pub backlogs: Vec<(DatePrefix, Backlog)>,
}

/// A lock that is or was held: each write under it checks the token, and is refused once another process has taken the
/// lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lock {
    /// Name of the lock.
    pub name: String,
    /// Process that holds the lock, as shown to people.
    pub holder: String,
    /// Number that grows with each holder.
    pub token: u64,
    /// Expiry time, after which others may take the lock.
    pub expires_at: DateTime<Utc>,
}

/// A manifest that is being made: its files are being claimed, or its document is being written.
#[derive(Clone, Debug)]
pub struct Draft {
    /// The intended manifest; some of its files may not have been claimed.
    pub manifest: Manifest,
    /// URI at which its document is to be written.
    pub uri: String,
    /// Time at which the draft was begun.
    pub begun_at: DateTime<Utc>,
}

/// A manifest, with the data for its run.
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
    /// Id of the manifest.
    pub manifest_id: ManifestId,
    /// Date of the manifest.
    pub date: DatePrefix,
    /// URI of the document of the manifest.
    pub manifest_uri: String,
    /// State of the run.
    pub state: RunState,
    /// Priority: runs of higher priority start first; among equal ones, the oldest.
    pub priority: i32,
    /// Number of files in the manifest.
    pub files: u64,
    /// Bytes of the files, as far as the manifest contains sizes.
    pub bytes: u64,
    /// Number of attempts started so far, including those that a crash ended.
    pub attempts: u32,
    /// Number of failed attempts since the run was last queued by request.
    pub failures: u32,
    /// Generation of the output: 1, incremented when the run is forced, or converted again because a committed output
    /// was lost before publication.
    pub generation: u32,
    /// Earliest time of the next attempt, after a transient failure.
    pub not_before: Option<DateTime<Utc>>,
    /// True if a cancellation was requested and is not completed yet.
    pub cancel_requested: bool,
    /// Failure of the run, or of its last attempt. A completed run has one if it was forced and that failed: its output
    /// is the previous one.
    pub failure: Option<Failure>,
    /// Time at which the run was queued.
    pub created_at: DateTime<Utc>,
    /// Time at which the run last changed.
    pub updated_at: DateTime<Utc>,
    /// Time at which the newest attempt started.
    pub started_at: Option<DateTime<Utc>>,
    /// Time of the commit of the present output, even while the run is being converted again to replace it.
    pub committed_at: Option<DateTime<Utc>>,
    /// Time at which the run ended.
    pub ended_at: Option<DateTime<Utc>>,
    /// Summary of the result, once it is committed.
    pub summary: Option<RunSummary>,
    /// Latest attempts, at most [`Run::HISTORY`], oldest first. Empty in listings.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Attempt>,
    /// Result of the run, once it is committed. `None` in listings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<serde_json::Value>,
}

impl Run {
    /// Limit of the attempts that are kept: the latest 100.
    pub const HISTORY: usize = 100;
}

/// An attempt at a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// Number of the attempt, from 1.
    pub number: u32,
    /// Time at which the attempt started.
    pub started_at: DateTime<Utc>,
    /// Time at which the attempt ended. `None` for an ended attempt means that it was abandoned: its scheduler died,
    /// or its plan lacked columns.
    pub ended_at: Option<DateTime<Utc>>,
    /// Failure of the attempt, if it failed.
    pub failure: Option<Failure>,
    /// Work of the attempt, as far as known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<AttemptWork>,
}

/// Filter for a listing of runs, newest first. Hints are filters that a store may ignore.
#[derive(Clone, Debug, Default)]
pub struct RunFilter {
    /// State of the runs.
    pub state: Option<RunState>,
    /// Date of the runs' manifests.
    pub date: Option<DatePrefix>,
    /// Class of the runs' failures.
    pub failure_class: Option<FailureClass>,
    /// Hint: states of the runs, used if `state` is `None`.
    pub states: Vec<RunState>,
    /// Hint: classes of their failures, used if `failure_class` is `None`.
    pub failure_classes: Vec<FailureClass>,
    /// Hint: prefix of the manifest ids.
    pub prefix: Option<String>,
    /// Hint: earliest time at which the runs were first queued, inclusive.
    pub since: Option<DateTime<Utc>>,
    /// Hint: latest time at which the runs were first queued, exclusive.
    pub until: Option<DateTime<Utc>>,
    /// Limit of the runs on a page, above 0.
    pub limit: usize,
    /// Position after which the page begins: `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<String>,
}

/// Number of open runs in one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct RunCount {
    /// The state.
    pub state: RunState,
    /// Number of runs in that state.
    pub runs: u64,
    /// Bytes of the manifests of these runs.
    pub bytes: u64,
    /// Number of files in those of these runs whose manifests have no sizes.
    pub unsized_files: u64,
    /// Time at which the oldest of these runs was queued.
    pub oldest: Option<DateTime<Utc>>,
}

/// A commit, which makes this attempt's output that of the manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Id of the manifest.
    pub manifest_id: ManifestId,
    /// Number of the committed attempt.
    pub attempt: u32,
    /// Data for finishing the publication; opaque text to the store.
    pub record: String,
}

/// A commit that a later one replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replaced {
    /// The commit.
    pub commit: Commit,
    /// True if the output was given up before it was published; else it is the published output.
    pub is_superseded: bool,
}

/// Filter for a listing of files. Hints are filters that a store may ignore.
#[derive(Clone, Debug, Default)]
pub struct FileFilter {
    /// State of the files. The order is that of arrival, unless a prefix is given.
    pub state: Option<FileState>,
    /// Date of the files.
    pub date: Option<DatePrefix>,
    /// Hint: states of the files, used if `state` is `None`.
    pub states: Vec<FileState>,
    /// Hint: prefix of the URIs.
    pub prefix: Option<String>,
    /// Hint: reason for the refusal or failure of the files.
    pub reason: Option<String>,
    /// Hint: earliest arrival time, inclusive.
    pub since: Option<DateTime<Utc>>,
    /// Hint: latest arrival time, exclusive.
    pub until: Option<DateTime<Utc>>,
    /// Limit of the files on a page, above 0.
    pub limit: usize,
    /// Position after which the page begins: `next_cursor` of the previous page; `None` for the first page.
    pub cursor: Option<String>,
}

/// A page of a listing.
#[derive(Clone, Debug, Serialize)]
pub struct Page<T> {
    /// Items of the page; may be empty although there are more pages.
    pub items: Vec<T>,
    /// Cursor of the next page; `None` on the last page.
    pub next_cursor: Option<String>,
}

/// A daily counter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Metric {
    /// Day of the counter.
    pub metric_date: String,
    /// Name of the counter, such as `files_tracked`.
    pub metric_type: String,
    /// Value of the counter on that day.
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
