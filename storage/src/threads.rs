//! Threads on which requests to buckets are made, for callers that block.

use crate::bucket::client_from_env;
use crate::{StorageError, StorageResult};
use aws_sdk_s3::Client;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, OnceLock};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::OnceCell;
use tokio::task::AbortHandle;

/// Number of cores per thread for requests: such a thread only decrypts and copies what the cores convert, and mostly
/// waits.
const CORES_PER_THREAD: usize = 4;

/// Number of cores that the process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Threads for requests, started with the first one. They have a client of their own: a connection stands still while
/// the runtime that opened it does, and callers may block theirs.
#[derive(Default)]
pub(crate) struct RequestThreads {
    runtime: OnceLock<io::Result<Runtime>>,
    client: Arc<OnceCell<Client>>,
}

impl RequestThreads {
    /// Threads that make their requests by this client.
    pub(crate) fn with_client(client: Client) -> Self {
        Self { runtime: OnceLock::new(), client: Arc::new(OnceCell::new_with(Some(client))) }
    }

    /// Starts work with the client, and does not wait for it.
    pub(crate) fn spawn<W>(&self, work: impl FnOnce(Client) -> W + Send + 'static) -> io::Result<AbortHandle>
    where
        W: Future<Output = ()> + Send,
    {
        let start = || {
            let threads = cores().div_ceil(CORES_PER_THREAD);
            Builder::new_multi_thread().worker_threads(threads).thread_name("millwork-io").enable_all().build()
        };
        let runtime = self.runtime.get_or_init(start).as_ref();
        let runtime = runtime.map_err(|e| io::Error::new(e.kind(), e.to_string()))?;
        let client = self.client.clone();
        // Work holds the client, and never the threads, which would then end on one of themselves.
        let spawned = runtime.spawn(async move {
            let client = client.get_or_init(client_from_env).await.clone();
            work(client).await;
        });
        Ok(spawned.abort_handle())
    }

    /// Starts work with the client; its result comes through the channel.
    pub(crate) fn start<T, W>(&self, work: impl FnOnce(Client) -> W + Send + 'static, done: Sender<T>) -> io::Result<()>
    where
        T: Send + 'static,
        W: Future<Output = T> + Send,
    {
        let started = self.spawn(|client| async move {
            // The receiver may be gone.
            let _ = done.send(work(client).await);
        });
        started.map(drop)
    }

    /// Does work with the client, and waits for it.
    pub(crate) fn wait<T, W>(&self, work: impl FnOnce(Client) -> W + Send + 'static) -> StorageResult<T>
    where
        T: Send + 'static,
        W: Future<Output = StorageResult<T>> + Send,
    {
        let (sender, receiver) = channel();
        let broken = |e: io::Error| StorageError::new("reach", "a bucket", e);
        self.start(work, sender).map_err(broken)?;
        receiver.recv().map_err(|e| broken(io::Error::other(e)))?
    }
}

impl Drop for RequestThreads {
    fn drop(&mut self) {
        // A task of another runtime may be what drops this: it must not wait.
        if let Some(Ok(runtime)) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn threads_end_wherever_they_are_dropped() {
        let client = client_from_env().await;
        let threads = RequestThreads::with_client(client);
        assert_eq!(threads.wait(|_| async { Ok(7) }).unwrap(), 7);
        drop(threads);
    }
}
