//! Sweep of leftovers of crashes: attempts' private files and open uploads in the output, and files of submissions that
//! never got a run.
//!
//! A failed attempt removes its files, and each start of an attempt those of earlier ones. What remains belongs to
//! runs that ended while one of their tasks was still running, and to attempts whose scheduler died. Active runs are
//! skipped; a run that becomes active meanwhile starts an attempt with a higher number, whose files are not removed.

use super::{Shell, blocking};
use chrono::Utc;
use millwork_manifest::ManifestId;
use millwork_storage::StorageResult;
use millwork_tracking::TrackingResult;
use std::sync::Arc;
use std::time::Duration;

/// Time until the first sweep, and interval between sweeps.
const FIRST: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_secs(300);

/// Upper bound of the duration of a submission.
const SUBMISSION: chrono::Duration = chrono::Duration::minutes(10);

/// Variable that overrides both times, for tests.
const SECONDS: &str = "MILLWORK_SWEEP_SECONDS";

pub(super) async fn sweep_at_intervals(shell: Arc<Shell>) {
    let set = std::env::var(SECONDS).ok().and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let (first, interval) = set.map_or((FIRST, INTERVAL), |set| (set, set));
    let mut wait = first;
    loop {
        tokio::select! {
            () = shell.deposed.cancelled() => return,
            () = shell.mail.closed() => return,
            () = tokio::time::sleep(wait) => {}
        }
        wait = interval;
        shell.sweep().await;
    }
}

impl Shell {
    async fn sweep(&self) {
        self.release_abandoned().await;
        let (storage, output) = (self.storage().clone(), self.output.clone());
        let staged: StorageResult<Vec<String>> = match blocking(move || storage.staged_manifests(&output)).await {
            Ok(staged) => staged,
            Err(error) => return tracing::warn!(%error, "the sweep broke off"),
        };
        let staged = match staged {
            Ok(staged) => staged,
            Err(error) => return tracing::warn!(%error, "cannot look for what dead attempts left"),
        };
        for name in staged {
            // Other directories here are not Millwork's, and are left alone.
            let Ok(id) = name.parse::<ManifestId>() else { continue };
            match self.over_after(&id).await {
                Ok(None) => {}
                Ok(Some(attempts)) => {
                    let staging = self.staging(&id, attempts);
                    match blocking(move || staging.clear()).await {
                        Ok(Ok(())) => tracing::info!(manifest = %id, "removed what dead attempts left"),
                        Ok(Err(error)) => {
                            tracing::warn!(manifest = %id, %error, "cannot remove what dead attempts left")
                        }
                        Err(error) => tracing::warn!(manifest = %id, %error, "the sweep broke off"),
                    }
                }
                Err(error) => tracing::warn!(manifest = %id, %error, "cannot ask whether a run is over"),
            }
        }
    }

    /// Releases the files of abandoned submissions.
    async fn release_abandoned(&self) {
        let now = Utc::now();
        match self.store.release_abandoned(now - SUBMISSION, now).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(files, "put back files that were left in a manifest without a run"),
            Err(error) => tracing::warn!(%error, "cannot look for files of submissions that died"),
        }
    }

    /// Number of attempts of a run that has ended: their private files are no longer needed. `None` if it has not
    /// ended.
    async fn over_after(&self, id: &ManifestId) -> TrackingResult<Option<u32>> {
        if self.runs.has(id) {
            return Ok(None);
        }
        let run = self.store.run_head(id).await?;
        Ok(run.filter(|run| run.state.is_final()).map(|run| run.attempts))
    }
}
