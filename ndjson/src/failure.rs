//! Classes of what ends a scan.

use crate::defects::ScanError;
use crate::input::InputError;
use millwork_manifest::{Failure, FailureClass, FileFault};
use std::io::ErrorKind;

/// The class of what keeps a file from being opened.
pub fn class_of_unreadable(kind: ErrorKind) -> FailureClass {
    match kind {
        // The failure stays until somebody changes the file, or the manifest.
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

/// The class of what keeps bytes from being read or written.
pub fn class_of_io(kind: ErrorKind) -> FailureClass {
    match kind {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge | ErrorKind::OutOfMemory => {
            FailureClass::Resources
        }
        // Something stands in the place of an output until somebody moves it away.
        ErrorKind::AlreadyExists => FailureClass::Input,
        _ => FailureClass::Storage,
    }
}

/// The class of a failed scan. What is wrong with a file will still be wrong the next time; what is wrong with
/// reading or writing may pass.
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

/// The file that ended a scan, where that is its own fault: whatever is wrong with others is found by going on with them.
pub fn fault_of_scan(error: &ScanError) -> Option<FileFault> {
    match error {
        ScanError::Input(_) => failure_of_scan(error).into_own_fault().ok(),
        _ => None,
    }
}
