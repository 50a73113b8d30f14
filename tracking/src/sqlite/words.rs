//! Errors of SQLite in words.

use rusqlite::ErrorCode;

/// Message of SQLite without the SQL statement, with a remedy where one is known.
pub(super) fn words(error: &rusqlite::Error) -> String {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the file system is full; free space there, then run again",
        Some(ErrorCode::DatabaseCorrupt) => {
            "its content is damaged; restore it from a backup, or move it away and begin a new one, for an output that is there with --adopt"
        }
        Some(ErrorCode::ReadOnly) => {
            "it cannot be written to; check its file system, owner and mode, and those of its directory"
        }
        Some(ErrorCode::SystemIoFailure) => {
            "the device failed to read or write; look at the system's log, and check the disk"
        }
        Some(ErrorCode::CannotOpen) => {
            "SQLite cannot open it, or make its journal beside it; check owner, mode and free space of its directory, and the limit of open files (`ulimit -n`)"
        }
        Some(ErrorCode::DatabaseBusy) => "another program holds it for long; end that, or use another --state",
        Some(ErrorCode::OutOfMemory) => "memory ran out; give more of it, or do less at once",
        _ => return words_of_sqlite(error),
    };
    advice.to_owned()
}

fn words_of_sqlite(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string().lines().next().unwrap_or_default().to_owned(),
    }
}
