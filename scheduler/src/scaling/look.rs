//! Load and speed, read from the store.

use super::record::{BYTES, EXECUTOR_MILLIS, SLOT_MILLIS};
use crate::sizes::{count_runs, known_bytes, sizes_of};
use chrono::{DateTime, Days, Utc};
use millwork_manifest::{DatePrefix, RunState};
use millwork_scaling::{ARRIVAL_WINDOW, Load, Measured, Speed, arrival_rate};
use millwork_tracking::{Run, RunFilter, TrackingResult, TrackingStore};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Page size for reading the newest runs: as many as arrive in ten minutes at 1,700 a day.
const PAGE: usize = 25;
/// Limit of the pages of the newest runs: 2,500 runs. With more, the arrival rate is underestimated, and the rest
/// counts as backlog.
const MAX_PAGES: usize = 100;
/// Interval of reading the work of executors.
const SPEED_INTERVAL: Duration = Duration::from_secs(60);
/// Number of days over which the speed of executors is measured.
const DAYS: u64 = 7;
/// Busy slot time that suffices to measure the speed, in seconds: an hour of one slot.
const ENOUGH_SECONDS: f64 = 3600.0;

/// Reader of a store's load.
pub(super) struct Look {
    store: Arc<dyn TrackingStore>,
    /// Slots per executor, used until any has worked.
    slots: f64,
    speed: Option<(Instant, Speed)>,
    /// Last time at which there was work; `None` in a process that has seen none yet.
    busy: Option<DateTime<Utc>>,
}

impl Look {
    pub(super) fn new(store: Arc<dyn TrackingStore>, slots: f64) -> Self {
        Self { store, slots, speed: None, busy: None }
    }

    /// Load and speed at a time.
    pub(super) async fn at(&mut self, now: DateTime<Utc>) -> TrackingResult<(Load, Speed)> {
        let speed = self.speed(now).await?;
        let counts = count_runs(&*self.store).await?;
        let mut load = Load::default();
        // Runs in commit need no executor any more.
        for count in counts.iter().filter(|count| count.state != RunState::Committing) {
            load.runs += count.runs;
            load.bytes = load.bytes.saturating_add(count.bytes);
            if count.state != RunState::Queued {
                load.active_runs += count.runs;
            }
            load.oldest = load.oldest.max(count.oldest.map(|at| since(at, now)).unwrap_or_default());
        }
        load.arrival = self.arrival(now).await?;
        if load.runs > 0 {
            self.busy = Some(now);
        }
        load.idle = self.busy.map_or(Duration::MAX, |at| since(at, now));
        Ok((load, speed))
    }

    /// Arrival rate of recent runs, in bytes per second.
    async fn arrival(&self, now: DateTime<Utc>) -> TrackingResult<f64> {
        let mut queued = Vec::new();
        let mut filter = RunFilter { limit: PAGE, ..RunFilter::default() };
        for _ in 0..MAX_PAGES {
            let page = self.store.list_runs(&filter).await?;
            let sizes = sizes_of(&page.items);
            let bytes = |run: &Run| known_bytes(run).unwrap_or_else(|| sizes.of(run.files));
            let ages = page.items.iter().map(|run| (since(run.created_at, now), bytes(run)));
            let before = queued.len();
            queued.extend(ages.filter(|(age, _)| *age < ARRIVAL_WINDOW));
            // Newest runs are listed first, so that all further ones are older.
            if queued.len() - before < page.items.len() || page.next_cursor.is_none() {
                break;
            }
            filter.cursor = page.next_cursor;
        }
        Ok(arrival_rate(queued))
    }

    /// Speed of executors, measured from their past work, cached for a minute.
    async fn speed(&mut self, now: DateTime<Utc>) -> TrackingResult<Speed> {
        if let Some((at, speed)) = self.speed
            && at.elapsed() < SPEED_INTERVAL
        {
            return Ok(speed);
        }
        let mut measured = Measured::default();
        for back in 0..DAYS {
            let Some(day) = now.date_naive().checked_sub_days(Days::new(back)) else { break };
            for metric in self.store.metrics(DatePrefix::from(day)).await? {
                match metric.metric_type.as_str() {
                    BYTES => measured.bytes += metric.value as f64,
                    SLOT_MILLIS => measured.slot_seconds += metric.value as f64 / 1e3,
                    EXECUTOR_MILLIS => measured.executor_seconds += metric.value as f64 / 1e3,
                    _ => {}
                }
            }
            if measured.slot_seconds >= ENOUGH_SECONDS {
                break;
            }
        }
        let speed = Speed::learnt(measured, self.slots);
        self.speed = Some((Instant::now(), speed));
        Ok(speed)
    }
}

