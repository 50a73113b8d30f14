//! What a task tells the scheduler: one row of JSON, which holds all that the commit needs.

use crate::ledger::RangeLedger;
use crate::ndjson::{InputError, NewKey, Position, ScanError};
use crate::sink::PartError;
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use millwork_manifest::{Failure, FailureClass};
use millwork_storage::{StagedFile, StorageError};
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::sync::{Arc, LazyLock, OnceLock};

/// The outcome of one task.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct TaskReport {
    /// The executor that ran it.
    pub executor: String,
    /// Where its input starts: the order of tasks in the output.
    pub(crate) first: Option<(u32, u64)>,
    /// The Parquet files it wrote, in order.
    pub parts: Vec<StagedPart>,
    /// The files of rejected lines it wrote, in order.
    pub rejects: Vec<StagedFile>,
    /// What became of each byte range.
    pub ledger: Vec<RangeLedger>,
    /// Where each column's key came first, by column of the plan.
    pub(crate) first_seen: Vec<Option<Position>>,
    /// Keys that the plan has no column for, and that got one.
    pub(crate) late_keys: Vec<NewKey>,
    /// The same if there was no room for all of them, all the others included. If there are any, nothing was written.
    pub(crate) new_keys: Vec<NewKey>,
    /// Why it failed, if it did. A failure is a report and no error, so that it keeps its class.
    pub failure: Option<Failure>,
}

/// A Parquet file that waits to be published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StagedPart {
    /// The private file.
    pub file: StagedFile,
    /// Its rows.
    pub rows: u64,
    /// Its row groups.
    pub row_groups: u64,
    /// What is to be said in its footer of columns that turned up on the way, as a footer of these alone; nothing if there are none.
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "millwork_storage::base64_text")]
    pub(crate) late_footer: Vec<u8>,
}

static SCHEMA: LazyLock<SchemaRef> =
    LazyLock::new(|| Arc::new(Schema::new(vec![Field::new("report", DataType::Utf8, false)])));

impl TaskReport {
    /// The schema of the row that carries a report.
    pub(crate) fn schema() -> SchemaRef {
        SCHEMA.clone()
    }

    pub(crate) fn to_batch(&self) -> Result<RecordBatch> {
        let json = serde_json::to_string(self).map_err(|e| DataFusionError::External(Box::new(e)))?;
        let column: ArrayRef = Arc::new(StringArray::from(vec![json]));
        Ok(RecordBatch::try_new(Self::schema(), vec![column])?)
    }

    /// The reports in the rows that a job returned.
    pub fn from_batch(batch: &RecordBatch) -> Result<Vec<Self>> {
        let bad = |e| DataFusionError::External(Box::new(e));
        let column = batch.column_by_name("report").and_then(|column| column.as_string_opt::<i32>());
        let rows = column.ok_or_else(|| DataFusionError::Internal("no column of reports".to_owned()))?;
        rows.iter().flatten().map(|json| serde_json::from_str(json).map_err(bad)).collect()
    }
}

static EXECUTOR: OnceLock<String> = OnceLock::new();

/// Names this process in the reports of its tasks. The first name counts.
pub fn set_executor_name(name: String) {
    EXECUTOR.get_or_init(|| name);
}

pub(crate) fn executor_name() -> String {
    EXECUTOR.get_or_init(|| format!("pid-{}", std::process::id())).clone()
}

fn failure_of_storage(error: &StorageError) -> Failure {
    Failure::new(class_of_io(error.source.kind()), error)
}

/// The class of what keeps a file from being opened.
pub(crate) fn class_of_unreadable(kind: ErrorKind) -> FailureClass {
    match kind {
        // It stays so until somebody changes the file, or the manifest.
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::Unsupported => FailureClass::Input,
        other => class_of_io(other),
    }
}

fn class_of_io(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::OutOfMemory => FailureClass::Resources,
        // Something stands in the place of an output until somebody moves it away.
        ErrorKind::AlreadyExists => FailureClass::Input,
        _ => FailureClass::Storage,
    }
}

