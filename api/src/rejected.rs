//! Rejected lines of a run, and mended lines to put back.

use crate::Run;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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

impl RejectedLine {
    /// Line as text, with U+FFFD in place of invalid UTF-8; none if the line was not kept whole.
    pub fn whole(&self) -> Option<Cow<'_, str>> {
        let is_whole = |bytes: usize| bytes as u64 == self.length;
        if let Some(raw) = &self.raw {
            return is_whole(raw.len()).then_some(Cow::Borrowed(raw));
        }
        let bytes = STANDARD.decode(self.base64.as_ref()?).ok().filter(|bytes| is_whole(bytes.len()))?;
        Some(Cow::Owned(String::from_utf8_lossy(&bytes).into_owned()))
    }
}

/// Query for a part of the rejected lines.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct RejectedQuery {
    /// Byte of the file of rejected lines at which the piece begins: `next` of the piece before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[param(required = false)]
    pub from: Option<u64>,
}

/// Mended lines of a run, to be converted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MendedLines {
    /// Lines, as NDJSON: at most 16 MiB, each a row, or blank.
    pub lines: String,
    /// Reason, for the notes: at most 1,000 characters.
    #[serde(default)]
    pub reason: Option<String>,
    /// True to be told what would be done; nothing is.
    #[serde(default)]
    pub dry_run: bool,
}

/// File that is made of mended lines, in a manifest of its own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PutBack {
    /// Id of the manifest that the lines are, or would be, in. It follows from the run and the lines: they are put back once.
    pub manifest_id: String,
    /// Place of the lines.
    pub file: String,
    /// Number of rows in them.
    pub lines: u64,
    /// Size of them, in bytes.
    pub bytes: u64,
    /// Number of lines that the run has rejected.
    pub rejected: u64,
    /// Manifests of other lines that were put back for the run before; 20 at most.
    pub earlier: Vec<String>,
    /// The run of the manifest; null if there is none yet.
    #[schema(required)]
    pub run: Option<Run>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_whole_or_not_given() {
        let line = |raw: Option<&str>, base64: Option<&str>, length| RejectedLine {
            file: "s3://b/k".to_owned(),
            line: 1,
            offset: 0,
            length,
            reason: "malformed".to_owned(),
            message: String::new(),
            raw: raw.map(str::to_owned),
            base64: base64.map(str::to_owned),
        };
        for (line, whole) in [
            (line(Some("{x"), None, 2), Some("{x")),
            (line(Some("{x"), None, 3), None),
            (line(None, Some("e/8="), 2), Some("{\u{fffd}")),
            (line(None, Some("e/8="), 3), None),
            (line(None, Some("?"), 1), None),
            (line(None, None, 0), None),
        ] {
            assert_eq!(line.whole().as_deref(), whole, "{line:?}");
        }
    }
}
