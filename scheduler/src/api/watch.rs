//! Gauges of trouble, updated once a minute by the leader: outputs that are committed and not published, unfinished
//! manifests, files that wait for long, ledgers that do not add up.

use crate::service::Service;
use chrono::{DateTime, TimeDelta, Utc};
use metrics::{counter, describe_counter, describe_gauge, gauge};
use millwork_manifest::RunState;
use millwork_tracking::{RunFilter, TrackingResult};
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// Least interval between queries of the store.
const LOOK: Duration = Duration::from_secs(60);
/// Least pause after a query, as a multiple of its duration.
const PAUSE_FACTOR: u32 = 20;
/// Limit of the committed runs that are read: the newest 1,000.
const MAX_COMMITTING: usize = 1000;
/// Age of an unfinished manifest from which the lock of its date counts as stuck: twice the longest time that a lock is
/// held without renewal.
const STUCK: TimeDelta = TimeDelta::seconds(600);

pub(super) fn describe() {
    let gauges = [
        ("millwork_commit_publish_pending", "Runs that are committed, and whose output is not shown yet"),
        (
            "millwork_commit_publish_pending_seconds",
            "How long ago the oldest of them was committed; 0 if there is none",
        ),
        (
            "millwork_stuck_locks",
            "Dates at which a manifest was begun ten minutes ago or earlier and nobody has finished it",
        ),
        (
            "millwork_oldest_pending_file_seconds",
            "How long ago the oldest file arrived that waits for a manifest; 0 if none waits",
        ),
        ("millwork_dead_letters", "Messages that could never be processed, in the dead-letter queue of this queue"),
        ("millwork_queue_messages", "Messages that wait in a queue or are being handled, by queue"),
    ];
    gauges.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    describe_counter!(
        "millwork_ledger_mismatch_total",
        "Attempts whose lines did not add up: nothing of them was committed"
    );
    counter!("millwork_ledger_mismatch_total").increment(0);
}

/// Updates the gauges until the process ends, while it is the leader.
pub(super) async fn look_often(service: Service) {
    let mut due = Instant::now();
    loop {
        if service.leader().is_some() && due <= Instant::now() {
            let began = Instant::now();
            if let Err(error) = look(&service, Utc::now()).await {
                tracing::warn!(%error, "cannot look for what is stuck; trying again");
            }
            due = Instant::now() + LOOK.max(began.elapsed() * PAUSE_FACTOR);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
}

async fn look(service: &Service, now: DateTime<Utc>) -> TrackingResult<()> {
    let store = service.store();
    let age = |at: Option<DateTime<Utc>>| at.map_or(0.0, |at| (now - at).as_seconds_f64().max(0.0));
    let state = Some(RunState::Committing);
    let filter = RunFilter { state, limit: MAX_COMMITTING, ..RunFilter::default() };
    let committing = store.list_runs(&filter).await?.items;
    gauge!("millwork_commit_publish_pending").set(committing.len() as f64);
    let oldest = committing.iter().filter_map(|run| run.committed_at).min();
    gauge!("millwork_commit_publish_pending_seconds").set(age(oldest));
    let unfinished = store.drafts(now - STUCK).await?;
    let dates: BTreeSet<_> = unfinished.iter().map(|draft| draft.manifest.date).collect();
    gauge!("millwork_stuck_locks").set(dates.len() as f64);
    let oldest = store.backlogs().await?.into_iter().filter_map(|(_, backlog)| backlog.oldest_pending).min();
    gauge!("millwork_oldest_pending_file_seconds").set(age(oldest));
    Ok(())
}
