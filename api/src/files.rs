//! Files and their history.

use crate::{AnyOf, Limit, words};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ObjectUri};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A file as it is remembered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct File {
    /// URI of the file.
    pub uri: String,
    /// Date of the file; a file that has none is quarantined.
    #[schema(value_type = Option<String>, format = Date, required)]
    pub date: Option<DatePrefix>,
    /// Size of the file, in bytes, when it was last looked at.
    pub size_bytes: u64,
    /// Entity tag of the file when it was last looked at.
    pub etag: String,
    /// Version of the file when it was last looked at, in a bucket that keeps versions.
    #[schema(required)]
    pub version_id: Option<String>,
    #[schema(schema_with = words::file_state)]
    pub state: FileState,
    /// The manifest it is in.
    #[schema(required)]
    pub manifest_id: Option<String>,
    /// Reason for which it is quarantined, or failed.
    #[schema(required)]
    pub reason: Option<String>,
    /// URI to which the file was moved when it was quarantined.
    #[schema(required)]
    pub quarantine_uri: Option<String>,
    /// The entity tag of newer content that was seen when the file was no longer pending.
    #[schema(required)]
    pub overwritten_etag: Option<String>,
    /// Moment it was first seen.
    pub arrived_at: DateTime<Utc>,
    /// Moment of its last change.
    pub updated_at: DateTime<Utc>,
}

/// Files that a listing shows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams, ToSchema)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FileQuery {
    /// Only files in one of these states, with commas between them; `status` is an older name.
    #[serde(default, alias = "status", skip_serializing_if = "AnyOf::is_empty")]
    #[schema(schema_with = words::text, required = false)]
    #[param(schema_with = words::file_states, style = Form, explode = false, required = false)]
    pub state: AnyOf<FileState>,
    /// Only files of this date.
    #[schema(value_type = Option<String>, format = Date)]
    #[param(value_type = String, format = Date, required = false)]
    pub date: Option<DatePrefix>,
    /// Only files whose URI begins so. A page then looks at a bounded number of files, and can be empty though there are more; it is the same
    /// with several states, reasons and times. Files of a prefix may come in the order of their URIs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, required = false)]
    pub prefix: Option<String>,
    /// Only files that were refused or failed for this reason.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, required = false)]
    pub reason: Option<String>,
    /// Only files that were first seen at this time or later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, format = DateTime, required = false)]
    pub since: Option<DateTime<Utc>>,
    /// Only files that were first seen before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    #[param(value_type = String, format = DateTime, required = false)]
    pub until: Option<DateTime<Utc>>,
    /// Number of files at most.
    #[serde(default)]
    #[schema(value_type = String, required = false)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    pub cursor: Option<String>,
}

/// Query of one file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UriQuery {
    /// URI of the file: `s3://BUCKET/KEY`, `file:///PATH`, or an absolute path.
    #[param(value_type = String, example = "s3://in/2025-12-23-file001.ndjson")]
    pub uri: ObjectUri,
}

/// A file with its timeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileDetail {
    /// The file, as listings show it.
    #[serde(flatten)]
    pub file: File,
    /// States of the file so far, oldest first.
    pub timeline: Vec<FileMoment>,
}

/// A change in a file's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileMoment {
    /// Moment it changed.
    pub at: DateTime<Utc>,
    #[schema(schema_with = words::file_state)]
    pub state: FileState,
    /// Detail of the change: the manifest, a reason.
    #[schema(required)]
    pub detail: Option<String>,
}

/// Query of refused files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct QuarantineQuery {
    /// Only files of this date.
    #[param(value_type = String, format = Date, required = false)]
    pub date: Option<DatePrefix>,
    /// Number of files at most.
    #[serde(default)]
    #[param(value_type = u32, minimum = 1, maximum = 1000, default = 100, required = false)]
    pub limit: Limit,
    /// `next_cursor` of the page before.
    #[param(value_type = String, required = false)]
    pub cursor: Option<String>,
}

/// Query of a part of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PreviewQuery {
    /// URI of the file, as it came.
    #[param(value_type = String, example = "s3://in/2025-12-23-file001.ndjson")]
    pub uri: ObjectUri,
    /// Byte of its content at which the piece begins: `next` of the piece before.
    #[serde(default)]
    pub from: u64,
}

/// Piece of a file: at most 50 lines, and 64 KiB unless the first line is longer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FilePreview {
    /// Object that was read: the file, or where it was moved to.
    pub uri: String,
    /// Size of the object, in bytes.
    pub size_bytes: u64,
    /// Format of the file, with advice, if it is not NDJSON.
    #[schema(required)]
    pub other_format: Option<String>,
    /// Lines of the piece.
    pub lines: Vec<PreviewLine>,
    /// Byte of the content at which the next piece begins; null at the end.
    #[schema(required)]
    pub next: Option<u64>,
    /// Trouble for which the file cannot be read on.
    #[schema(required)]
    pub trouble: Option<String>,
}

/// A line of a file, and whether it would be a row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PreviewLine {
    /// Place where the line begins in the decompressed file, in bytes.
    pub offset: u64,
    /// Length of the line without its newline, in bytes.
    pub length: u64,
    /// Text of the line, at most 4 KiB around what is wrong, with U+FFFD for what is not UTF-8.
    pub text: String,
    /// Bytes of the line before that text.
    pub cut_before: u64,
    /// Reason for which the line would be rejected, such as `malformed`; null if it would be a row, or is blank.
    #[schema(required)]
    pub reason: Option<String>,
    /// Description of the defect, with its byte.
    #[schema(required)]
    pub message: Option<String>,
}
