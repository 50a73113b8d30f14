//! Reasons for which lines are rejected.

use serde::Serialize;
use std::fmt;

/// Reason for which a line is rejected. `docs/conversion.md` has a row for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RejectReason {
    /// Not JSON.
    Malformed,
    /// A JSON value that is not an object.
    NotAnObject,
    /// Nested too deeply.
    TooDeep,
    /// Longer than the limit of a line.
    TooLong,
    /// A key that is longer than the limit of a key.
    KeyTooLong,
    /// More keys than the limit of a line.
    TooManyKeys,
    /// A whole file that is not NDJSON.
    NotNdjson,
}

impl RejectReason {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Malformed,
        Self::NotAnObject,
        Self::TooDeep,
        Self::TooLong,
        Self::KeyTooLong,
        Self::TooManyKeys,
        Self::NotNdjson,
    ];

    /// Name of the reason, as stored and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NotAnObject => "not-an-object",
            Self::TooDeep => "too-deep",
            Self::TooLong => "too-long",
            Self::KeyTooLong => "key-too-long",
            Self::TooManyKeys => "too-many-keys",
            Self::NotNdjson => "not-ndjson",
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_is_stored_by_its_name_and_documented() {
        let documents = include_str!("../../docs/conversion.md");
        for reason in RejectReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
            assert!(documents.contains(&format!("| `{}` |", reason.as_str())), "{reason:?}");
        }
    }
}
