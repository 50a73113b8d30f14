//! Why runs fail.

use serde::{Deserialize, Serialize};
use std::fmt;

/// The kinds of failure, by what can be done about them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureClass {
    /// The input is not as the manifest says: missing, changed, damaged, or not to be converted by this query.
    Input,
    /// Storage did not do what was asked.
    Storage,
    /// Memory or disk ran out.
    Resources,
    /// An executor went away.
    LostExecutor,
    /// The run took longer than it may.
    Timeout,
    /// Somebody cancelled the run.
    Cancelled,
    /// A defect of Millwork's.
    Bug,
}

impl FailureClass {
    /// Every class.
    pub const ALL: [Self; 7] =
        [Self::Input, Self::Storage, Self::Resources, Self::LostExecutor, Self::Timeout, Self::Cancelled, Self::Bug];

    /// Whether the same attempt, made again, may succeed.
    pub fn can_pass(self) -> bool {
        matches!(self, Self::Storage | Self::Resources | Self::LostExecutor | Self::Timeout)
    }

    /// The name under which the class is stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Storage => "storage",
            Self::Resources => "resources",
            Self::LostExecutor => "lost-executor",
            Self::Timeout => "timeout",
            Self::Cancelled => "cancelled",
            Self::Bug => "bug",
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Its kind.
    pub class: FailureClass,
    /// What happened, naming the file and line where there is one.
    pub message: String,
    /// The URI of the one input file that is at fault, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
}

impl Failure {
    /// The same failure, with the input file that is at fault.
    #[must_use]
    pub fn of_file(self, uri: impl fmt::Display) -> Self {
        Self { file: Some(uri.to_string()), ..self }
    }

    /// A failure of this kind, described by an error's text.
    pub fn new(class: FailureClass, message: impl fmt::Display) -> Self {
        Self { class, message: message.to_string(), file: None }
    }
}
