//! The life of a file.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Where a file is in its life.
///
/// ```text
/// pending → manifested → processing → completed
///    │                        └─────→ failed ──(retry)──▶ manifested
///    └ (on arrival) quarantined
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileState {
    /// Known and valid, in no manifest yet.
    Pending,
    /// In a manifest that has not started.
    Manifested,
    /// In a manifest that is being converted.
    Processing,
    /// Its rows are in a committed output set.
    Completed,
    /// The run of its manifest failed for good.
    Failed,
    /// Refused on arrival.
    Quarantined,
}

/// A change of state that a file's life does not have.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("a {from} file cannot become {to}")]
pub struct IllegalTransition {
    /// The state it is in.
    pub from: FileState,
    /// The state that was asked for.
    pub to: FileState,
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

    /// Allows or refuses a change of state.
    ///
    /// Beside the forward steps: a claim can be undone (manifested → pending) when its manifest was never
    /// started, an interrupted run is queued again (processing → manifested), and a quarantined file can be put
    /// back.
    pub fn check_transition(self, to: Self) -> Result<(), IllegalTransition> {
        use FileState::*;
        let legal = matches!(
            (self, to),
            (Pending, Manifested | Quarantined)
                | (Manifested, Processing | Pending)
                | (Processing, Completed | Failed | Manifested)
                | (Failed, Manifested | Quarantined)
                | (Quarantined, Pending)
        );
        if legal { Ok(()) } else { Err(IllegalTransition { from: self, to }) }
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
        Self::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| format!("`{text}` is no file state"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_completed_file_never_changes() {
        for to in FileState::ALL {
            assert!(FileState::Completed.check_transition(to).is_err());
        }
    }

    #[test]
    fn nothing_completes_that_was_not_processed() {
        for from in FileState::ALL {
            assert_eq!(from.check_transition(FileState::Completed).is_ok(), from == FileState::Processing);
        }
    }

    #[test]
    fn names_round_trip() {
        for state in FileState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
    }
}
