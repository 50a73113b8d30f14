//! Operations on their way to the thread that does them, and back.

use super::open::words;
use crate::{TrackingError, TrackingResult};
use rusqlite::Connection;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// Error inside an operation.
pub(super) enum Problem {
    Sql(rusqlite::Error),
    Ours(TrackingError),
    /// The operation panicked. The text of the panic is in the log.
    Panic,
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

/// An operation on its way through a thread.
pub(super) trait Job: Send {
    fn writes(&self) -> bool;
    /// Does the work; false if what it changed is to be taken back. A panic ends the operation, and nothing else.
    fn perform(&mut self, connection: &Connection) -> bool;
    /// Tells the outcome, given what became of the transaction.
    fn answer(self: Box<Self>, committed: &rusqlite::Result<()>, store: &str);
}

struct Operation<T, F> {
    writes: bool,
    work: Option<F>,
    done: Option<Done<T>>,
    reply: oneshot::Sender<TrackingResult<T>>,
}

/// An operation, and where its outcome will be told.
pub(super) fn job<T: Send + 'static>(
    writes: bool,
    work: impl FnOnce(&Connection) -> Done<T> + Send + 'static,
) -> (Box<dyn Job>, oneshot::Receiver<TrackingResult<T>>) {
    let (reply, answer) = oneshot::channel();
    (Box::new(Operation { writes, work: Some(work), done: None, reply }), answer)
}

impl<T: Send, F: FnOnce(&Connection) -> Done<T> + Send> Job for Operation<T, F> {
    fn writes(&self) -> bool {
        self.writes
    }

    fn perform(&mut self, connection: &Connection) -> bool {
        // Changes that the panic leaves half-done in the database are rolled back by the caller, who sees false; of the operation's own
        // state nothing is used again.
        self.done = self.work.take().map(|work| {
            catch_unwind(AssertUnwindSafe(|| work(connection))).unwrap_or_else(|panic| {
                tracing::error!(
                    panic = text_of(&*panic),
                    "an operation of the store panicked; nothing of it is stored"
                );
                Err(Problem::Panic)
            })
        });
        matches!(self.done, Some(Ok(_)))
    }

    fn answer(self: Box<Self>, committed: &rusqlite::Result<()>, store: &str) {
        let unavailable =
            |e: &rusqlite::Error| TrackingError::Unavailable { store: store.to_owned(), message: words(e) };
        let result = match (self.done, committed) {
            (Some(Err(Problem::Ours(error))), _) => Err(error),
            (Some(Err(Problem::Sql(e))), _) => Err(unavailable(&e)),
            (Some(Err(Problem::Panic)), _) => Err(panicked(store)),
            (_, Err(e)) => Err(unavailable(e)),
            (Some(Ok(value)), Ok(())) => Ok(value),
            (None, Ok(())) => Err(ended(store)),
        };
        // Whoever asked may be gone.
        let _ = self.reply.send(result);
    }
}

/// Asked again, it would panic again.
fn panicked(store: &str) -> TrackingError {
    let message = "a defect of Millwork's ended the operation, of which nothing is stored; the log says more";
    TrackingError::Refused { store: store.to_owned(), message: message.to_owned() }
}

pub(super) fn ended(store: &str) -> TrackingError {
    TrackingError::Unavailable { store: store.to_owned(), message: "the store has been closed".to_owned() }
}

/// Text of a panic.
pub(super) fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a word")
}
