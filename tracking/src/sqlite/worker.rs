//! The thread that holds the connection which writes.
//!
//! | what goes wrong | what becomes of it |
//! |---|---|
//! | an operation fails | it alone is taken back, to its savepoint; others of its group are committed |
//! | an operation panics | the same; whoever asked is told that it is refused, since it would panic again |
//! | what it changed cannot be taken back | the transaction of its whole group is rolled back: none of it happened, all are told so |
//! | the transaction cannot be ended either | the process ends: nothing that is written after that could be trusted |
//! | the thread itself panics, which nothing of an operation can make it do | the process ends |
//!
//! A process that ends so says why in its log and has exit code 1. It is safe at any point: what was answered is committed,
//! and the next start goes on with the rest.

use super::job::{Done, Job, ended, job, text_of};
use super::readers::Readers;
use crate::requests::{Outcome, count};
use crate::{TrackingError, TrackingResult};
use rusqlite::{Connection, TransactionBehavior};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Limit of the operations that share a transaction.
const MAX_GROUP: usize = 256;
/// Limit of the time that one group of writes may take before the writer counts as stuck: 60 s, twice as long as one waits
/// for another process.
const WRITE_PATIENCE: Duration = Duration::from_secs(60);

/// Number of groups of writes between two looks at the size of the write-ahead log.
const LOOK_AT_LOG: u32 = 1000;
/// Limit of the write-ahead log, in pages of 4 KiB: 16,384, which is 64 MiB. SQLite begins it anew when nobody reads from it,
/// which may never be the case by itself while several read.
const MAX_LOG_PAGES: i64 = 16_384;
/// Limit of the time that the writer waits for readers then: 1 s, many times what a read takes.
const READER_PATIENCE: Duration = Duration::from_secs(1);

/// Queues of the threads that write and read. They end when this is dropped, or closed.
pub(super) struct Worker {
    name: String,
    /// Operations, and nothing as the last.
    jobs: Sender<Option<Box<dyn Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// Time at which the writer began what it is at; none while it waits.
    busy_since: Arc<Mutex<Option<Instant>>>,
    /// None for a database in memory, which has one connection.
    readers: Option<Readers>,
}

impl Worker {
    /// Starts the thread that writes, and those that read from the same file, if it is one.
    pub(super) fn start(connection: Connection, name: String, file: Option<PathBuf>) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let busy_since = Arc::new(Mutex::new(None));
        let writer = Writer { connection, queue, name: name.clone(), busy_since: busy_since.clone() };
        let thread = std::thread::Builder::new().name("millwork-state".to_owned());
        let thread = thread.spawn(move || until_it_ends(|| writer.serve()))?;
        let readers = file.map(|path| Readers::start(path, name.clone())).transpose()?;
        Ok(Self { name, jobs, thread: Some(thread).into(), busy_since, readers })
    }

    /// Does what it was asked before, then closes the connections. The last one to a database puts its log into the database file.
    pub(super) async fn close(&self) {
        let readers = self.readers.as_ref().map(Readers::end).unwrap_or_default();
        let writer = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let jobs = self.jobs.clone();
        let closed = tokio::task::spawn_blocking(move || {
            // The writer's connection is the last.
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

    /// Runs an operation that changes something, whole or not at all.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        let (job, answer) = job(true, work);
        self.jobs.send(Some(job)).map_err(|_| ended(&self.name))?;
        counted("write", answer.await.map_err(|_| ended(&self.name))?)
    }

    /// Refuses if the thread that writes is gone, or stuck.
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

/// Counts an operation by what came of it.
fn counted<T>(operation: &'static str, done: TrackingResult<T>) -> TrackingResult<T> {
    let outcome = match &done {
        Ok(_) => Outcome::Ok,
        Err(error) if error.can_pass() => Outcome::Failed,
        Err(_) => Outcome::Refused,
    };
    count("sqlite", operation, outcome);
    done
}

/// Runs what a thread of the store is for. Without it nothing that the process does can be right: a panic ends the process.
pub(super) fn until_it_ends(serve: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
        end_process(text_of(&*panic));
    }
}

/// Ends the process with its reason.
fn end_process(reason: &str) -> ! {
    tracing::error!(reason, "a thread of the store has died; the process ends, and its next start goes on");
    std::process::exit(1)
}

/// State of the thread that writes.
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
            // Reads need not wait for the fsync.
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

    /// Puts the log into the database file, and begins it anew if it has grown too long beside readers.
    fn shorten_log(&self) -> rusqlite::Result<()> {
        let pages = |mode: &str| -> rusqlite::Result<i64> {
            self.connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| row.get(1))
        };
        if pages("PASSIVE")? > MAX_LOG_PAGES {
            self.connection.busy_timeout(READER_PATIENCE)?;
            let begun = pages("RESTART");
            self.connection.busy_timeout(super::open::BUSY_TIMEOUT)?;
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

/// Writes all of a group, but for those operations that fail. On an error nothing of it is written.
fn write_group(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
    // Rolled back when it is dropped.
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
        // The writer is held up by the reader, for a while, which costs nothing else.
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
