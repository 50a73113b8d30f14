//! Messages for the system's errors with local files: the reason, and the remedy.

use std::io::{self, ErrorKind};

/// Reason and remedy for an error of the system in an operation such as `list` or `write`.
pub fn words_of_system(operation: &str, error: &io::Error) -> String {
    let by_number = error.raw_os_error().and_then(|number| match number {
        libc::ELOOP => Some(("symbolic links lead in a circle", "remove or correct one of them")),
        libc::EMFILE | libc::ENFILE => {
            Some(("too many files are open", "raise the limit (`ulimit -n`, LimitNOFILE), or do less at once"))
        }
        libc::EIO => Some(("the device failed to read or write", "look at the system's log, and check the disk")),
        libc::ENXIO | libc::ENODEV => Some(("the device is not there", "check that it is mounted")),
        libc::EMLINK => Some(("the file has as many names as it can have", "use another file system")),
        libc::ENOTCONN | libc::ENOLINK => Some(("the network file system does not answer", "mount it again")),
        _ => None,
    });
    if let Some((reason, advice)) = by_number {
        return format!("{reason}; {advice}");
    }
    let (reason, advice) = match error.kind() {
        ErrorKind::NotFound if operation == "list" => ("there is no such directory", "create it, or name another"),
        ErrorKind::NotFound => ("there is no such file or directory", "check the path, and that it is mounted"),
        ErrorKind::PermissionDenied => return denied(),
        ErrorKind::NotADirectory => ("a part of the path is a file, not a directory", "name a directory"),
        ErrorKind::IsADirectory => ("it is a directory, not a file", "name a file"),
        ErrorKind::DirectoryNotEmpty => ("the directory is not empty", "see what is in it"),
        ErrorKind::AlreadyExists => ("something of that name is there already", "move it away"),
        ErrorKind::StorageFull => ("the file system is full", "free space there, then run again"),
        ErrorKind::QuotaExceeded => ("the quota there is used up", "free space there, then run again"),
        ErrorKind::ReadOnlyFilesystem => {
            ("the file system is mounted read-only", "mount it for writing, or name another")
        }
        ErrorKind::CrossesDevices => ("it is on another file system", "have both on one file system"),
        ErrorKind::InvalidFilename => ("the file system does not take such a name", "use a shorter one"),
        ErrorKind::FileTooLarge => {
            ("the file would be larger than may be", "raise the limit (`ulimit -f`), or check what it is")
        }
        ErrorKind::ResourceBusy | ErrorKind::ExecutableFileBusy => ("something else uses it", "wait, or end that"),
        ErrorKind::StaleNetworkFileHandle => {
            ("the file was replaced, or its network file system was mounted anew", "try again")
        }
        ErrorKind::Unsupported => ("the file system or the store cannot do that", "use another"),
        ErrorKind::OutOfMemory => ("memory ran out", "give more of it, or do less at once"),
        ErrorKind::TimedOut => ("the file system did not answer in time", "check its server"),
        _ => return without_number(&error.to_string()),
    };
    format!("{reason}; {advice}")
}

/// Effective user id of this process.
pub fn effective_user() -> u32 {
    // SAFETY: the call has no arguments, and cannot fail.
    unsafe { libc::geteuid() }
}

fn denied() -> String {
    let user = effective_user();
    format!("user {user} has no right to; check owner and mode of it, and of the directories that it is in")
}

/// The system's message without the error number at its end.
fn without_number(text: &str) -> String {
    let text = text.rsplit_once(" (os error ").map_or(text, |(words, _)| words);
    let mut characters = text.chars();
    let first = characters.next().map(|first| first.to_lowercase().to_string()).unwrap_or_default();
    first + characters.as_str()
}
