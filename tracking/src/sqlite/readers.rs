//! Reader threads, beside the writer thread.
//!
//! Each has its own read-only connection. In WAL mode a reader sees everything committed before it began, and neither
//! waits for the writer nor blocks it. Writes are answered after their commit, so that a caller's later reads see its
//! earlier writes.

use super::connection;
use super::job::{Job, until_it_ends};
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Limit of the reader threads: 4, so that listings, the scheduler and health checks do not wait for each other. Each
/// caches up to 2 MiB of the database.
const READERS: usize = 4;

/// Queue of the reader threads, which end when this is dropped or closed.
///
/// Threads beyond the first are started while all others are busy: each opens a connection, which takes milliseconds, and
/// a short run reads one thing after the other.
pub(super) struct Readers {
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    shared: Arc<Shared>,
}

/// State that the threads share.
struct Shared {
    path: PathBuf,
    store: String,
    queue: Mutex<Receiver<Box<dyn Job>>>,
    /// Number of idle threads without the queued operations; negative if more are queued.
    idle: AtomicIsize,
}

impl Readers {
    pub(super) fn start(path: PathBuf, store: String) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared { path, store, queue: queue.into(), idle: AtomicIsize::new(0) });
        let first = shared.start_thread()?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), threads: vec![first].into(), shared })
    }

    /// Queues an operation; returns false if the store is closed.
    pub(super) fn send(&self, job: Box<dyn Job>) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(jobs) = &*jobs else { return false };
        let is_busy = self.shared.idle.fetch_sub(1, Ordering::Relaxed) <= 0;
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        if is_busy && threads.len() < READERS {
            match self.shared.start_thread() {
                Ok(thread) => threads.push(thread),
                Err(error) => tracing::debug!(%error, "no further thread reads the state; the operation waits"),
            }
        }
        jobs.send(job).is_ok()
    }

    /// Ends the threads after queued operations. Returns their handles, to wait for them.
    pub(super) fn end(&self) -> Vec<JoinHandle<()>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Starts a thread, which is idle at first.
    fn start_thread(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        let thread = std::thread::Builder::new().name("millwork-state-read".to_owned());
        let shared = self.clone();
        let started = thread.spawn(move || until_it_ends(|| shared.serve()))?;
        self.idle.fetch_add(1, Ordering::Relaxed);
        Ok(started)
    }

    /// Serves operations. The connection is opened on first use, since a short run has few reads.
    fn serve(&self) {
        let mut connection = None;
        while let Some(job) = self.next() {
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => connection::reader(&self.path),
            };
            match open {
                Ok(open) => connection = self.perform(open, job),
                Err(error) => self.answer(job, &Err(error)),
            }
        }
    }

    fn next(&self) -> Option<Box<dyn Job>> {
        // The thread that waits for an operation holds the lock; the others wait for the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    /// Runs a read in one snapshot. Returns the connection, unless it is no longer clean.
    fn perform(&self, mut connection: Connection, mut job: Box<dyn Job>) -> Option<Connection> {
        let begun = connection.transaction().map(|transaction| {
            job.perform(&transaction);
            // Nothing has to be committed.
            drop(transaction);
        });
        let is_sound = begun.is_ok() && connection.is_autocommit();
        self.answer(job, &begun);
        is_sound.then_some(connection)
    }

    /// Answers an operation. The thread counts as idle from before that, so that the next operation of whoever waited for
    /// the answer needs no other thread.
    fn answer(&self, job: Box<dyn Job>, begun: &rusqlite::Result<()>) {
        self.idle.fetch_add(1, Ordering::Relaxed);
        job.answer(begun, &self.store);
    }
}

#[cfg(test)]
mod tests {
    use super::super::job::job;
    use super::*;
    use std::sync::Barrier;
    use tokio::sync::oneshot::Receiver;

    fn readers(root: &tempfile::TempDir) -> Readers {
        let path = root.path().join("state.db");
        Connection::open(&path).unwrap();
        Readers::start(path, "state".to_owned()).unwrap()
    }

    /// Queues operations that wait for each other, so many at once.
    fn meet(readers: &Readers, count: usize) -> Vec<Receiver<crate::TrackingResult<()>>> {
        let barrier = Arc::new(Barrier::new(count));
        let send = |_| {
            let barrier = barrier.clone();
            let (job, answer) = job(false, move |_| {
                barrier.wait();
                Ok(())
            });
            assert!(readers.send(job));
            answer
        };
        (0..count).map(send).collect()
    }

    #[test]
    fn one_after_the_other_needs_one_thread_and_at_once_as_many_as_there_may_be() {
        let root = tempfile::tempdir().unwrap();
        let readers = readers(&root);
        let threads = || readers.threads.lock().unwrap().len();
        for _ in 0..50 {
            meet(&readers, 1).remove(0).blocking_recv().unwrap().unwrap();
        }
        assert_eq!(threads(), 1);
        for answer in meet(&readers, READERS) {
            answer.blocking_recv().unwrap().unwrap();
        }
        assert_eq!(threads(), READERS);
        // Beyond that, operations wait for their turn.
        for answer in (0..3 * READERS).flat_map(|_| meet(&readers, 1)) {
            answer.blocking_recv().unwrap().unwrap();
        }
        assert_eq!(threads(), READERS);
        readers.end().into_iter().for_each(|thread| thread.join().unwrap());
        assert!(!readers.send(job(false, |_| Ok(())).0));
    }
}
