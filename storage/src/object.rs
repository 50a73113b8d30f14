//! Objects as they appear in listings, and the rule for names that are not input.

use chrono::{DateTime, Utc};
use millwork_manifest::ObjectUri;

/// Limit of an object that [`Objects::read`](crate::Objects::read) reads, in bytes: 32 MiB.
pub const MAX_READ_BYTES: u64 = 32 << 20;

/// Reason why an entry is not an object, as shown to people.
pub(crate) const NO_FILE: &str = "it is no regular file";

/// An object as it appears in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Address of the object.
    pub uri: ObjectUri,
    /// Name of the object relative to the listed place; its whole path or key if it was looked up by itself.
    pub key: String,
    /// Size of the object, in bytes.
    pub size_bytes: u64,
    /// Entity tag of the object, which changes with its content.
    pub etag: String,
    /// Version of the object, in a bucket with versioning; `None` in listings.
    pub version_id: Option<String>,
    /// Time of the last write.
    pub modified_at: DateTime<Utc>,
}

/// Tells whether a key is a private file of another program, such as an unfinished upload: a part of the key begins
/// with a dot or, as in Spark, with an underscore and is not a partition `column=value`.
pub fn is_hidden(key: &str) -> bool {
    key.split('/').any(|part| is_hidden_name(part.as_bytes()))
}

/// Tells whether a single part of a key is hidden, by the rule of [`is_hidden`].
pub(crate) fn is_hidden_name(name: &[u8]) -> bool {
    name.starts_with(b".") || (name.starts_with(b"_") && !name.contains(&b'='))
}
