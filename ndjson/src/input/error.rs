//! Reasons why an input file cannot be read.

use crate::limits::MIN_CONTENT_BYTES;
use millwork_manifest::ObjectUri;
use millwork_storage::StorageError;
use std::io;

/// Reason why a file could not be read completely. Each names the file.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    #[error("input file `{0}` does not exist")]
    Missing(ObjectUri),
    #[error(transparent)]
    Unreadable(#[from] StorageError),
    #[error("input file `{0}` changed: it has another size, entity tag or time of change than when it was listed")]
    Changed(ObjectUri),
    #[error(
        "input file `{uri}` cannot be decompressed as {format}, after {bytes} bytes of content: {source}; restore it, or compress it again"
    )]
    Corrupt { uri: ObjectUri, format: &'static str, bytes: u64, source: io::Error },
    #[error(
        "input file `{uri}` cannot be decompressed as {format}, after {bytes} bytes of content: it ends in the middle; write it again"
    )]
    Cut { uri: ObjectUri, format: &'static str, bytes: u64 },
    #[error(
        "input file `{uri}` has more than {limit} bytes of content, the limit for the {stored_bytes} bytes it has as {format}: {times} \
         times these, and {MIN_CONTENT_BYTES} in any case; if it is meant to be so, raise --max-expansion (MAX_EXPANSION)"
    )]
    Expands { uri: ObjectUri, format: &'static str, limit: u64, stored_bytes: u64, times: u64 },
    #[error(
        "input file `{uri}` cannot be decompressed as zstd, after {bytes} bytes of content: its window is larger than {} MiB, the \
         limit; raise --max-zstd-window-mb (MAX_ZSTD_WINDOW_MB), or compress it again with a smaller one, such as `zstd --long=27`",
        limit >> 20
    )]
    Window { uri: ObjectUri, bytes: u64, limit: u64 },
    #[error(
        "input file `{uri}` cannot be decompressed as zstd, after {bytes} bytes of content: bytes that are no zstd stand after its last \
         frame: cut them off, or compress it again"
    )]
    Trailing { uri: ObjectUri, bytes: u64 },
    #[error(
        "input file `{uri}` is no {format}, by its first bytes: name it by what it is (.ndjson, .ndjson.gz, .ndjson.zst), or restore it"
    )]
    Other { uri: ObjectUri, format: &'static str },
    #[error("cannot read input file `{uri}`, after {bytes} bytes of content: {source}")]
    Broken { uri: ObjectUri, bytes: u64, source: io::Error },
}

impl InputError {
    /// URI of the file.
    pub fn uri(&self) -> String {
        match self {
            Self::Missing(uri) | Self::Changed(uri) => uri.to_string(),
            Self::Corrupt { uri, .. } | Self::Cut { uri, .. } | Self::Broken { uri, .. } => uri.to_string(),
            Self::Expands { uri, .. } | Self::Window { uri, .. } | Self::Trailing { uri, .. } => uri.to_string(),
            Self::Other { uri, .. } => uri.to_string(),
            Self::Unreadable(error) => error.object.clone(),
        }
    }
}
