//! The state, opened by the one process that runs its manifests.

use anyhow::Context;
use chrono::{Duration, Utc};
use millwork_storage::absolute;
use millwork_tracking::{Lock, SqliteStore, TrackingError, TrackingStore};
use std::sync::Arc;

/// The lock of the process that runs things, where the store is shared by machines.
const LOCK: &str = "LOCK#runs";
/// How long it is held without being renewed.
const TTL_SECONDS: i64 = 30;
/// How often it is renewed.
const RENEW: std::time::Duration = std::time::Duration::from_secs(10);

/// Opens `sqlite:PATH` or `dynamodb:TABLE` to run manifests; refused while another process does.
///
/// A SQLite file is held by a lock of the system, which goes with the process. In DynamoDB a lock is renewed; a process
/// that loses it ends at once, so that there are never two.
pub async fn open_state(url: &str) -> anyhow::Result<Arc<dyn TrackingStore>> {
    if let Some(path) = url.strip_prefix("sqlite:") {
        anyhow::ensure!(!path.is_empty(), "--state is sqlite:PATH or dynamodb:TABLE");
        return Ok(Arc::new(SqliteStore::open_as_owner(&absolute(path.as_ref())?)?));
    }
    let store = millwork_tracking::open(url).await?;
    let holder = format!("{}", std::process::id());
    let lock = store.lock(LOCK, &holder, Duration::seconds(TTL_SECONDS), Utc::now()).await?;
    let lock = lock.with_context(|| TrackingError::InUse(url.to_owned()))?;
    tokio::spawn(hold(store.clone(), lock));
    Ok(store)
}

async fn hold(store: Arc<dyn TrackingStore>, mut lock: Lock) {
    loop {
        tokio::time::sleep(RENEW).await;
        match store.renew(&lock, Duration::seconds(TTL_SECONDS), Utc::now()).await {
            Ok(renewed) => lock = renewed,
            Err(error) if error.can_pass() && lock.expires_at > Utc::now() => {
                tracing::warn!(%error, "cannot renew the lock of the runs; trying again");
            }
            Err(error) => {
                tracing::error!(%error, "the lock of the runs is lost: another process may run them, so this one ends");
                std::process::exit(1);
            }
        }
    }
}
