//! Writer thread, which has the only writing connection.
//!
//! | problem | effect |
//! |---|---|
//! | an operation fails | only it is rolled back, to its savepoint; others of its group are committed |
//! | an operation panics | likewise; the caller gets a permanent error, since it would panic again |
//! | its changes cannot be rolled back | the transaction of the whole group is rolled back, and all operations get an error |
//! | the transaction cannot be rolled back either | the process ends, since later writes could not be trusted |
//! | the thread itself panics, which no operation can cause | the process ends |
//!
//! Such a process logs the reason and exits with code 1. This is safe at any point: answered operations are committed,
//! and the next start continues with the rest.

use super::job::{Done, Job, end_process, ended, job, until_it_ends};
use super::readers::Readers;
use crate::requests::{Outcome, count};
use crate::{TrackingError, TrackingResult};
use rusqlite::{Connection, TransactionBehavior};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limit of the operations that share a transaction.
const MAX_GROUP: usize = 256;
/// Time limit of one group of writes, after which the writer counts as stuck: 60 s, twice the time limit for waiting
/// for another process.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// Number of groups of writes between checks of the size of the write-ahead log.
const LOOK_AT_LOG: u32 = 1000;
/// Limit of the write-ahead log, in pages of 4 KiB: 16,384, which is 64 MiB. SQLite restarts the log only at a moment
/// without readers, which may never occur by itself while several read.
const MAX_LOG_PAGES: i64 = 16_384;
/// Time limit for the writer to wait for readers at that point: 1 s, many times the duration of a read.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// Queues of the writer and reader threads, which end when this is dropped or closed.
pub(super) struct Worker {
    name: String,
    /// Queued operations; `None` as the last.
    jobs: Sender<Option<Box<dyn Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Start time of the writer's current group; `None` while it is idle.
    busy_since: Arc<Mutex<Option<Instant>>>,
    /// Reader threads; `None` for an in-memory database, which has only one connection.
    readers: Option<Readers>,
}

impl Worker {
    /// Starts the writer thread and, for a file, the reader threads.
    pub(super) fn start(connection: Connection, name: String, file: Option<PathBuf>) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let busy_since = Arc::new(Mutex::new(None));
        let writer = Writer { connection, queue, name: name.clone(), busy_since: busy_since.clone() };
        let thread = std::thread::Builder::new().name("millwork-state".to_owned());
        let thread = thread.spawn(move || until_it_ends(|| writer.serve()))?;
        let readers = file.map(|path| Readers::start(path, name.clone())).transpose()?;
        Ok(Self { name, jobs, thread: Some(thread).into(), busy_since, readers })
    }

    /// Finishes queued operations, then closes the connections. Closing the last one merges the write-ahead log into
    /// the database file.
    pub(super) async fn close(&self) {
        let readers = self.readers.as_ref().map(Readers::end).unwrap_or_default();
        let writer = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let jobs = self.jobs.clone();
        let closed = tokio::task::spawn_blocking(move || {
            // Readers are closed first, so that the writer's connection is the last.
            readers.into_iter().for_each(|reader| drop(reader.join()));
            let _ = jobs.send(None);
            writer.map(JoinHandle::join)
        });
        let _ = closed.await;
    }

    /// Runs an operation that only reads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        let (job, answer) = job(false, work);
        let is_sent = match &self.readers {
            Some(readers) => readers.send(job),
            None => self.jobs.send(Some(job)).is_ok(),
        };
        if !is_sent {
            return Err(ended(&self.name));
        }
        counted("read", answer.await.map_err(|_| ended(&self.name))?)
    }

    /// Runs a writing operation atomically.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        let (job, answer) = job(true, work);
        self.jobs.send(Some(job)).map_err(|_| ended(&self.name))?;
        counted("write", answer.await.map_err(|_| ended(&self.name))?)
    }

    /// Fails if the writer thread is gone, or stuck.
    pub(super) fn check_writer(&self) -> TrackingResult<()> {
        let lives =
            self.thread.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|t| !t.is_finished());
        if !lives {
            return Err(ended(&self.name));
        }
        let busy = self.busy_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed());
        match busy.filter(|busy| *busy > WRITE_PATIENCE) {
            None => Ok(()),
            Some(busy) => {
                let (busy, limit) = (busy.as_secs(), WRITE_PATIENCE.as_secs());
                let message = format!("a write has been going on for {busy} s, longer than {limit} s");
                Err(TrackingError::Unavailable { store: self.name.clone(), message })
            }
        }
    }
}

