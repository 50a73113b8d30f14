//! Opening of a store.

use super::worker::Worker;
use super::{SqliteStore, schema, totals};
use crate::{TrackingError, TrackingResult};
use millwork_manifest::{effective_user, words_of_system};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use std::ffi::CString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Time limit for waiting for another process's write.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);
/// Limit of the cached prepared statements.
const STATEMENTS: usize = 100;

/// Limit of the tables that are read to recognise a database; Millwork's has fewer.
const MAX_TABLES_LOOKED_AT: usize = 1000;
/// Limit of the foreign tables that an error names.
const MAX_TABLES_SHOWN: usize = 3;

/// Permissions of the database and its lock file: the database lists all files and runs, and a lock can be held by
/// anybody who can open it.
const FILE_MODE: u32 = 0o600;
/// Permissions of directories that are created for it, which may also hold outputs.
const DIRECTORY_MODE: u32 = 0o750;
/// Mode bits of users other than owner and group.
const FOR_EVERYBODY: u32 = 0o007;

impl SqliteStore {
    /// Opens the store, creating it if it does not exist.
    pub fn open(path: &Path) -> TrackingResult<Self> {
        let name = path.display().to_string();
        let fail = |message| TrackingError::Open { store: name.clone(), message };
        if path.as_os_str().is_empty() {
            return Err(fail("it has no path: say sqlite:PATH".to_owned()));
        }
        let system = |e: io::Error| fail(words_of_system("open", &e));
        if let Some(directory) = path.parent() {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(directory).map_err(system)?;
        }
        check_owners(path).map_err(fail)?;
        let is_new = create_private(path).map_err(system)?;
        check_writable(path).map_err(system)?;
        let connection = Connection::open(path).map_err(|e| fail(words(&e)))?;
        // Checked first, so that another program's database is not changed.
        recognise(&connection, &name)?;
        if !is_new {
            keep_private(path);
        }
        Self::on(connection, name, Some(path.to_owned()))
    }

    /// Creates a store in memory, which is lost when dropped.
    pub fn in_memory() -> TrackingResult<Self> {
        let name = ":memory:".to_owned();
        let connection = Connection::open_in_memory()
            .map_err(|e| TrackingError::Open { store: name.clone(), message: e.to_string() })?;
        Self::on(connection, name, None)
    }

    fn on(mut connection: Connection, name: String, path: Option<PathBuf>) -> TrackingResult<Self> {
        let found =
            prepare(&mut connection).map_err(|e| TrackingError::Open { store: name.clone(), message: words(&e) })?;
        if found != schema::VERSION {
            return Err(TrackingError::Format { store: name, found, known: schema::VERSION });
        }
        // An in-memory database has no path.
        let file = connection.path().filter(|path| !path.is_empty()).map(PathBuf::from);
        let worker = Worker::start(connection, name.clone(), file)
            .map_err(|e| TrackingError::Open { store: name, message: e.to_string() })?;
        Ok(Self { worker, path })
    }
}

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
fn create_private(path: &Path) -> io::Result<bool> {
    match File::options().write(true).create_new(true).mode(FILE_MODE).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(false),
        created => created.map(|_| true),
    }
}

/// Refuses a database that is not writable, with the error of the system, since SQLite does not tell the reason.
fn check_writable(path: &Path) -> io::Result<()> {
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
fn check_owners(path: &Path) -> Result<(), String> {
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
fn keep_private(path: &Path) {
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

/// Refuses a database of another program.
fn recognise(connection: &Connection, name: &str) -> TrackingResult<()> {
    let refuse = |what: String| TrackingError::Foreign { store: name.to_owned(), what };
    let look = || -> rusqlite::Result<Option<String>> {
        connection.busy_timeout(BUSY_TIMEOUT)?;
        let mut statement =
            connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name LIMIT ?1")?;
        let tables = statement.query_map([MAX_TABLES_LOOKED_AT], |row| row.get(0))?;
        let tables = tables.collect::<rusqlite::Result<Vec<String>>>()?;
        let id = application_id(connection)?;
        let has_ours = || schema::OLDEST_TABLES.iter().all(|ours| tables.iter().any(|table| table == ours));
        let is_ours = id == schema::APPLICATION_ID || id == 0 && (tables.is_empty() || has_ours());
        let shown: Vec<_> =
            tables.iter().take(MAX_TABLES_SHOWN).map(|table| format!("`{}`", table.escape_debug())).collect();
        let shown =
            if shown.is_empty() { "no tables".to_owned() } else { format!("tables such as {}", shown.join(", ")) };
        Ok((!is_ours).then(|| format!("a SQLite database of another program, with application id {id} and {shown}")))
    };
    match look() {
        Ok(None) => Ok(()),
        Ok(Some(what)) => Err(refuse(what)),
        Err(e) if e.sqlite_error_code() == Some(ErrorCode::NotADatabase) => {
            Err(refuse("a file that is no SQLite database".to_owned()))
        }
        Err(e) => Err(TrackingError::Open { store: name.to_owned(), message: words(&e) }),
    }
}

fn application_id(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "application_id", |row| row.get(0))
}

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

/// Opens a read-only connection.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    // A missing database is not created, since the store was opened before.
    let connection = Connection::open_with_flags(path, OpenFlags::default() & !OpenFlags::SQLITE_OPEN_CREATE)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "temp_store", "memory")?;
    connection.pragma_update(None, "query_only", true)?;
    Ok(connection)
}

