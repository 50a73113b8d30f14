//! Failures of a conversion, derived from the errors that end it: the class of each says whether a retry may help.

use crate::part_error::PartError;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use millwork_manifest::{Failure, FailureClass};
use millwork_ndjson::class_of_io;
use millwork_storage::StorageError;
use std::io::ErrorKind;

pub(crate) fn failure_of_storage(error: &StorageError) -> Failure {
    Failure::new(class_of_io(error.source.kind()), error)
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

/// The Millwork failure inside an error that came up through DataFusion, if there is one.
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

/// Failure for an error that came up through DataFusion: Millwork's own if it carries one, else by the kind of error.
fn failure_of_query(error: &DataFusionError) -> Failure {
    if let Some(failure) = failure_within(error) {
        return failure;
    }
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => Failure::new(FailureClass::Resources, error),
        DataFusionError::IoError(e) => Failure::new(class_of_io(e.kind()), error),
        // A cast or a function that rejects values in the data.
        DataFusionError::ArrowError(..) | DataFusionError::Execution(_) => {
            // The text of the error can contain values of rows.
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
        if let Some(storage) = at.downcast_ref::<StorageError>() {
            return Some(storage.source.kind());
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
            // Both forms: as returned at the end of an output, and as returned in the middle.
            assert_eq!(failure_of_part(&PartError::Storage(in_place(kind))).class, class);
            let write = io::Error::new(kind, in_place(kind));
            let error = PartError::Parquet(ParquetError::External(Box::new(write)));
            let failure = failure_of_part(&error);
            assert_eq!(failure.class, class);
            assert!(failure.to_string().contains("s3://out/x"), "{failure}");
        }
    }
}