/// Counts an operation by its result.
fn counted<T>(operation: &'static str, done: TrackingResult<T>) -> TrackingResult<T> {
    let outcome = match &done {
        Ok(_) => Outcome::Ok,
        Err(error) if error.can_pass() => Outcome::Failed,
        Err(_) => Outcome::Refused,
    };
    count("sqlite", operation, outcome);
    done
}

/// State of the writer thread.
struct Writer {
    connection: Connection,
    queue: Receiver<Option<Box<dyn Job>>>,
    name: String,
    busy_since: Arc<Mutex<Option<Instant>>>,
}

impl Writer {
    fn serve(mut self) {
        let (mut is_open, mut groups) = (true, 0_u32);
        while is_open && let Ok(Some(first)) = self.queue.recv() {
            let others = self.queue.try_iter().take(MAX_GROUP - 1).map_while(|job| {
                is_open = job.is_some();
                job
            });
            let group = std::iter::once(first).chain(others);
            let (writes, reads): (Vec<_>, Vec<_>) = group.partition(|job| job.writes());
            self.set_busy(Some(Instant::now()));
            // Reads are answered before the fsync.
            for mut job in reads {
                job.perform(&self.connection);
                job.answer(&Ok(()), &self.name);
            }
            self.write(writes);
            groups = groups.wrapping_add(1);
            if groups.is_multiple_of(LOOK_AT_LOG)
                && let Err(error) = self.shorten_log()
            {
                tracing::warn!(%error, store = self.name, "cannot shorten the log of the state");
            }
            self.set_busy(None);
        }
    }

    fn set_busy(&self, since: Option<Instant>) {
        *self.busy_since.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    /// Checkpoints the write-ahead log, and restarts it if readers have let it grow beyond the limit.
    fn shorten_log(&self) -> rusqlite::Result<()> {
        let pages = |mode: &str| -> rusqlite::Result<i64> {
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
        };
        if pages("PASSIVE")? > MAX_LOG_PAGES {
            self.connection.busy_timeout(READER_PATIENCE)?;
            let begun = pages("RESTART");
            self.connection.busy_timeout(super::connection::BUSY_TIMEOUT)?;
            begun?;
        }
        Ok(())
    }

    fn write(&mut self, mut jobs: Vec<Box<dyn Job>>) {
        if jobs.is_empty() {
            return;
        }
        let committed = write_group(&mut self.connection, &mut jobs);
        if !self.connection.is_autocommit() {
            end_process("a transaction of the store can neither be committed nor rolled back");
        }
        jobs.into_iter().for_each(|job| job.answer(&committed, &self.name));
    }
}

/// Writes a group of operations, except those that fail. On an error nothing of the group is written.
fn write_group(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    // Rolled back if dropped.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for job in jobs {
        transaction.execute_batch("SAVEPOINT operation")?;
        if !job.perform(&transaction) {
            transaction.execute_batch("ROLLBACK TO operation")?;
        }
        transaction.execute_batch("RELEASE operation")?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_grew_too_long_beside_a_reader_is_begun_anew() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("state.db");
        let connection = Connection::open(&path).unwrap();
        connection.pragma_update(None, "journal_mode", "wal").unwrap();
        connection.pragma_update(None, "wal_autocheckpoint", 0).unwrap();
        connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (zeroblob(70 << 20))").unwrap();
        let (_jobs, queue) = channel();
        let writer = Writer { connection, queue, name: "state".to_owned(), busy_since: Arc::default() };
        let pages = || -> i64 {
            let sql = "PRAGMA wal_checkpoint(PASSIVE)";
            writer.connection.query_row(sql, [], |row| row.get(1)).unwrap()
        };
        let mut reader = Connection::open(&path).unwrap();
        let reading = reader.transaction().unwrap();
        let read = || reading.query_row("SELECT count(*) FROM t", [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!(read(), 1);
        // The reader delays the writer for a while, without other effects.
        writer.shorten_log().unwrap();
        writer.connection.execute_batch("INSERT INTO t VALUES (1)").unwrap();
        assert!(pages() > MAX_LOG_PAGES);
        assert_eq!(read(), 1);
        drop(reading);
        writer.shorten_log().unwrap();
        writer.connection.execute_batch("INSERT INTO t VALUES (2)").unwrap();
        assert!(pages() < 100, "{}", pages());
    }
}
