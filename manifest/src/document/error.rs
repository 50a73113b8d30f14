//! Reasons why a text is no manifest.

use crate::limits::{MAX_MANIFEST_BYTES, MAX_MANIFEST_FILES, MAX_OBJECT_BYTES, MAX_TAG_BYTES};
use crate::{DatePrefix, InvalidManifestId, InvalidUri};
use serde_json::Number;

/// Reason why a text is not a manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// The text is not JSON, or not of the expected form.
    #[error("manifest `{name}` is not a manifest document: {cause}; it is JSON with `fileLocations` and `metadata`")]
    Malformed {
        /// URI or name of the manifest.
        name: String,
        /// Error of the JSON reader, with line and column.
        cause: serde_json::Error,
    },
    /// The manifest has no files.
    #[error("manifest `{0}` lists no files")]
    Empty(String),
    /// The document exceeds the size limit.
    #[error("manifest `{name}` has {bytes} bytes; the limit is {MAX_MANIFEST_BYTES}: make several of it")]
    TooLarge {
        /// URI or name of the manifest.
        name: String,
        /// Size of the document, in bytes.
        bytes: u64,
    },
    /// The manifest exceeds the limit of files.
    #[error("manifest `{name}` lists {files} files; the limit is {MAX_MANIFEST_FILES}: make several of it")]
    TooManyFiles {
        /// URI or name of the manifest.
        name: String,
        /// Number of files that the manifest lists, or describes, whichever is larger.
        files: usize,
    },
    /// The size of a file is invalid.
    #[error(
        "manifest `{name}` says that `{uri}` has {size} bytes; a size is a whole number from 0 to {MAX_OBJECT_BYTES}, \
         the limit of one object: correct it, or leave it out"
    )]
    BadSize {
        /// URI or name of the manifest.
        name: String,
        /// URI of the file.
        uri: String,
        /// Size given by the manifest.
        size: Number,
    },
    /// An entity tag or version is longer than any store's.
    #[error("manifest `{name}`: {what} of `{uri}` has {bytes} bytes; the limit is {MAX_TAG_BYTES}")]
    LongTag {
        /// URI or name of the manifest.
        name: String,
        /// URI of the file.
        uri: String,
        /// Name of the value that is too long: `the entity tag` or `the version`.
        what: &'static str,
        /// Length of the value, in bytes.
        bytes: usize,
    },
    /// A file is listed twice.
    #[error("manifest `{name}` lists `{uri}` more than once")]
    Duplicate {
        /// URI or name of the manifest.
        name: String,
        /// URI of the file.
        uri: String,
    },
    /// Files have different dates.
    #[error("manifest `{name}` mixes dates: `{uri}` is of {found}, the manifest of {expected}")]
    MixedDates {
        /// URI or name of the manifest.
        name: String,
        /// First file of another date.
        uri: String,
        /// Date of that file.
        found: DatePrefix,
        /// Date of the manifest.
        expected: DatePrefix,
    },
    /// Neither the metadata nor the first file's name has a date.
    #[error("manifest `{name}` has no metadata.date_prefix, and `{uri}` has no date in its name")]
    NoDate {
        /// URI or name of the manifest.
        name: String,
        /// The first file.
        uri: String,
    },
    /// An entry is not an object URI.
    #[error("manifest `{name}`: {source}")]
    Uri {
        /// URI or name of the manifest.
        name: String,
        /// Reason why the entry is invalid.
        source: InvalidUri,
    },
    /// The id cannot be used in file names.
    #[error("manifest `{name}`: {source}")]
    Id {
        /// URI or name of the manifest.
        name: String,
        /// Reason why the id is invalid.
        source: InvalidManifestId,
    },
}
