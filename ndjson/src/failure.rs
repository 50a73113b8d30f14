//! Classification of errors that end a scan.

use crate::defects::ScanError;
use crate::input::InputError;
use millwork_manifest::{Failure, FailureClass, FileFault};
use std::io::ErrorKind;

/// Class of an error of opening a file.
pub fn class_of_unreadable(kind: ErrorKind) -> FailureClass {
    match kind {
        // The error remains until the file or the manifest is changed. `WouldBlock`: a lease (`fcntl(2)`, `F_SETLEASE`),
        // which the file's owner may hold for any time.
        ErrorKind::WouldBlock
        | ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::NotADirectory
        | ErrorKind::IsADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::Unsupported => FailureClass::Input,
        other => class_of_io(other),
    }
}

/// Class of an error of reading or writing.
pub fn class_of_io(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::OutOfMemory => {
            FailureClass::Resources
        }
        // The place of an output is occupied until somebody moves the file away.
        ErrorKind::AlreadyExists => FailureClass::Input,
        _ => FailureClass::Storage,
    }
}

/// Failure of a scan. Defects of a file are permanent; errors of reading or writing may be transient.
pub fn failure_of_scan(error: &ScanError) -> Failure {
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

/// The file at fault, if the error is due to the file itself. Scanning then continues with other files, to find all
/// faults.
pub fn fault_of_scan(error: &ScanError) -> Option<FileFault> {
    match error {
        ScanError::Input(_) => failure_of_scan(error).into_own_fault().ok(),
        _ => None,
    }
}
