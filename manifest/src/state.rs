//! States of files and runs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// State of a file.
///
/// ```text
/// pending → manifested → processing → completed
///    │                        └─────→ failed ──(retry)──▶ manifested
///    └ (on arrival) quarantined
/// ```
///
/// Further transitions: files of a failed run that are not at fault become pending again, an interrupted run is queued
/// again (processing → manifested), a quarantined file can be taken back, and a completed file with new content can
/// become pending again if overwrites are reprocessed. The store makes each transition only from an allowed state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Tracked and valid, in no manifest yet.
    Pending,
    /// In a manifest whose run has not started.
    Manifested,
    /// In a manifest that is being converted.
    Processing,
    /// Converted: its rows are in a committed output.
    Completed,
    /// The run of its manifest failed finally.
    Failed,
    /// Refused on arrival.
    Quarantined,
}

impl FileState {
    /// All states, in the order of a file's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Manifested, Self::Processing, Self::Completed, Self::Failed, Self::Quarantined];

    /// Name under which the state is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Manifested => "manifested",
            Self::Processing => "processing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for FileState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for FileState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no file state, which are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

/// State of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// The manifest of the run is being made.
    Draft,
    /// Queued for an attempt.
    Queued,
    /// An attempt has started: its input is being surveyed and its plan made.
    Planning,
    /// Executors are converting its input.
    Running,
    /// Committed; its output is being published.
    Committing,
    /// Completed, with a published output.
    Completed,
    /// Ended without output because of a failure.
    Failed,
    /// Ended without output by a request.
    Cancelled,
}

impl RunState {
    /// All states, in the order of a run's life.
    pub const ALL: [Self; 8] = [
        Self::Draft,
        Self::Queued,
        Self::Planning,
        Self::Running,
        Self::Committing,
        Self::Completed,
        Self::Failed,
        Self::Cancelled,
    ];
    /// States of an active run, which the leader is working on.
    pub const OPEN: [Self; 3] = [Self::Planning, Self::Running, Self::Committing];

    /// Name under which the state is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Draft => "draft",
            Self::Queued => "queued",
            Self::Planning => "planning",
            Self::Running => "running",
            Self::Committing => "committing",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Tells whether the run has ended, and does not change by itself.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Cancelled)
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for RunState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|state| state.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no run state, which are {}", Self::ALL.map(Self::as_str).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for state in FileState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
