//! Output of runs, and the ledger that proves that nothing was lost.

use crate::{Requests, TaskRecord};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Output of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunOutput {
    /// Rows in the output.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Stored bytes of the input.
    pub input_bytes: u64,
    /// Bytes of Parquet.
    pub output_bytes: u64,
    /// Characters replaced by U+FFFD.
    pub replaced_characters: u64,
    /// Rows that a query of the user's was given and did not write.
    pub left_out: u64,
    /// The output files.
    pub outputs: Vec<OutputFile>,
    /// The file of rejected lines, if there are any.
    #[schema(required)]
    pub rejected_lines: Option<String>,
    /// Keys that got another name, since theirs is a metadata column's: each with its column.
    pub renamed_columns: Vec<(String, String)>,
    /// The plan that made it: logical and physical, as `millwork explain` shows it; cut after 64 KiB.
    pub plan: String,
    /// The attempt that made it; 0 if that was not noted.
    pub attempt: u32,
    /// Tasks of the run, at most 1,000: of more, those that ended last.
    pub tasks: Vec<TaskRecord>,
    /// Time that its tasks computed, in seconds.
    pub cpu_seconds: f64,
    /// Requests to object storage, estimated by the sizes of what was read and written.
    pub requests: Requests,
    /// The sums of the ledger: lines = rows + rejected + blank. Each file is in `/api/v1/runs/{id}/ledger`.
    pub ledger: LedgerTotals,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct OutputFile {
    /// URI of the file.
    pub uri: String,
    /// Number of rows in the file.
    pub rows: u64,
    /// Size of the file, in bytes.
    pub bytes: u64,
    /// The manifest it is of.
    pub manifest_id: String,
    /// The executor that wrote it.
    pub executor: String,
}

/// The sums of a ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerTotals {
    /// Files.
    pub files: u64,
    /// Lines seen.
    pub lines: u64,
    /// Lines that became rows before the query: one that filters writes fewer.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Lines of white space only.
    pub blank: u64,
    /// Files with lines of which none became a row.
    #[serde(default)]
    pub without_rows: u64,
}

/// Account of the lines of one file: lines = rows + rejected + blank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerEntry {
    /// The file.
    pub uri: String,
    /// Stored size of the file, in bytes.
    pub size_bytes: u64,
    /// Lines seen.
    pub lines: u64,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Lines of white space only.
    pub blank: u64,
    /// Lone surrogates and bytes that are not UTF-8, replaced by U+FFFD.
    pub replaced_characters: u64,
    /// Cause and remedy, for a person, if the file has lines of which none became a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_rows: Option<String>,
}
