//! Reader threads, beside the writer thread.
//!
//! Each has its own read-only connection. In WAL mode a reader sees everything committed before it began, and neither
//! waits for the writer nor blocks it. Writes are answered after their commit, so that a caller's later reads see its
//! earlier writes.

use super::job::Job;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Number of reader threads: 4, so that listings, the scheduler and health checks do not wait for each other. Each
/// caches up to 2 MiB of the database.
const READERS: usize = 4;

/// Queue of the reader threads, which end when this is dropped or closed.
pub(super) struct Readers {
    jobs: Mutex<Option<Sender<Box<dyn Job>>>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// State that the threads share.
struct Shared {
    path: PathBuf,
    store: String,
    queue: Mutex<Receiver<Box<dyn Job>>>,
}

impl Readers {
    pub(super) fn start(path: PathBuf, store: String) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let shared = Arc::new(Shared { path, store, queue: queue.into() });
        let thread = |_| {
            let shared = shared.clone();
            let thread = std::thread::Builder::new().name("millwork-state-read".to_owned());
            thread.spawn(move || super::worker::until_it_ends(|| shared.serve()))
        };
        let threads = (0..READERS).map(thread).collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { jobs: Mutex::new(Some(jobs)), threads: threads.into() })
    }

    /// Queues an operation; returns false if the store is closed.
    pub(super) fn send(&self, job: Box<dyn Job>) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Ends the threads after queued operations. Returns their handles, to wait for them.
    pub(super) fn end(&self) -> Vec<JoinHandle<()>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Serves operations. The connection is opened on first use, since a short run has few reads.
    fn serve(&self) {
        let mut connection = None;
        while let Some(job) = self.next() {
            let open = match connection.take() {
                Some(open) => Ok(open),
                None => super::open::reader(&self.path),
            };
            match open {
                Ok(open) => connection = self.perform(open, job),
                Err(error) => job.answer(&Err(error), &self.store),
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
        job.answer(&begun, &self.store);
        is_sound.then_some(connection)
    }
}
