//! Errors of writing output files.

use datafusion::error::DataFusionError;
use datafusion::parquet::errors::ParquetError;
use millwork_storage::StorageError;

/// Error that ends the writing of a task's files.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PartError {
    #[error(transparent)]
    Stream(#[from] DataFusionError),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error("{}", text_of(.0))]
    Parquet(#[from] ParquetError),
    /// A panic's message may contain values of rows: it goes only to the executor's standard error.
    #[error("a lane of the task broke off: it panicked, and its executor's standard error has the reason")]
    Panic(#[from] tokio::task::JoinError),
    #[error("nobody wants the rest of the task")]
    GivenUp,
}

/// Text of an error of the Parquet writer. What it met at the storage says itself what was tried.
fn text_of(error: &ParquetError) -> String {
    match error {
        ParquetError::External(cause) => cause.to_string(),
        error => format!("cannot write Parquet: {error}"),
    }
}
