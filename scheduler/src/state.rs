//! The state, opened by the one process that runs its manifests.

use anyhow::Context;
use chrono::{Duration, Utc};
use millwork_storage::absolute;
use millwork_tracking::{Lock, SqliteStore, TrackingError, TrackingStore};
use std::sync::Arc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The lock of the process that runs things, where the store is shared by machines.
const LOCK: &str = "LOCK#runs";
/// How long it is held without being renewed.
const TTL_SECONDS: i64 = 30;
/// How long before its end this process ends if it could not renew it.
const MARGIN_SECONDS: i64 = 5;
/// How often it is renewed.
const RENEW: std::time::Duration = std::time::Duration::from_secs(10);

/// A state that this process runs.
pub struct State {
    /// The store.
    pub store: Arc<dyn TrackingStore>,
    /// Ends the renewing of the lock, and the task that does it.
    renewing: Option<(CancellationToken, JoinHandle<()>)>,
}

impl State {
    /// Opens `sqlite:PATH` or `dynamodb:TABLE` to run manifests; refused while another process does.
    ///
    /// A SQLite file is held by a lock of the system, which goes with the process. In DynamoDB a lock is renewed; a
    /// process that loses it ends at once, so that there are never two.
    pub async fn open(url: &str) -> anyhow::Result<Self> {
        if let Some(path) = url.strip_prefix("sqlite:") {
            anyhow::ensure!(!path.is_empty(), "a state is sqlite:PATH or dynamodb:TABLE");
            let store = Arc::new(SqliteStore::open_as_owner(&absolute(path.as_ref())?)?);
            return Ok(Self { store, renewing: None });
        }
        let store = millwork_tracking::open(url).await?;
        let holder = format!("process {}", std::process::id());
        let lock = store.lock(LOCK, &holder, Duration::seconds(TTL_SECONDS), Utc::now()).await?;
        let lock = lock.with_context(|| TrackingError::InUse(url.to_owned()))?;
        let done = CancellationToken::new();
        let task = tokio::spawn(hold(store.clone(), lock, done.clone()));
        Ok(Self { store, renewing: Some((done, task)) })
    }

    /// Lets others have it. A process that dies without doing so holds it until the lock's time is over.
    pub async fn close(self) {
        if let Some((done, task)) = self.renewing {
            done.cancel();
            // The lock ends by itself, too.
            let _ = task.await;
        }
    }
}

async fn hold(store: Arc<dyn TrackingStore>, mut lock: Lock, done: CancellationToken) {
    loop {
        tokio::select! {
            () = done.cancelled() => {
                if let Err(error) = store.unlock(&lock).await {
                    tracing::warn!(%error, "cannot let go of the lock of the runs: it ends by itself");
                }
                return;
            }
            () = tokio::time::sleep(RENEW) => {}
        }
        // An answer that comes when the lock has ended is of no use.
        let left = (lock.expires_at - Utc::now() - Duration::seconds(MARGIN_SECONDS)).to_std().unwrap_or_default();
        let renewing = store.renew(&lock, Duration::seconds(TTL_SECONDS), Utc::now());
        let lost = match tokio::time::timeout(left, renewing).await {
            Ok(Ok(renewed)) => {
                lock = renewed;
                continue;
            }
            Ok(Err(error)) if error.can_pass() => {
                tracing::warn!(%error, "cannot renew the lock of the runs; trying again");
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "the store does not answer".to_owned(),
        };
        tracing::error!(error = lost, "the lock of the runs is lost: another process may run them, so this one ends");
        std::process::exit(1);
    }
}
