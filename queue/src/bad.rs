//! Reasons for which a message can never be processed.

use std::fmt;

/// Limit of a fault's details, in bytes: they quote what a stranger wrote.
const MAX_DETAIL_BYTES: usize = 1000;

/// Reason for which a message, or a record in it, can never be processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BadReason {
    /// The message is not JSON.
    NotJson,
    /// The message is JSON, but none of the shapes known.
    UnknownShape,
    /// The event version is not 2.x.
    UnknownVersion,
    /// The record lacks a bucket, a key, a size or an entity tag, or one is not valid.
    BadRecord,
    /// The key is not encoded as it should be.
    BadKey,
    /// The record tells of an object in a place that Millwork writes to.
    OwnObject,
    /// The record tells of an object outside the places that may be read, or of a manifest that lists one.
    ForeignObject,
    /// The record tells of an object that is not there.
    MissingObject,
    /// The record tells of a manifest that is larger than manifests may be.
    TooLarge,
    /// The record tells of an object that is no manifest document, or that lists nothing.
    NotAManifest,
    /// The record tells of a manifest with files of several dates.
    MixedDates,
    /// The record tells of a manifest that lists a file twice.
    DuplicateFile,
    /// The record tells of a manifest with a file that is in another one, or converted.
    FileTaken,
    /// The record tells of a manifest whose run is known with other files.
    Conflict,
}

impl BadReason {
    /// The name under which the reason is counted and shown.
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
    /// The kind of fault.
    pub reason: BadReason,
    /// Details of the fault, for a person.
    pub detail: String,
}

impl BadMessage {
    /// Makes a bad message with this fault.
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
