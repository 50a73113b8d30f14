//! Runs whose end was missed: a listener's buffer is bounded, and other processes can end runs as well.

use chrono::{DateTime, SubsecRound, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState};
use millwork_scheduler::{EndedRun, RunResult};
use millwork_tracking::{Run, RunFilter, RunStore, TrackingResult};
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;

/// Page size for reading runs.
const PAGE: usize = 1000;

/// Runs that have ended since a time and were not reported yet, read from the store.
pub(crate) async fn unheard(
    store: &dyn RunStore,
    since: DateTime<Utc>,
    told: &HashSet<ManifestId>,
) -> TrackingResult<Vec<EndedRun>> {
    // The store keeps microseconds.
    let since = since.trunc_subsecs(6);
    let mut ended = Vec::new();
    for state in [RunState::Completed, RunState::Failed, RunState::Cancelled] {
        let mut filter = RunFilter { state: Some(state), limit: PAGE, ..RunFilter::default() };
        loop {
            let page = store.list_runs(&filter).await?;
            let is_new = |run: &Run| run.ended_at.is_some_and(|at| at >= since) && !told.contains(&run.manifest_id);
            for run in page.items.into_iter().filter(is_new) {
                // Listings contain no results, so that each run is read.
                ended.extend(store.run(&run.manifest_id).await?.and_then(as_ended));
            }
            match page.next_cursor {
                Some(cursor) => filter.cursor = Some(cursor),
                None => break,
            }
        }
    }
    Ok(ended)
}

/// End of a run, if it has ended.
fn as_ended(run: Run) -> Option<EndedRun> {
    let unreadable =
        |why: &dyn Display| Failure::new(FailureClass::Bug, format!("its output is there, and is unknown: {why}"));
    let unknown = || Failure::new(FailureClass::Bug, "it failed, and the store has no reason");
    let outcome = match run.state {
        RunState::Completed => {
            let result = RunResult::of(&run).map_err(|error| unreadable(&error));
            result.and_then(|result| result.map(Arc::new).ok_or_else(|| unreadable(&"the store has no result of it")))
        }
        RunState::Failed => Err(run.failure.unwrap_or_else(unknown)),
        RunState::Cancelled => {
            Err(run.failure.unwrap_or_else(|| Failure::new(FailureClass::Cancelled, "cancelled by request")))
        }
        _ => return None,
    };
    Some(EndedRun { manifest_id: run.manifest_id, outcome })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::{Manifest, ManifestFile};
    use millwork_tracking::QueuedManifest;

    #[tokio::test]
    async fn what_ended_without_a_word_is_found_in_the_store() {
        let place = tempfile::tempdir().unwrap();
        let store = millwork_tracking::open(&format!("sqlite:{}/state.db", place.path().display())).await.unwrap();
        let now = Utc::now();
        let ids: Vec<ManifestId> = ["before", "told", "unheard", "queued"].map(|id| id.parse().unwrap()).into();
        for (number, id) in ids.iter().enumerate() {
            let uri = format!("/in/2025-12-23-{number}.ndjson").parse().unwrap();
            let files = vec![ManifestFile { uri, size_bytes: None, etag: None, version_id: None }];
            let manifest = Manifest {
                id: id.clone(),
                date: "2025-12-23".parse().unwrap(),
                created_at: now,
                files,
                traceparents: Vec::new(),
            };
            let queued = QueuedManifest { manifest, uri: format!("/m/{number}.json") };
            assert!(store.submit(&queued, 0, now).await.unwrap());
        }
        let earlier = now - chrono::Duration::hours(1);
        for (id, at) in [(&ids[0], earlier), (&ids[1], now), (&ids[2], now)] {
            assert_eq!(store.cancel(id, at).await.unwrap(), RunState::Cancelled);
        }
        let found = unheard(&*store, now, &HashSet::from([ids[1].clone()])).await.unwrap();
        let found: Vec<_> =
            found.iter().map(|run| (&run.manifest_id, run.outcome.as_ref().unwrap_err().class)).collect();
        assert_eq!(found, [(&ids[2], FailureClass::Cancelled)]);
        store.close().await;
    }
}
