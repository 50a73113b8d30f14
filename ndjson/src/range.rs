//! Byte range of an input file.

use millwork_manifest::{Compression, ObjectUri};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A byte range of a file in the manifest, cut at line boundaries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// Index of the file in the manifest.
    pub file: u32,
    pub uri: ObjectUri,
    /// Directory that must contain the real path of a local file when it is opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<PathBuf>,
    /// Entity tag of the file when the attempt was planned.
    pub etag: String,
    /// Size of the whole stored object; another size means that it has changed.
    pub size_bytes: u64,
    /// Start of the range, and its end, exclusive.
    pub start: u64,
    pub end: u64,
    pub compression: Compression,
    /// Number of lines of the file before this range.
    pub lines_before: u64,
}
