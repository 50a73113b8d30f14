//! Permissions of what is created: nothing of a user's data is readable by all users of a machine.
//!
//! A umask that is stricter is respected. What is there already keeps its permissions, so that whoever wants others to read an output
//! makes its directory beforehand, with the group that may, or with an access list.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Permissions of outputs, rejected lines and manifests: read and written by the owner, read by the group.
pub const FILE_MODE: u32 = 0o640;
/// Permissions of directories that are created for such files.
pub const DIRECTORY_MODE: u32 = 0o750;
/// Permissions of what is of no use to others, such as locks, which whoever can open them can hold.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

/// Creates a file that must not be there.
pub fn create_new_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}
