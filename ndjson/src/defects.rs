//! Error messages about lines and files: the defect, the limit, the place, and the remedy.

use super::input::InputError;
use super::json::{Defect, MAX_DEPTH, MAX_FIELDS, MAX_KEY_BYTES};
use super::rejects::RejectError;
use crate::limits::{MAX_COLUMNS, MAX_NAME_BYTES};
use crate::range::FileRange;
use crate::reason::RejectReason;
use std::io;

/// Error that ends the scan of a file.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    #[error(transparent)]
    Input(#[from] InputError),
    #[error(
        "the manifest has more than {MAX_COLUMNS} different keys, the last of them in `{0}`; each is a column, and {MAX_COLUMNS} are the \
         limit: keys that are data, such as ids, belong into values, or into one nested object; or select the columns that you want by name, \
         with --sql"
    )]
    TooManyColumns(String),
    #[error(
        "the different keys of the manifest have more than {MAX_NAME_BYTES} bytes together, the last of them in `{0}`; each is the name \
         of a column, and so many bytes are the limit: keys that are data belong into values, or into one nested object"
    )]
    LongNames(String),
    #[error(
        "the rejected lines of the manifest take more than {} MiB, the limit, the last of them in `{uri}`: correct what writes them, or \
         raise --max-rejected-mb (MAX_REJECTED_MB)", .limit >> 20
    )]
    TooManyRejected { uri: String, limit: u64 },
    #[error("cannot write rejected lines: {0}")]
    Rejects(#[from] io::Error),
}

impl ScanError {
    /// Error for a rejected line of this range that could not be written.
    pub(super) fn of_rejects(error: RejectError, range: &FileRange) -> Self {
        match error {
            RejectError::Io(error) => Self::Rejects(error),
            RejectError::NoRoom(limit) => Self::TooManyRejected { uri: range.uri.to_string(), limit },
        }
    }
}

impl Defect {
    /// Position of the defect in the scanned bytes.
    pub(crate) fn place(self) -> usize {
        match self {
            Self::Malformed(at, _) | Self::KeyTooLong(at, _) => at,
            Self::NotAnObject(at) | Self::TooDeep(at) | Self::TooManyKeys(at) => at,
        }
    }
}

/// Reason and message for a rejected line that starts at `line_start`.
pub(crate) fn describe(defect: Defect, line_start: usize) -> (RejectReason, String) {
    let column = |at: usize| at - line_start + 1;
    match defect {
        Defect::Malformed(at, expected) => {
            (RejectReason::Malformed, format!("{expected}, at byte {} of the line", column(at)))
        }
        Defect::NotAnObject(at) => {
            (RejectReason::NotAnObject, format!("a JSON value, but no object, at byte {}", column(at)))
        }
        Defect::TooDeep(at) => {
            (RejectReason::TooDeep, format!("nested deeper than {MAX_DEPTH}, at byte {} of the line", column(at)))
        }
        Defect::KeyTooLong(at, bytes) => {
            let message = format!(
                "a key of {bytes} bytes as it stands, at byte {} of the line; a key names a column, and has at most {MAX_KEY_BYTES} \
                 without escapes: shorten it, or make it a value",
                column(at)
            );
            (RejectReason::KeyTooLong, message)
        }
        Defect::TooManyKeys(at) => {
            let message = format!(
                "more than {MAX_FIELDS} keys, the limit, at byte {} of the line: put some into a nested object or an array",
                column(at)
            );
            (RejectReason::TooManyKeys, message)
        }
    }
}
