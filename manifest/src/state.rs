//! The lives of files and of runs.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// State of a file in its life.
///
/// ```text
/// pending → manifested → processing → completed
///    │                        └─────→ failed ──(retry)──▶ manifested
///    └ (on arrival) quarantined
/// ```
///
/// Beside the forward steps: files of a failed run that are not at fault are pending again, an interrupted run is queued
/// again (processing → manifested), a quarantined file can be put back, and a completed one whose object has other
/// content can be pending again where overwrites are reprocessed. The store makes each step only from a state that has
/// it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Known and valid, in no manifest yet.
    Pending,
    /// In a manifest that has not started.
    Manifested,
    /// In a manifest that is being converted.
    Processing,
    /// Converted: the rows of the file are in a committed output set.
    Completed,
    /// The run of its manifest failed for good.
    Failed,
    /// Refused on arrival.
    Quarantined,
}

impl FileState {
    /// Every state, in the order of a file's life.
    pub const ALL: [Self; 6] =
        [Self::Pending, Self::Manifested, Self::Processing, Self::Completed, Self::Failed, Self::Quarantined];

    /// The name under which the state is stored and shown.
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

/// State of a run in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// The manifest of the run is being made.
    Draft,
    /// Waiting for its turn.
    Queued,
    /// An attempt has started: its input is being looked at and its plan made.
    Planning,
    /// Executors are converting it.
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
    /// Every state, in the order of a run's life.
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
    /// The states of a run that has a turn: whoever runs manifests takes care of it.
    pub const OPEN: [Self; 3] = [Self::Planning, Self::Running, Self::Committing];

    /// The name under which the state is stored and shown.
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

    /// Tells whether the run has ended, so that nothing more happens to it by itself.
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
