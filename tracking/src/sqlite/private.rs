//! Files of a database, which are for its owner alone.

use millwork_manifest::effective_user;
use std::ffi::CString;
use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Permissions of the database and its lock file: the database lists all files and runs, and a lock can be held by
/// anybody who can open it.
const FILE_MODE: u32 = 0o600;
/// Permissions of directories that are created for it, which may also hold outputs.
pub(super) const DIRECTORY_MODE: u32 = 0o750;
/// Mode bits of users other than owner and group.
const FOR_EVERYBODY: u32 = 0o007;

/// Opens a lock file, creating it with access for its owner only. Another user who may write to its directory could
/// have put anything in its place: links are not followed, nothing is truncated, and anything but a regular file is
/// refused without blocking.
pub fn open_lock(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let file = File::options().write(true).create(true).truncate(false).mode(FILE_MODE).custom_flags(flags).open(path);
    let refused =
        || io::Error::new(ErrorKind::InvalidInput, "it is no file of its own, but a link or something else: remove it");
    match file {
        Ok(file) if file.metadata()?.is_file() => Ok(file),
        Ok(_) => Err(refused()),
        Err(e) if matches!(e.raw_os_error(), Some(libc::ELOOP | libc::ENXIO)) => Err(refused()),
        Err(e) => Err(e),
    }
}

/// Creates the database file with access for its owner only, if it does not exist. Returns whether it did not. An
/// existing file is never opened here, since closing it would release SQLite's POSIX locks in this process.
pub(super) fn create_private(path: &Path) -> io::Result<bool> {
    match File::options().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        created => created.map(|_| true),
    }
}

/// Refuses a database that is not writable, with the error of the system, since SQLite does not tell the reason.
pub(super) fn check_writable(path: &Path) -> io::Result<()> {
    if fs::metadata(path)?.is_dir() {
        return Err(ErrorKind::IsADirectory.into());
    }
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: the name ends with a NUL, and is only read.
    match unsafe { libc::access(name.as_ptr(), libc::R_OK | libc::W_OK) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Refuses a database that belongs to another user, or is in another user's directory, who could read and change it.
/// Root is trusted, since it can do so anyway.
pub(super) fn check_owners(path: &Path) -> Result<(), String> {
    let user = effective_user();
    let beside = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for of in [directory.to_owned(), beside(""), beside("-journal"), beside("-wal"), beside("-shm"), beside(".lock")] {
        // The owner of a link counts as well, since that user can change its target.
        let owners = [fs::metadata(&of), fs::symlink_metadata(&of)].map(|found| found.map(|found| found.uid()));
        if let Some(owner) = owners.into_iter().flatten().find(|owner| *owner != user && *owner != 0) {
            return Err(format!(
                "`{}` belongs to user {owner}, not to user {user} or root: whoever it is could read and change the state; run this \
                 as that user, give it to user {user}, or name another state",
                of.display()
            ));
        }
    }
    Ok(())
}

/// Removes the permissions of other users from a database.
pub(super) fn keep_private(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let Ok(metadata) = fs::metadata(&name) else { continue };
        let mode = metadata.permissions().mode();
        if mode & FOR_EVERYBODY != 0 {
            // Another user's file is left unchanged.
            let _ = fs::set_permissions(&name, Permissions::from_mode(mode & !FOR_EVERYBODY));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SqliteStore;
    use super::*;
    use crate::LockStore;

    #[tokio::test]
    async fn a_state_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state.db");
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
        let store = SqliteStore::open(&path).unwrap();
        let _lead = store.lead("a", chrono::Duration::zero(), chrono::Utc::now()).await.unwrap();
        assert_eq!(mode("deep") & FOR_EVERYBODY, 0);
        for name in ["deep/state.db", "deep/state.db-wal", "deep/state.db-shm", "deep/state.db.lock"] {
            assert_eq!(mode(name), FILE_MODE, "{name}");
        }
        // Permissions of an existing database are tightened.
        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        keep_private(&path);
        assert_eq!(mode("deep/state.db"), 0o660);
    }
}