/// Configures the connection, creates the tables of a new database, and returns its format version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "journal_mode", "wal")?;
    // Losing a commit record in a power failure could let a manifest be written twice.
    connection.pragma_update(None, "synchronous", "full")?;
    // The rollback journal is kept in memory: a crash discards uncommitted changes anyway, and a group of operations
    // makes few.
    connection.pragma_update(None, "temp_store", "memory")?;
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = transaction.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => create(&transaction)?,
        schema::OLDEST => change(&transaction)?,
        schema::VERSION => {}
        _ => return Ok(found),
    }
    transaction.execute_batch(schema::ADDED)?;
    // Databases of earlier versions have no application id.
    transaction.pragma_update(None, "application_id", schema::APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", schema::VERSION)?;
    transaction.commit()?;
    Ok(schema::VERSION)
}

/// Creates the tables of a new database.
fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(schema::TABLES)?;
    connection.execute_batch("ALTER TABLE runs ADD COLUMN summary TEXT")?;
    connection.execute_batch(schema::NUMBERS)
}

/// Migrates a database of the oldest supported format, atomically.
fn change(connection: &Connection) -> rusqlite::Result<()> {
    tracing::info!(to = schema::VERSION, "changing the format of the state; a million files take some seconds");
    connection.execute_batch(schema::FROM_3)?;
    connection.execute_batch(schema::NUMBERS)?;
    totals::COUNTS.iter().try_for_each(|count| connection.execute(&count.replace("{where}", ""), []).map(drop))
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_database_of_another_program_is_refused_and_stays_as_it_is() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state.db");
        let refusal = |what: &str| {
            fs::set_permissions(&path, Permissions::from_mode(0o664)).unwrap();
            let before = fs::read(&path).unwrap();
            let error = SqliteStore::open(&path).err().unwrap().to_string();
            assert!(
                error.contains(what) && error.ends_with("name another with --state") && error.len() < 300,
                "{error}"
            );
            assert_eq!(fs::read(&path).unwrap(), before);
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o664);
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
        };
        let make = |sql: &str| {
            let _ = fs::remove_file(&path);
            Connection::open(&path).unwrap().execute_batch(sql).unwrap();
        };
        make("CREATE TABLE files (name TEXT); CREATE TABLE bookmarks (url TEXT);");
        refusal("application id 0 and tables such as `bookmarks`, `files`");
        // The right version by chance, but another program's application id.
        make("CREATE TABLE places (url TEXT); PRAGMA user_version = 3;");
        refusal("tables such as `places`");
        make("PRAGMA application_id = 252006675; CREATE TABLE project (x);");
        refusal("application id 252006675");
        make("PRAGMA application_id = 252006675; PRAGMA user_version = 3;");
        refusal("no tables");
        fs::write(&path, "no database, but quite some text in its place\n".repeat(100)).unwrap();
        refusal("a file that is no SQLite database");
    }

    #[test]
    fn a_state_gets_the_id_that_it_had_not_before() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state.db");
        let id = || application_id(&Connection::open(&path).unwrap()).unwrap();
        drop(SqliteStore::open(&path).unwrap());
        assert_eq!(id(), schema::APPLICATION_ID);
        Connection::open(&path).unwrap().pragma_update(None, "application_id", 0).unwrap();
        drop(SqliteStore::open(&path).unwrap());
        assert_eq!(id(), schema::APPLICATION_ID);
        // An empty file becomes a new state.
        fs::write(root.path().join("empty.db"), "").unwrap();
        SqliteStore::open(&root.path().join("empty.db")).unwrap();
        // An unsupported format is reported as such.
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
        assert!(matches!(SqliteStore::open(&path), Err(TrackingError::Format { found: 2, .. })));
    }
}
