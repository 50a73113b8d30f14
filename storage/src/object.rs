//! Objects as listings see them, and which of them are nobody's input.

use chrono::{DateTime, Utc};
use millwork_manifest::ObjectUri;

/// The largest object that [`Objects::read`](crate::Objects::read) reads, in bytes.
pub const MAX_READ_BYTES: u64 = 32 << 20;

/// Reason why something is no object, for a person.
pub(crate) const NO_FILE: &str = "it is no regular file";

/// An object as a listing sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Address of the object.
    pub uri: ObjectUri,
    /// Name of the object below the listed place; its whole path or key, if it was asked for alone.
    pub key: String,
    /// Size of the object, in bytes.
    pub size_bytes: u64,
    /// Entity tag of the object: another one means other content.
    pub etag: String,
    /// Version of the object, in a bucket that keeps versions; a listing has none.
    pub version_id: Option<String>,
    /// Moment it was last written.
    pub modified_at: DateTime<Utc>,
}

/// Tells whether a key is another program's private file, such as an upload that is not finished: a part of the key
/// begins with a dot or, as in Spark, with an underscore and is no `column=value` of a layout.
pub fn is_hidden(key: &str) -> bool {
    key.split('/').any(|part| is_hidden_name(part.as_bytes()))
}

/// Tells whether one part of a key is hidden, as [`is_hidden`] says.
pub(crate) fn is_hidden_name(name: &[u8]) -> bool {
    name.starts_with(b".") || (name.starts_with(b"_") && !name.contains(&b'='))
}
