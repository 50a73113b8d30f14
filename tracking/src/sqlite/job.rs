//! Operations that are sent to a thread, and their results.

use super::words::words;
use crate::{TrackingError, TrackingResult};
use rusqlite::Connection;
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use tokio::sync::oneshot;

/// Error within an operation.
pub(super) enum Problem {
    Sql(rusqlite::Error),
    Ours(TrackingError),
    /// The operation panicked. The message is in the log.
    Panic,
}

impl From<rusqlite::Error> for Problem {
    fn from(error: rusqlite::Error) -> Self {
        match &error {
            // An invalid value stays invalid, so that a retry does not help.
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

/// Result of an operation within its transaction.
pub(super) type Done<T> = Result<T, Problem>;

/// An operation that runs on a thread of the store.
pub(super) trait Job: Send {
    fn writes(&self) -> bool;
    /// Runs the operation; returns false if its changes are to be rolled back. A panic ends only the operation.
    fn perform(&mut self, connection: &Connection) -> bool;
    /// Sends the result, given the result of the transaction.
    fn answer(self: Box<Self>, committed: &rusqlite::Result<()>, store: &str);
}

struct Operation<T, F> {
    writes: bool,
    work: Option<F>,
    done: Option<Done<T>>,
    reply: oneshot::Sender<TrackingResult<T>>,
}

/// Creates an operation, and the receiver of its result.
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
        // A panic returns false, so that the caller rolls back its partial changes; nothing of the operation's own
        // state is used again.
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
        // The receiver may be gone.
        let _ = self.reply.send(result);
    }
}

/// Permanent error for an operation that panicked, since a retry would panic again.
fn panicked(store: &str) -> TrackingError {
    let message = "a defect of Millwork's ended the operation, of which nothing is stored; the log says more";
    TrackingError::Refused { store: store.to_owned(), message: message.to_owned() }
}

pub(super) fn ended(store: &str) -> TrackingError {
    TrackingError::Unavailable { store: store.to_owned(), message: "the store has been closed".to_owned() }
}

/// Runs the main function of a store thread. A panic there ends the process, since nothing works correctly without the
/// thread.
pub(super) fn until_it_ends(serve: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(serve)) {
        end_process(text_of(&*panic));
    }
}

/// Logs the reason and ends the process.
pub(super) fn end_process(reason: &str) -> ! {
    tracing::error!(reason, "a thread of the store has died; the process ends, and its next start goes on");
    std::process::exit(1)
}

/// Message of a panic.
fn text_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no message")
}
