//! The threads that read, beside the one that writes.
//!
//! Each has a connection of its own, which cannot write. In WAL mode a reader sees what was committed before it began, and
//! neither waits for the writer nor holds it up. Whoever was told that a write is done finds it in whatever is read after
//! that: an operation is answered after its commit.

use super::job::Job;
use rusqlite::Connection;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// Limit of the reads that go on at once: 4. Lists, looks of the scheduler and a question after the store's health have one
/// each; every one keeps up to 2 MiB of the database in memory.
const READERS: usize = 4;

/// Queue of the threads that read. They end when this is dropped, or closed.
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

    /// Hands an operation on; false if the store is closed.
    pub(super) fn send(&self, job: Box<dyn Job>) -> bool {
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok())
    }

    /// Lets the threads end after what they were asked. Returns those that have to be waited for.
    pub(super) fn end(&self) -> Vec<JoinHandle<()>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner).take();
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Shared {
    /// Opens its connection when it is first needed: a short run has few reads.
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
        // A thread waits with the lock, the others for the lock.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
    }

    /// Reads what the database was at one moment. Returns the connection, unless it is not as it was.
    fn perform(&self, mut connection: Connection, mut job: Box<dyn Job>) -> Option<Connection> {
        let begun = connection.transaction().map(|transaction| {
            job.perform(&transaction);
            // There is nothing to be committed.
            drop(transaction);
        });
        let is_sound = begun.is_ok() && connection.is_autocommit();
        job.answer(&begun, &self.store);
        is_sound.then_some(connection)
    }
}