/// Time between two moments; `None` if they are in the wrong order because of clock differences.
fn since(at: DateTime<Utc>, now: DateTime<Utc>) -> Duration {
    (now - at).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::SubsecRound;
    use millwork_manifest::{Manifest, ManifestFile, ManifestId};
    use millwork_scaling::START_SLOT_BYTES_PER_SECOND;
    use millwork_tracking::QueuedManifest;

    async fn store(directory: &tempfile::TempDir) -> Arc<dyn TrackingStore> {
        let path = directory.path().join("state.db");
        millwork_tracking::open(&format!("sqlite:{}", path.display())).await.unwrap()
    }

    fn queued(number: usize, bytes: impl Into<Option<u64>>, now: DateTime<Utc>) -> QueuedManifest {
        let file = ManifestFile {
            uri: format!("/in/2025-12-01-{number}.ndjson").parse().unwrap(),
            size_bytes: bytes.into(),
            etag: None,
            version_id: None,
        };
        let id: ManifestId = format!("m{number}").parse().unwrap();
        let date = "2025-12-01".parse().unwrap();
        let manifest = Manifest { id, date, created_at: now, files: vec![file], traceparents: Vec::new() };
        QueuedManifest { manifest, uri: format!("/manifests/m{number}.json") }
    }

    #[tokio::test]
    async fn a_store_that_nobody_has_worked_on_tells_the_load_and_the_start_speed() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        // The store keeps microseconds.
        let now = Utc::now().trunc_subsecs(6);
        let mut look = Look::new(store.clone(), 4.0);
        let (load, speed) = look.at(now).await.unwrap();
        assert_eq!((load.runs, load.idle), (0, Duration::MAX));
        assert_eq!((speed.slot_bytes_per_second, speed.slots), (START_SLOT_BYTES_PER_SECOND, 4.0));
        for number in 0..60 {
            store.submit(&queued(number, 1000, now), 0, now).await.unwrap();
        }
        let later = now + chrono::Duration::seconds(100);
        let (load, _) = look.at(later).await.unwrap();
        assert_eq!((load.runs, load.bytes, load.active_runs, load.arrival), (60, 60_000, 0, 0.0));
        assert_eq!((load.oldest, load.idle), (Duration::from_secs(100), Duration::ZERO));
    }

    #[tokio::test]
    async fn runs_whose_manifests_tell_no_sizes_count_as_others_do() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Utc::now().trunc_subsecs(6);
        store.submit(&queued(0, None, now), 0, now).await.unwrap();
        let mut look = Look::new(store.clone(), 4.0);
        assert_eq!(look.at(now).await.unwrap().0.bytes, millwork_scaling::FILE_BYTES as u64);
        for number in 1..4 {
            store.submit(&queued(number, 1000, now), 0, now).await.unwrap();
        }
        assert_eq!(look.at(now).await.unwrap().0.bytes, 4000);
        // Regular arrivals count as flow, even if their size is not known.
        for minute in 0..10 {
            let at = now - chrono::Duration::minutes(minute);
            store.submit(&queued(10 + minute as usize, None, at), 0, at).await.unwrap();
        }
        let (load, _) = look.at(now).await.unwrap();
        assert!(load.bytes == 14_000 && (10.0..20.0).contains(&load.arrival), "{load:?}");
    }

    #[tokio::test]
    async fn what_executors_did_is_known_to_a_process_that_comes_later() {
        let directory = tempfile::tempdir().unwrap();
        let store = store(&directory).await;
        let now = Utc::now();
        let day_before = now - chrono::Duration::days(2);
        let counts = [(BYTES, 50_000_000 * 14_400), (SLOT_MILLIS, 14_400_000), (EXECUTOR_MILLIS, 1_800_000)];
        store.count(&counts, day_before).await.unwrap();
        let (_, speed) = Look::new(store, 4.0).at(now).await.unwrap();
        assert!((50e6..53e6).contains(&speed.slot_bytes_per_second), "{speed:?}");
        assert!((7.9..8.0).contains(&speed.slots), "{speed:?}");
    }
}
