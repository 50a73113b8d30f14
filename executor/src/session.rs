//! An executor's time with one scheduler.

use crate::process::work;
use crate::{Address, ExecutorOptions};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How long its servers and connections may take to end.
const END: Duration = Duration::from_secs(1);

/// Ballista's executor on threads of its own, so that nothing of it is left when it ends: no server, no task.
pub(crate) struct Session {
    runtime: Option<Runtime>,
    process: JoinHandle<anyhow::Result<()>>,
    stop: Arc<Notify>,
}

impl Session {
    pub(crate) fn start(options: ExecutorOptions, scheduler: Address) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("millwork-session").enable_all().build()?;
        // A scheduler refuses a name that it knows, and would wait for the tasks that it gave to its bearer.
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = format!("{}-{millis:x}", options.id);
        let stop = Arc::new(Notify::new());
        let told = stop.clone();
        let process = runtime.spawn(work(options, name, scheduler, async move { told.notified().await }));
        Ok(Self { runtime: Some(runtime), process, stop })
    }

    /// Takes no more tasks from now on. The scheduler ends it when nothing more is wanted of it.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.process).await?
    }

    /// Ends it, and its tasks with it.
    pub(crate) async fn end(mut self) {
        if let Some(runtime) = self.runtime.take() {
            // That it is over does not depend on it.
            let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END)).await;
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
