//! Rejected lines of a run.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Piece of a run's rejected lines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RejectedLines {
    /// Address of the file that they are in; null if the run has rejected none, or is not committed.
    #[schema(required)]
    pub place: Option<String>,
    /// Number of all rejected lines of the run.
    pub all: u64,
    /// Lines of this piece: 50 at most.
    pub items: Vec<RejectedLine>,
    /// `from` of the next piece; null after the last.
    #[schema(required)]
    pub next: Option<u64>,
}

/// A line that was rejected.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RejectedLine {
    /// URI of the file that it is in.
    #[serde(alias = "source_file")]
    pub file: String,
    /// Number of the line in the file, from 1.
    pub line: u64,
    /// Place where the line begins in the decompressed file, in bytes.
    pub offset: u64,
    /// Length of the line, in bytes.
    pub length: u64,
    /// Kind of the defect.
    pub reason: String,
    /// Description of the defect.
    pub message: String,
    /// The line, or its first 1 MiB, if it is text.
    #[serde(default)]
    #[schema(required)]
    pub raw: Option<String>,
    /// The line in base64, if it is not text.
    #[serde(default, alias = "raw_base64")]
    #[schema(required)]
    pub base64: Option<String>,
}

/// Place of a piece.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RejectedQuery {
    /// Byte of the file of rejected lines at which the piece begins: `next` of the piece before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(required = false)]
    pub from: Option<u64>,
}
