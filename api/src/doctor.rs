//! Health checks of the services that Millwork depends on.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// In order.
    Fine,
    /// Works, but somebody should look into it.
    Warning,
    /// Does not work.
    Broken,
    /// Could not be checked, or does not apply.
    Unknown,
}

/// Check of one part of what the scheduler stands on.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Check {
    /// Name of the part that was looked at.
    pub name: String,
    /// Result of the check.
    pub verdict: Verdict,
    /// Finding, in words. Control characters are escaped.
    pub found: String,
    /// Remedy; none if there is nothing to do.
    #[schema(required)]
    pub remedy: Option<String>,
}

impl Check {
    /// Check that found everything in order.
    pub fn fine(name: &str, found: impl Into<String>) -> Self {
        Self { name: name.to_owned(), verdict: Verdict::Fine, found: found.into(), remedy: None }
    }

    /// Check that could not be made.
    pub fn unknown(name: &str, found: impl Into<String>) -> Self {
        Self { verdict: Verdict::Unknown, ..Self::fine(name, found) }
    }

    /// Check of a part that works, but needs attention.
    pub fn warning(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warning, remedy: Some(remedy.into()), ..Self::fine(name, found) }
    }

    /// Check of a part that does not work.
    pub fn broken(name: &str, found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { verdict: Verdict::Broken, ..Self::warning(name, found, remedy) }
    }

    /// True if somebody must act: the verdict is a warning or broken.
    pub fn is_finding(&self) -> bool {
        matches!(self.verdict, Verdict::Warning | Verdict::Broken)
    }
}

/// Examination, with every check that was made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Examination {
    /// Time of the examination, by the clock of who made it.
    pub at: DateTime<Utc>,
    /// Version of Millwork that looked.
    pub version: String,
    /// Each check.
    pub checks: Vec<Check>,
}
