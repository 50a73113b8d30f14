//! Shape of the document in JSON, and of the files in it as others describe them.

use super::{ManifestError, ManifestFile};
use crate::limits::{MAX_OBJECT_BYTES, MAX_TAG_BYTES};
use crate::{DatePrefix, ObjectUri, bare_tag};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// Document as written or, with other list types, as read.
#[derive(Serialize, Deserialize)]
pub(super) struct Document<Uris, Files, Places> {
    #[serde(rename = "fileLocations")]
    pub(super) file_locations: Vec<Location<Uris>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<Metadata<Files, Places>>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Location<Uris> {
    #[serde(rename = "URIPrefixes")]
    pub(super) uri_prefixes: Uris,
}

#[derive(Default, Serialize, Deserialize)]
pub(super) struct Metadata<Files, Places> {
    #[serde(default)]
    pub(super) date_prefix: Option<DatePrefix>,
    #[serde(default)]
    pub(super) manifest_id: Option<String>,
    #[serde(default)]
    pub(super) created_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub(super) file_count: Option<u64>,
    #[serde(default)]
    pub(super) total_bytes: Option<u64>,
    #[serde(default)]
    pub(super) files: Files,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) traceparents: Option<Places>,
}

/// A file as described in an external manifest.
#[derive(Deserialize)]
pub(super) struct Described {
    uri: ObjectUri,
    #[serde(default)]
    size_bytes: Option<Number>,
    #[serde(default)]
    etag: Option<String>,
    #[serde(default)]
    version_id: Option<String>,
}

impl Described {
    /// The file, with its attributes validated.
    pub(super) fn checked(self, name: &str) -> Result<ManifestFile, ManifestError> {
        let Self { uri, size_bytes, etag, version_id } = self;
        let size_bytes = match size_bytes {
            None => None,
            Some(size) => match size.as_u64().filter(|size| *size <= MAX_OBJECT_BYTES) {
                Some(size) => Some(size),
                None => return Err(ManifestError::BadSize { name: name.to_owned(), uri: uri.to_string(), size }),
            },
        };
        for (what, tag) in [("the entity tag", &etag), ("the version", &version_id)] {
            let bytes = tag.as_ref().map_or(0, String::len);
            if bytes > MAX_TAG_BYTES {
                return Err(ManifestError::LongTag { name: name.to_owned(), uri: uri.to_string(), what, bytes });
            }
        }
        // Entity tags occur with quotes as well, as in HTTP.
        let etag = etag.map(|tag| bare_tag(&tag).to_owned()).filter(|tag| !tag.is_empty());
        Ok(ManifestFile { uri, size_bytes, etag, version_id })
    }
}
