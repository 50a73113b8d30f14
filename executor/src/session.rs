//! An executor's time with one scheduler.

use crate::{Address, ExecutorOptions, work};
use ballista_executor::executor_server::TERMINATING;
use ballista_executor::health::ExecutorHealth;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;

/// How long its servers and connections may take to end.
const END: Duration = Duration::from_secs(1);
/// How long Ballista may take to notice a signal.
const NOTICE: Duration = Duration::from_secs(2);

/// Ballista's executor on threads of its own, so that nothing of it is left when it ends: no server, no task.
pub(crate) struct Session {
    runtime: Option<Runtime>,
    process: JoinHandle<anyhow::Result<()>>,
    health: ExecutorHealth,
}

impl Session {
    pub(crate) fn start(options: ExecutorOptions, scheduler: Address) -> anyhow::Result<Self> {
        let runtime = Builder::new_multi_thread().thread_name("millwork-session").enable_all().build()?;
        let health = ExecutorHealth::new();
        // Ballista's word for one that ends, which the session before has left behind.
        TERMINATING.store(false, Ordering::Release);
        // A scheduler refuses a name that it knows, and would wait for the tasks that it gave to its bearer.
        let millis = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
        let id = format!("{}-{millis:x}", options.id);
        let process = runtime.spawn(work(options, id, scheduler, health.clone()));
        Ok(Self { runtime: Some(runtime), process, health })
    }

    /// Waits until it ends by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Result<()> {
        (&mut self.process).await?
    }

    /// Waits until its tasks are done, after a signal that Ballista sees, too.
    pub(crate) async fn drain(&mut self) -> anyhow::Result<()> {
        if !self.health.is_ready() {
            // No scheduler knows it yet.
            return Ok(());
        }
        tokio::select! {
            ended = &mut self.process => return ended?,
            () = tokio::time::sleep(NOTICE) => {}
        }
        if TERMINATING.load(Ordering::Acquire) { self.ended().await } else { Ok(()) }
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
