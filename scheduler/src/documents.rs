//! Manifest documents of others: read from a directory or a bucket, within limits.

use millwork_manifest::{Manifest, ManifestError, ObjectUri};
use millwork_queue::BadReason;
use millwork_storage::{MAX_READ_BYTES, Objects, Places, StorageError, bucket_and_key};

/// Limit of a manifest document, in bytes: room for more than a hundred thousand files.
pub(crate) const MAX_MANIFEST_BYTES: u64 = MAX_READ_BYTES;

/// Reason why a manifest cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The manifest is gone, or its storage does not answer.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The document is larger than any manifest.
    #[error("manifest `{uri}` has {bytes} bytes; the limit is {MAX_MANIFEST_BYTES}: make several of it")]
    TooLarge {
        /// Address of the manifest.
        uri: ObjectUri,
        /// Size of the manifest, in bytes.
        bytes: u64,
    },
    /// The content is not a manifest.
    #[error(transparent)]
    Invalid(#[from] ManifestError),
}

impl ReadError {
    /// Reason why it can never be read; `None` if a retry may succeed.
    pub(crate) fn reason(&self) -> Option<BadReason> {
        match self {
            Self::Storage(error) if error.is_foreign() => Some(BadReason::ForeignObject),
            Self::Storage(error) if error.is_not_found() => Some(BadReason::MissingObject),
            Self::Storage(_) => None,
            Self::TooLarge { .. } => Some(BadReason::TooLarge),
            Self::Invalid(ManifestError::TooLarge { .. } | ManifestError::TooManyFiles { .. }) => {
                Some(BadReason::TooLarge)
            }
            Self::Invalid(ManifestError::MixedDates { .. }) => Some(BadReason::MixedDates),
            Self::Invalid(ManifestError::Duplicate { .. }) => Some(BadReason::DuplicateFile),
            Self::Invalid(_) => Some(BadReason::NotAManifest),
        }
    }
}

/// Reads a manifest from a directory or a bucket, if it is in one of the allowed places; other objects are not
/// accessed.
pub(crate) async fn read_manifest(
    objects: &dyn Objects,
    uri: &ObjectUri,
    places: &Places,
) -> Result<Manifest, ReadError> {
    places.admit(uri)?;
    if bucket_and_key(uri).is_none() {
        let (places, name) = (places.clone(), uri.clone());
        let read = tokio::task::spawn_blocking(move || places.read_local(&name)).await;
        let (object, text) = read.map_err(|e| StorageError::on_read(uri)(std::io::Error::other(e)))??;
        return Ok(Manifest::parse(uri.as_str(), &text, object.modified_at)?);
    }
    let object = objects.head(uri).await?;
    if object.size_bytes > MAX_MANIFEST_BYTES {
        return Err(ReadError::TooLarge { uri: uri.clone(), bytes: object.size_bytes });
    }
    let text = objects.read(uri).await?;
    Ok(Manifest::parse(uri.as_str(), &text, object.modified_at)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::MAX_MANIFEST_FILES;
    use serde_json::json;

    #[test]
    fn what_is_past_a_limit_is_refused_for_good() {
        let reason = |text: &str| {
            let error = Manifest::parse("s3://m/x.json", text.as_bytes(), Default::default()).unwrap_err();
            ReadError::from(error).reason()
        };
        let uris: Vec<_> = (0..=MAX_MANIFEST_FILES).map(|n| format!("s3://in/2025-12-23-{n}.ndjson")).collect();
        assert_eq!(reason(&json!({"fileLocations": [{"URIPrefixes": uris}]}).to_string()), Some(BadReason::TooLarge));
        assert_eq!(reason(&" ".repeat(MAX_MANIFEST_BYTES as usize + 1)), Some(BadReason::TooLarge));
        let file = json!({"uri": uris[0], "size_bytes": i64::MAX});
        let text = json!({"fileLocations": [{"URIPrefixes": [uris[0]]}], "metadata": {"files": [file]}}).to_string();
        assert_eq!(reason(&text), Some(BadReason::NotAManifest));
    }
}
