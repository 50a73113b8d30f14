//! Byte range of an input file.

use millwork_manifest::{Compression, ObjectUri};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A byte range of a file of the manifest, starting and ending between lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRange {
    /// The file's place in the manifest.
    pub file: u32,
    pub uri: ObjectUri,
    /// The directory that a local file must really be in when it is opened, wherever links lead by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<PathBuf>,
    /// The entity tag the file had when the attempt was planned.
    pub etag: String,
    /// The size of the whole stored object: one that has another is not the one that was planned.
    pub size_bytes: u64,
    /// The first byte of it, and the one after the last.
    pub start: u64,
    pub end: u64,
    pub compression: Compression,
    /// Lines of the file before this range.
    pub lines_before: u64,
}
