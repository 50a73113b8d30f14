//! Opening of a store.

use super::connection::{BUSY_TIMEOUT, configure};
use super::private::{DIRECTORY_MODE, check_owners, check_writable, create_private, keep_private};
use super::words::words;
use super::worker::Worker;
use super::{SqliteStore, schema, totals};
use crate::{TrackingError, TrackingResult};
use millwork_manifest::words_of_system;
use rusqlite::{Connection, ErrorCode, TransactionBehavior};
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Limit of the tables that are read to recognise a database; Millwork's has fewer.
const MAX_TABLES_LOOKED_AT: usize = 1000;
/// Limit of the foreign tables that an error names.
const MAX_TABLES_SHOWN: usize = 3;

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

/// Configures the connection, creates the tables of a new database, and returns its format version.
fn prepare(connection: &mut Connection) -> rusqlite::Result<i64> {
    configure(connection)?;
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
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

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
