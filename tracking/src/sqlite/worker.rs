//! The thread that holds the connection.

use crate::{TrackingError, TrackingResult};
use rusqlite::{Connection, TransactionBehavior};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use tokio::sync::oneshot;

/// How many operations share a transaction at most.
const MAX_GROUP: usize = 256;

/// What can go wrong inside an operation.
pub(super) enum Problem {
    Sql(rusqlite::Error),
    Ours(TrackingError),
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            // A value that is not valid stays so, however often it is read.
            rusqlite::Error::FromSqlConversionFailure(_, _, source) => match source.downcast_ref::<TrackingError>() {
                Some(ours) => Self::Ours(ours.clone()),
                None => Self::Sql(error),
            },
            _ => Self::Sql(error),
        }
    }
}

impl From<TrackingError> for Problem {
    fn from(error: TrackingError) -> Self {
        Self::Ours(error)
    }
}

/// The result of an operation inside its transaction.
pub(super) type Done<T> = Result<T, Problem>;

/// The way to the thread. It ends when this is dropped, or closed.
pub(super) struct Worker {
    name: String,
    /// Operations, and nothing as the last.
    jobs: Sender<Option<Box<dyn Job>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// An operation on its way through the thread.
trait Job: Send {
    fn writes(&self) -> bool;
    /// Does the work; false if what it changed is to be taken back.
    fn perform(&mut self, connection: &Connection) -> bool;
    /// Tells the outcome, given what became of the transaction.
    fn answer(self: Box<Self>, committed: &rusqlite::Result<()>, name: &str);
}

struct Operation<T, F> {
    writes: bool,
    work: Option<F>,
    done: Option<Done<T>>,
    reply: oneshot::Sender<TrackingResult<T>>,
}

impl<T: Send, F: FnOnce(&Connection) -> Done<T> + Send> Job for Operation<T, F> {
    fn writes(&self) -> bool {
        self.writes
    }

    fn perform(&mut self, connection: &Connection) -> bool {
        self.done = self.work.take().map(|work| work(connection));
        matches!(self.done, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: &rusqlite::Result<()>, name: &str) {
        let unavailable =
            |e: &rusqlite::Error| TrackingError::Unavailable { store: name.to_owned(), message: e.to_string() };
        let result = match (self.done, committed) {
            (Some(Err(Problem::Ours(error))), _) => Err(error),
            (Some(Err(Problem::Sql(e))), _) => Err(unavailable(&e)),
            (_, Err(e)) => Err(unavailable(e)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(ended(name)),
        };
        // Whoever asked may be gone.
        let _ = self.reply.send(result);
    }
}

fn ended(name: &str) -> TrackingError {
    TrackingError::Unavailable { store: name.to_owned(), message: "the store has been closed".to_owned() }
}

impl Worker {
    pub(super) fn start(connection: Connection, name: String) -> std::io::Result<Self> {
        let (jobs, queue) = channel();
        let of = name.clone();
        let thread = std::thread::Builder::new().name("millwork-state".to_owned());
        let thread = thread.spawn(move || serve(connection, &queue, &of))?;
        Ok(Self { name, jobs, thread: Some(thread).into() })
    }

    /// Does what it was asked before, then closes the connection. The last one to a database puts its log into the database file.
    pub(super) async fn close(&self) {
        let _ = self.jobs.send(None);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            let _ = tokio::task::spawn_blocking(move || thread.join()).await;
        }
    }

    /// Runs an operation that only reads.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        self.send(false, work).await
    }

    /// Runs an operation that changes something, whole or not at all.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        self.send(true, work).await
    }

    async fn send<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
    ) -> TrackingResult<T> {
        let (reply, answer) = oneshot::channel();
        let job = Operation { writes, work: Some(work), done: None, reply };
        self.jobs.send(Some(Box::new(job))).map_err(|_| ended(&self.name))?;
        answer.await.map_err(|_| ended(&self.name))?
    }
}

fn serve(mut connection: Connection, queue: &Receiver<Option<Box<dyn Job>>>, name: &str) {
    let mut is_open = true;
    while is_open && let Ok(Some(first)) = queue.recv() {
        let others = queue.try_iter().take(MAX_GROUP - 1).map_while(|job| {
            is_open = job.is_some();
            job
        });
        let group = std::iter::once(first).chain(others);
        let (mut writes, reads): (Vec<_>, Vec<_>) = group.partition(|job| job.writes());
        // Reads need not wait for the fsync.
        for mut job in reads {
            job.perform(&connection);
            job.answer(&Ok(()), name);
        }
        let committed = if writes.is_empty() { Ok(()) } else { write_group(&mut connection, &mut writes) };
        for job in writes {
            job.answer(&committed, name);
        }
    }
}

fn write_group(connection: &mut Connection, jobs: &mut [Box<dyn Job>]) -> rusqlite::Result<()> {
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
