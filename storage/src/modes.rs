//! Permissions of created files and directories: no user data is readable by all users of a machine.
//!
//! A stricter umask is respected. Existing directories keep their permissions: to let others read an output, create its
//! directory beforehand with the right group or an access control list.

use std::fs::File;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Permissions of outputs, rejected lines and manifests: read and written by the owner, read by the group.
pub const FILE_MODE: u32 = 0o640;
/// Permissions of directories created for outputs, rejected lines and manifests.
pub const DIRECTORY_MODE: u32 = 0o750;
/// Permissions of files that are useless to others, such as locks, which anybody who can open them could hold.
pub const PRIVATE_FILE_MODE: u32 = 0o600;

/// Creates a file that must not exist yet.
pub fn create_new_file(path: &Path) -> io::Result<File> {
    File::options().read(true).write(true).create_new(true).mode(FILE_MODE).open(path)
}
