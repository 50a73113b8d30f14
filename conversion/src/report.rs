//! Report of a task to the scheduler: one row of JSON, which holds all that the commit needs.
//!
//! Reports are not trusted: they are decoded here with bounds, and compared with what the scheduler knows before
//! anything in them is used.

use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::error::{DataFusionError, Result};
use millwork_manifest::{Failure, FailureClass, FileFault, MAX_OTHER_FAULTS};
use millwork_ndjson::{MAX_COLUMNS, NewKey, Position, RangeLedger};
use millwork_storage::{StagedFile, list_at_most};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, LazyLock};

/// Limit of one report, in bytes: 64 MiB, the limit of a message between executor and scheduler. The footers of four
/// outputs of 20,000 columns in a bucket take about 30 MiB as text.
pub const MAX_REPORT_BYTES: usize = 64 << 20;
/// Limit of the outputs of one task. A task is planned for four; a wrong prediction of the output size makes more.
const MAX_PARTS: usize = 10_000;
/// Limit of the files of rejected lines of one task: each morsel has at most one.
const MAX_REJECTS: usize = 100_000;
/// Limit of the byte ranges of one task: a manifest has up to 100,000 files, and large ones are cut into several
/// ranges.
const MAX_RANGES: usize = 400_000;
/// Limit of an executor's name, in bytes: a host name has up to 253.
const MAX_EXECUTOR_BYTES: usize = 256;
/// Limit of a key, in bytes: 4 KiB of input, each byte of which may have been replaced by U+FFFD, which takes three.
const MAX_KEY_BYTES: usize = 16 << 10;
/// Limit of a failure's message, in bytes; longer ones are cut.
const MAX_MESSAGE_BYTES: usize = 4 << 10;
/// Limit of the files at fault that one task names. Faults beyond it are found by the run that converts the remaining
/// files.
pub(crate) const MAX_FAULTS: usize = 1 + MAX_OTHER_FAULTS;
/// Limit of the error text about a report that cannot be read, in bytes.
const MAX_DEFECT_BYTES: usize = 300;

/// The outcome of one task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    /// The executor that ran it.
    pub executor: String,
    /// Start of the task's input, as file and offset: orders the tasks in the output.
    pub(crate) first: Option<(u32, u64)>,
    /// The Parquet files it wrote, in order.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_PARTS>")]
    pub parts: Vec<StagedPart>,
    /// The files of rejected lines it wrote, in order.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_REJECTS>")]
    pub rejects: Vec<StagedFile>,
    /// Counts of lines and bytes of each byte range.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_RANGES>")]
    pub ledger: Vec<RangeLedger>,
    /// Number of rows that the scan produced: without a user's query, the rows of the outputs.
    pub(crate) given_rows: u64,
    /// Position at which each column's key first occurred, by column of the plan.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_COLUMNS>")]
    pub(crate) first_seen: Vec<Option<Position>>,
    /// Keys that the plan has no column for, and whose columns the task added.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_COLUMNS>")]
    pub(crate) late_keys: Vec<NewKey>,
    /// All keys that the plan has no column for, if columns could not be added for all of them. Not empty only if the
    /// task wrote nothing.
    #[serde(deserialize_with = "list_at_most::<_, _, MAX_COLUMNS>")]
    pub(crate) new_keys: Vec<NewKey>,
    /// Files that cannot be converted, each for a reason of its own. Not empty only if the task failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty", deserialize_with = "list_at_most::<_, _, MAX_FAULTS>")]
    pub(crate) faults: Vec<FileFault>,
    /// Failure of the task. Reported, and not returned as an error, to keep its class.
    pub failure: Option<Failure>,
}

/// A Parquet file that waits to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StagedPart {
    /// The private file.
    pub file: StagedFile,
    /// Number of rows in the file.
    pub rows: u64,
    /// Number of row groups in the file.
    pub row_groups: u64,
    /// Footer of the columns that the task added, as a Parquet footer of these alone; empty if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "millwork_storage::base64_text")]
    pub(crate) late_footer: Vec<u8>,
}

static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("report", DataType::Utf8, false)])));

impl TaskReport {
    /// Schema of the one row that carries a report.
    pub(crate) fn schema() -> SchemaRef {
        SCHEMA.clone()
    }

    pub(crate) fn to_batch(&self) -> Result<RecordBatch> {
        let json = String::from_utf8(self.to_bytes()).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let column: ArrayRef = Arc::new(StringArray::from(vec![json]));
        Ok(RecordBatch::try_new(Self::schema(), vec![column])?)
    }

