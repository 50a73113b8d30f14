//! How a store is opened.

use super::worker::Worker;
use super::{SqliteStore, schema};
use crate::{TrackingError, TrackingResult};
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// How long an operation waits for another process's write.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// How many prepared statements are kept.
const STATEMENTS: usize = 100;

/// Permissions of the database and its lock: it tells of all files and runs, and whoever can open a lock can hold it.
const FILE_MODE: u32 = 0o600;
/// Permissions of directories that are created for it. They may hold outputs, too.
const DIRECTORY_MODE: u32 = 0o750;
/// What all users of a machine may do, as bits of permissions.
const FOR_EVERYBODY: u32 = 0o007;

impl SqliteStore {
    /// Opens the store, creating it if it is not there.
    pub fn open(path: &Path) -> TrackingResult<Self> {
        let name = path.display().to_string();
        let fail = |e: &dyn std::fmt::Display| TrackingError::Open { store: name.clone(), message: e.to_string() };
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(|e| fail(&e))?;
        }
        keep_private(path).map_err(|e| fail(&e))?;
        let connection = Connection::open(path).map_err(|e| fail(&e))?;
        Self::on(connection, name)
    }

    /// Opens the store as the one process that runs its manifests.
    pub fn open_as_owner(path: &Path) -> TrackingResult<Self> {
        let store = Self::open(path)?;
        let lock_path = path.with_extension("lock");
        let fail =
            |e: std::io::Error| TrackingError::Open { store: lock_path.display().to_string(), message: e.to_string() };
        let options = File::options().write(true).create(true).truncate(true).mode(FILE_MODE).open(&lock_path);
        let lock = options.map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { _owner: Some(lock), ..store }),
            Err(std::fs::TryLockError::WouldBlock) => Err(TrackingError::InUse(path.display().to_string())),
            Err(std::fs::TryLockError::Error(e)) => Err(fail(e)),
        }
    }

    /// A store in memory, which goes when this does.
    pub fn in_memory() -> TrackingResult<Self> {
        let name = ":memory:".to_owned();
        let connection = Connection::open_in_memory()
            .map_err(|e| TrackingError::Open { store: name.clone(), message: e.to_string() })?;
        Self::on(connection, name)
    }

    fn on(mut connection: Connection, name: String) -> TrackingResult<Self> {
        let found = prepare(&mut connection)
            .map_err(|e| TrackingError::Open { store: name.clone(), message: e.to_string() })?;
        if found != schema::VERSION {
            return Err(TrackingError::Format { store: name, found, known: schema::VERSION });
        }
        // A database in memory has no path.
        let file = connection.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        let worker = Worker::start(connection, name.clone(), file)
            .map_err(|e| TrackingError::Open { store: name, message: e.to_string() })?;
        Ok(Self { worker, _owner: None })
    }
}

/// Creates the database file for its owner alone, or takes the permissions of all others from one that is there. It is never opened
/// here: closing it would let go of locks that SQLite holds in this process.
fn keep_private(path: &Path) -> io::Result<()> {
    match File::options().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => {}
        created => return created.map(drop),
    }
    for suffix in ["", "-wal", "-shm"] {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        let Ok(metadata) = fs::metadata(&name) else { continue };
        let mode = metadata.permissions().mode();
        if mode & FOR_EVERYBODY != 0 {
            // One that is another user's stays as that user wants it.
            let _ = fs::set_permissions(&name, Permissions::from_mode(mode & !FOR_EVERYBODY));
        }
    }
    Ok(())
}

/// A connection that reads, and cannot write.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    // What is not there is not made: the store was opened before.
    let connection = Connection::open_with_flags(path, OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Sets the connection up, creates the tables of a new database, and tells its format.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "wal")?;
    // A commit record that power loss takes back would let a manifest be written twice.
    connection.pragma_update(None, "synchronous", "full")?;
    // What would have to be taken back is gone with the process in any case, and is no more than what a group of operations changes.
    connection.pragma_update(None, "temp_store", "memory")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if found != 0 && found != schema::VERSION {
        return Ok(found);
    }
    if found == 0 {
        transaction.execute_batch(schema::TABLES)?;
        transaction.pragma_update(None, "user_version", schema::VERSION)?;
    }
    transaction.execute_batch(schema::ADDED)?;
    transaction.commit()?;
    Ok(schema::VERSION)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_state_is_for_its_owner_alone() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("deep/state.db");
        let mode = |name: &str| fs::metadata(root.path().join(name)).unwrap().permissions().mode() & 0o777;
        let _store = SqliteStore::open_as_owner(&path).unwrap();
        assert_eq!(mode("deep") & FOR_EVERYBODY, 0);
        for name in ["deep/state.db", "deep/state.db-wal", "deep/state.db-shm", "deep/state.lock"] {
            assert_eq!(mode(name), FILE_MODE, "{name}");
        }
        // One of an earlier version is taken from all others.
        fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
        keep_private(&path).unwrap();
        assert_eq!(mode("deep/state.db"), 0o660);
    }
}
