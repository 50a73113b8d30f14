//! Manifests: submission and retrieval.

use crate::Priority;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Options for submitting a manifest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct SubmitQuery {
    /// Runs of higher priority start first; of the same, the oldest. A queued run takes the higher one of the two.
    #[serde(default, deserialize_with = "Priority::of_query")]
    #[param(value_type = i32, minimum = -1000, maximum = 1000, default = 0, required = false)]
    pub priority: Priority,
    /// True to queue a run that failed or was cancelled once more.
    #[serde(default)]
    pub retry: bool,
    /// True to queue a completed run once more, for an output that takes the place of the one it has.
    #[serde(default)]
    pub force: bool,
}

/// A manifest: where its document is, or the document itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
pub enum Submission {
    /// The place of the document.
    At(ManifestReference),
    /// The document.
    Inline(ManifestDocument),
}

/// Place of a manifest's document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManifestReference {
    /// `s3://BUCKET/KEY`, or a path that the scheduler sees. The document has at most 32 MiB.
    #[serde(default)]
    #[schema(value_type = String, required, example = "s3://manifests/manifests/2025-12-23/batch-0001-20251223-101500.json")]
    pub uri: Option<String>,
}

/// A manifest's document: files of one date.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManifestDocument {
    #[serde(rename = "fileLocations")]
    #[schema(rename = "fileLocations", min_items = 1)]
    /// The files.
    pub file_locations: Vec<FileLocation>,
    /// Metadata of the manifest, as its maker wrote it.
    pub metadata: Option<ManifestMetadata>,
}

/// Part of a manifest's files.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileLocation {
    /// Whole URIs, whatever the name says. None is named twice in a manifest.
    #[serde(rename = "URIPrefixes")]
    #[schema(rename = "URIPrefixes", example = json!(["s3://in/2025-12-23-file001.ndjson"]))]
    pub uri_prefixes: Vec<String>,
}

/// Description that a manifest has of itself. All of it can be absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManifestMetadata {
    /// The date of all its files; else it is in the name of each.
    #[schema(value_type = Option<String>, format = Date)]
    pub date_prefix: Option<String>,
    /// The manifest's id; else it is derived from what it lists.
    #[schema(pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")]
    pub manifest_id: Option<String>,
    /// Moment it was made: the time in its rows.
    pub created_at: Option<DateTime<Utc>>,
    /// Number of files that the manifest lists.
    pub file_count: Option<u64>,
    /// Their bytes.
    pub total_bytes: Option<u64>,
    /// Properties that files of the manifest must have.
    #[schema(required = false)]
    pub files: Vec<ManifestFile>,
}

/// Properties that a file of a manifest must have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ManifestFile {
    /// The file, which the manifest lists.
    pub uri: String,
    /// The size it must have.
    pub size_bytes: Option<u64>,
    /// The entity tag it must have.
    pub etag: Option<String>,
    /// Version of the file, in a bucket that keeps versions.
    pub version_id: Option<String>,
}