    /// Decodes the reports in the rows that a job returned.
    pub fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let bad = |e| DataFusionError::External(Box::new(e));
        let column = batch.column_by_name("report").and_then(|column| column.as_string_opt::<i32>());
        let rows = column.ok_or_else(|| DataFusionError::Internal("no column of reports".to_owned()))?;
        rows.iter().flatten().map(|json| Self::from_bytes(json.as_bytes()).map_err(bad)).collect()
    }

    /// Encodes the report as JSON of up to [`MAX_REPORT_BYTES`]. A larger report becomes a failure that says so.
    pub fn to_bytes(&self) -> Vec<u8> {
        let encoded = self.encoded();
        if encoded.len() <= MAX_REPORT_BYTES {
            return encoded;
        }
        let message = format!(
            "a task's report has {} bytes, more than {MAX_REPORT_BYTES}, the limit: its outputs have too many columns and row \
             groups; a larger TARGET_FILE_MB makes fewer",
            encoded.len()
        );
        let failure = Some(Failure::new(FailureClass::Bug, message));
        Self { executor: self.executor.clone(), first: self.first, failure, ..Self::default() }.encoded()
    }

    /// The outputs of a report, each paired with the report.
    pub(crate) fn parts_of(report: &Self) -> impl Iterator<Item = (&Self, &StagedPart)> {
        report.parts.iter().map(move |part| (report, part))
    }

    fn encoded(&self) -> Vec<u8> {
        // Encoding cannot fail: keys are strings and all values have a JSON form. An empty result would be refused as a
        // report.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Decodes a report from untrusted bytes, with bounds on everything it holds. Does not check that its contents are
    /// true.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ReportError> {
        if bytes.len() > MAX_REPORT_BYTES {
            return Err(ReportError::TooLong { bytes: bytes.len() });
        }
        let mut report: Self =
            serde_json::from_slice(bytes).map_err(|e| ReportError::Unreadable(shown(&e.to_string())))?;
        fits("the name of its executor", &report.executor, MAX_EXECUTOR_BYTES)?;
        if report.executor.chars().any(char::is_control) {
            return Err(ReportError::Unreadable(format!("the name of its executor is {}", shown(&report.executor))));
        }
        report.late_keys.iter().chain(&report.new_keys).try_for_each(|new| fits("a key", &new.key, MAX_KEY_BYTES))?;
        if let Some(failure) = &mut report.failure {
            cut(&mut failure.message, MAX_MESSAGE_BYTES);
            failure.others.truncate(MAX_OTHER_FAULTS);
        }
        Ok(report)
    }
}

/// Reason why bytes are not a report.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ReportError {
    /// The report has more bytes than allowed.
    #[error("a task's report has {bytes} bytes, more than {MAX_REPORT_BYTES}, the limit")]
    TooLong {
        /// Number of bytes.
        bytes: usize,
    },
    /// The bytes are not a report, or a list in it is too long.
    #[error("a task's report cannot be read: {0}")]
    Unreadable(String),
    /// A text in the report is too long.
    #[error("a task's report cannot be read: {what} has {bytes} bytes, more than {most}, the limit")]
    LongText {
        /// Name of the text.
        what: &'static str,
        /// Length of the text, in bytes.
        bytes: usize,
        /// Limit, in bytes.
        most: usize,
    },
}

fn fits(what: &'static str, text: &str, most: usize) -> Result<(), ReportError> {
    match text.len() {
        bytes if bytes > most => Err(ReportError::LongText { what, bytes, most }),
        _ => Ok(()),
    }
}

fn cut(text: &mut String, most: usize) {
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
        text.push('…');
    }
}

/// Prepares an untrusted text for logs: shortened, and without control characters.
fn shown(text: &str) -> String {
    let mut shown = text.chars().take(MAX_DEFECT_BYTES).flat_map(char::escape_debug).collect();
    cut(&mut shown, MAX_DEFECT_BYTES);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_up_to_its_limits() {
        let report = |executor: usize, key: usize| TaskReport {
            executor: "e".repeat(executor),
            late_keys: vec![NewKey { key: "k".repeat(key), at: Position { file: 0, offset: 0 } }],
            ..TaskReport::default()
        };
        let read = |report: TaskReport| TaskReport::from_bytes(&report.to_bytes());
        assert!(read(report(MAX_EXECUTOR_BYTES, MAX_KEY_BYTES)).is_ok());
        let refused = |report| read(report).unwrap_err().to_string();
        assert!(
            refused(report(MAX_EXECUTOR_BYTES + 1, 1)).contains("executor has 257 bytes, more than 256, the limit")
        );
        assert!(refused(report(1, MAX_KEY_BYTES + 1)).contains("a key has 16385 bytes, more than 16384, the limit"));
        let control = TaskReport { executor: "a\u{1b}[2Jb".to_owned(), ..TaskReport::default() };
        assert_eq!(refused(control), "a task's report cannot be read: the name of its executor is a\\u{1b}[2Jb");
        let ranges = |count| TaskReport { ledger: vec![RangeLedger::default(); count], ..TaskReport::default() };
        assert!(read(ranges(1000)).is_ok());
        let seen = |count| TaskReport { first_seen: vec![None; count], ..TaskReport::default() };
        assert!(read(seen(MAX_COLUMNS)).is_ok());
        assert!(refused(seen(MAX_COLUMNS + 1)).contains("more than 20000 items, the limit"));
        let bytes = TaskReport::default().to_bytes();
        let padded = [bytes.clone(), vec![b' '; MAX_REPORT_BYTES - bytes.len()]].concat();
        assert!(TaskReport::from_bytes(&padded).is_ok());
        let error = TaskReport::from_bytes(&[padded, b" ".to_vec()].concat()).unwrap_err();
        assert_eq!(error, ReportError::TooLong { bytes: MAX_REPORT_BYTES + 1 });
    }

    #[test]
    fn a_message_is_cut_and_a_report_that_is_too_long_says_so() {
        let failure = Some(Failure::new(FailureClass::Input, "é".repeat(MAX_MESSAGE_BYTES)));
        let read = TaskReport::from_bytes(&TaskReport { failure, ..TaskReport::default() }.to_bytes()).unwrap();
        let message = read.failure.unwrap().message;
        assert!(message.len() <= MAX_MESSAGE_BYTES + '…'.len_utf8() && message.ends_with('…'));
        let keys = vec![NewKey { key: "k".repeat(MAX_REPORT_BYTES), at: Position { file: 0, offset: 0 } }];
        let long =
            TaskReport { executor: "e".to_owned(), first: Some((3, 7)), late_keys: keys, ..TaskReport::default() };
        let read = TaskReport::from_bytes(&long.to_bytes()).unwrap();
        assert_eq!((read.executor.as_str(), read.first), ("e", Some((3, 7))));
        assert!(read.failure.unwrap().message.contains("more than 67108864, the limit"));
    }
}
