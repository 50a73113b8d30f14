//! The life of a run.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Its manifest is being made.
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

    /// Whether nothing more happens to the run by itself.
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
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| format!("`{text}` is no run state"))
    }
}
