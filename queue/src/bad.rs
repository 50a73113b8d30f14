//! Reasons why a message can never be processed.

use std::fmt;

/// Limit of the details of a fault, in bytes, since they quote untrusted text.
const MAX_DETAIL_BYTES: usize = 1000;

/// Reason why a message, or a record in it, can never be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadReason {
    /// The message is not JSON.
    NotJson,
    /// The message is JSON, but has no known form.
    UnknownShape,
    /// The event version is not 2.x.
    UnknownVersion,
    /// The record lacks a bucket, a key, a size or an entity tag, or one is not valid.
    BadRecord,
    /// The key is not encoded correctly.
    BadKey,
    /// The record names an object in a place that Millwork writes to.
    OwnObject,
    /// The record names an object outside the allowed places, or a manifest that lists one.
    ForeignObject,
    /// The record names an object that does not exist.
    MissingObject,
    /// The record names a manifest that exceeds the size limit.
    TooLarge,
    /// The record names an object that is not a manifest document, or lists nothing.
    NotAManifest,
    /// The record names a manifest with files of several dates.
    MixedDates,
    /// The record names a manifest that lists a file twice.
    DuplicateFile,
    /// The record names a manifest with a file that is in another one, or converted.
    FileTaken,
    /// The record names a manifest whose run is known with other files.
    Conflict,
}

impl BadReason {
    /// Name under which the reason is counted and shown.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NotJson => "not-json",
            Self::UnknownShape => "unknown-shape",
            Self::UnknownVersion => "unknown-version",
            Self::BadRecord => "bad-record",
            Self::BadKey => "bad-key",
            Self::OwnObject => "own-object",
            Self::ForeignObject => "foreign-object",
            Self::MissingObject => "missing-object",
            Self::TooLarge => "too-large",
            Self::NotAManifest => "not-a-manifest",
            Self::MixedDates => "mixed-dates",
            Self::DuplicateFile => "duplicate-file",
            Self::FileTaken => "file-taken",
            Self::Conflict => "conflict",
        }
    }
}

/// A message, or a record in it, that can never be processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMessage {
    /// Kind of the fault.
    pub reason: BadReason,
    /// Details of the fault, as shown to people.
    pub detail: String,
}

impl BadMessage {
    /// Creates a fault.
    pub fn new(reason: BadReason, detail: impl fmt::Display) -> Self {
        let mut detail = detail.to_string();
        detail.truncate(detail.floor_char_boundary(MAX_DETAIL_BYTES));
        Self { reason, detail }
    }
}

impl fmt::Display for BadMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), self.detail)
    }
}