/// The class of a failed scan. What is wrong with a file will still be wrong the next time; what is wrong with
/// reading or writing may pass.
pub(crate) fn failure_of_scan(error: &ScanError) -> Failure {
    match error {
        ScanError::Input(InputError::Broken { .. }) => Failure::new(FailureClass::Storage, error),
        ScanError::Input(InputError::Unreadable(cause)) => {
            Failure::new(class_of_unreadable(cause.source.kind()), error).of_file(&cause.object)
        }
        ScanError::Input(input) => Failure::new(FailureClass::Input, error).of_file(input.uri()),
        ScanError::TooManyColumns(uri) | ScanError::LongNames(uri) | ScanError::TooManyRejected { uri, .. } => {
            Failure::new(FailureClass::Input, error).of_file(uri)
        }
        ScanError::Rejects(cause) => Failure::new(class_of_io(cause.kind()), error),
    }
}

pub(crate) fn failure_of_part(error: &PartError) -> Failure {
    match error {
        PartError::Stream(error) => failure_of_query(error),
        PartError::Storage(error) => failure_of_storage(error),
        PartError::Parquet(_) | PartError::Panic(_) | PartError::GivenUp => {
            let class = io_kind_below(error).map_or(FailureClass::Bug, class_of_io);
            Failure::new(class, error)
        }
    }
}

/// Our own failure inside an error that came up through DataFusion.
pub(crate) fn failure_within(error: &DataFusionError) -> Option<Failure> {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if let Some(failure) = at.downcast_ref::<Failure>() {
            return Some(failure.clone());
        }
        cause = match at.downcast_ref::<DataFusionError>() {
            Some(DataFusionError::External(inner)) => Some(&**inner),
            Some(DataFusionError::Shared(inner)) => Some(&**inner),
            Some(DataFusionError::ArrowError(inner, _)) => match &**inner {
                ArrowError::ExternalError(inner) => Some(&**inner),
                _ => None,
            },
            _ => at.source(),
        };
    }
    None
}

/// The class of an error that came up through DataFusion: ours are carried inside.
fn failure_of_query(error: &DataFusionError) -> Failure {
    if let Some(failure) = failure_within(error) {
        return failure;
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Failure::new(FailureClass::Resources, error),
        DataFusionError::IoError(e) => Failure::new(class_of_io(e.kind()), error),
        // A cast or a function that does not take what stands in the data.
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            // Its words can hold values of rows.
            Failure::new(FailureClass::Input, "the query failed on the data")
        }
        _ => Failure::new(FailureClass::Bug, error),
    }
}

fn io_kind_below(error: &(dyn std::error::Error + 'static)) -> Option<ErrorKind> {
    let mut cause = Some(error);
    while let Some(at) = cause {
        if let Some(io) = at.downcast_ref::<std::io::Error>() {
            return Some(io.kind());
        }
        cause = match at.downcast_ref::<datafusion::parquet::errors::ParquetError>() {
            Some(datafusion::parquet::errors::ParquetError::External(inner)) => Some(&**inner),
            _ => at.source(),
        };
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::parquet::errors::ParquetError;
    use std::io;

    #[test]
    fn what_stands_in_the_place_of_an_output_is_not_tried_again() {
        let in_place =
            |kind: ErrorKind| StorageError { operation: "write", object: "s3://out/x".to_owned(), source: kind.into() };
        for (kind, class) in [
            (ErrorKind::AlreadyExists, FailureClass::Input),
            (ErrorKind::QuotaExceeded, FailureClass::Resources),
            (ErrorKind::ConnectionReset, FailureClass::Storage),
        ] {
            // As it comes from the end of an output, and from the middle.
            assert_eq!(failure_of_part(&PartError::Storage(in_place(kind))).class, class);
            let write = io::Error::new(kind, in_place(kind));
            let error = PartError::Parquet(ParquetError::External(Box::new(write)));
            let failure = failure_of_part(&error);
            assert_eq!(failure.class, class);
            assert!(failure.to_string().contains("s3://out/x"), "{failure}");
        }
    }
}
