//! Totals that are too expensive to compute on request: kept current in the background, and served with their time.

use super::dates::sums;
use super::metrics;
use super::schedulers::{Presence, SHOW};
use super::throughput::Throughput;
use super::totals::{Counted, Known};
use crate::changes::EndedRun;
use crate::service::Service;
use crate::shell::Scheduler;
use crate::sizes;
use chrono::{DateTime, Utc};
use millwork_process::Metrics;
use millwork_tracking::numbers::{CAPACITY, LEARNT};
use millwork_tracking::{Sample, Span};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

/// Interval between updates.
const INTERVAL: Duration = Duration::from_secs(3);
/// Least interval between reads of the file totals: each reads an item per date.
const FILES_INTERVAL: Duration = Duration::from_secs(5);
/// Age from which totals are counted again before they are shown: several updates have been left out, since nobody asked.
const OLD: chrono::Duration = chrono::Duration::seconds(10);
/// Time for which an answer waits for that count.
const FRESH_TIME: Duration = Duration::from_secs(1);
/// Least pause after a count, as a multiple of its duration: large counts are repeated rarely.
const PAUSE_FACTOR: u32 = 20;

/// Time from which a value is due to be counted again.
struct Pace {
    interval: Duration,
    due: Mutex<Instant>,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self { interval, due: Mutex::new(Instant::now()) }
    }

    fn is_due(&self) -> bool {
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) <= Instant::now()
    }

    /// Notes that the value was counted, with the duration of the count.
    fn counted(&self, took: Duration) {
        let pause = self.interval.max(took * PAUSE_FACTOR);
        *self.due.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now() + pause;
    }
}

/// The totals, and the state of their background updates.
pub(super) struct Numbers {
    service: Service,
    pub(super) started: Instant,
    pub(super) started_at: DateTime<Utc>,
    known: Mutex<Known>,
    /// True if the totals were requested since the last update.
    asked: AtomicBool,
    runs_pace: Pace,
    files_pace: Pace,
    /// Start of the count of files that is going on.
    counting_files: Mutex<Option<Instant>>,
    /// Wakes the updates before their next turn.
    wake: Notify,
    /// Changes after each count.
    updates: watch::Sender<()>,
}

impl Numbers {
    pub(super) fn new(service: Service) -> Self {
        let (runs_pace, files_pace) = (Pace::new(Duration::ZERO), Pace::new(FILES_INTERVAL));
        let started_at = Utc::now();
        Self {
            service,
            started: Instant::now(),
            started_at,
            known: Mutex::default(),
            asked: true.into(),
            runs_pace,
            files_pace,
            counting_files: Mutex::default(),
            wake: Notify::new(),
            updates: watch::Sender::new(()),
        }
    }

    /// Current totals.
    pub(super) fn known(&self) -> Known {
        self.lock().clone()
    }

    /// Current totals. Those that are updated only on demand are kept current while this is called.
    pub(super) fn ask(&self) -> Known {
        self.asked.store(true, Ordering::Relaxed);
        self.known()
    }

    /// Waits for totals of now if nobody has asked for long, so that the first answer after that is not an old one. A
    /// state whose count takes longer is answered with the last one.
    pub(super) async fn await_fresh(&self) {
        let mut updates = self.updates.subscribe();
        if !self.is_old() {
            return;
        }
        self.asked.store(true, Ordering::Relaxed);
        self.wake.notify_one();
        let fresh = async { while self.is_old() && updates.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(FRESH_TIME, fresh).await;
    }

    /// Tells whether totals are old though they may be counted again: those that take long to count are older.
    fn is_old(&self) -> bool {
        let known = self.lock();
        let is_old = |at: Option<DateTime<Utc>>| at.is_none_or(|at| Utc::now() - at > OLD);
        let runs = is_old(known.runs.as_ref().map(|counted| counted.at)) && self.runs_pace.is_due();
        let files = is_old(known.files.as_ref().map(|counted| counted.at)) && self.files_pace.is_due();
        // A count that has taken longer than answers wait is not waited for again.
        let counting = *self.counting_files.lock().unwrap_or_else(PoisonError::into_inner);
        runs || files && counting.is_none_or(|since| since.elapsed() < FRESH_TIME)
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the totals current, without end.
    pub(super) async fn keep_current(self: Arc<Self>, handle: Metrics, mut presence: Presence) {
        let mut shown: Option<Instant> = None;
        let mut throughput = Throughput::default();
        let mut seen = 0;
        let mut counting: Option<JoinHandle<()>> = None;
        let mut last = Instant::now();
        loop {
            let leader = self.service.leader();
            if shown.is_none_or(|at| at.elapsed() >= SHOW) || presence.has_news(&self.service) {
                shown = Some(Instant::now());
                presence.show(&self.service).await;
                self.look_back().await;
            }
            let asked = self.asked.swap(false, Ordering::Relaxed);
            let had_work = !self.lock().counts().is_empty();
            if (leader.is_some() || asked) && self.runs_pace.is_due() {
                self.count_runs().await;
            }
            let is_counting = counting.as_ref().is_some_and(|counting| !counting.is_finished());
            if asked && !is_counting && self.files_pace.is_due() {
                // Counting files may take long, so that other totals do not wait for it.
                counting = Some(tokio::spawn(self.clone().count_files()));
            }
            if let Some(scheduler) = leader {
                self.look_at(scheduler).await;
            }
            let (elapsed, now) = (last.elapsed().as_secs_f64(), Instant::now());
            last = now;
            let known = {
                let mut known = self.lock();
                let converted = known.input_bytes - seen;
                seen = known.input_bytes;
                if had_work || converted > 0 {
                    throughput.add(elapsed, converted);
                }
                known.bytes_per_second = throughput.bytes_per_second();
                known.clone()
            };
            metrics::show(&known, leader.is_some());
            handle.keep_small();
            tokio::select! {
                () = tokio::time::sleep(INTERVAL) => {}
                () = self.wake.notified() => {}
            }
        }
    }

    async fn count_runs(&self) {
        let began = Instant::now();
        match sizes::count_runs(&**self.service.store()).await {
            Ok(values) => {
                self.lock().runs = Some(Counted { at: Utc::now(), values });
                self.runs_pace.counted(began.elapsed());
            }
            Err(error) => {
                tracing::warn!(%error, "cannot count the runs; trying again");
                self.runs_pace.counted(began.elapsed().max(INTERVAL));
            }
        }
        self.updates.send_replace(());
    }

    async fn count_files(self: Arc<Self>) {
        let began = Instant::now();
        *self.counting_files.lock().unwrap_or_else(PoisonError::into_inner) = Some(began);
        match self.service.store().date_totals(None, None).await.map(|dates| sums(&dates).into_iter().collect()) {
            Ok(values) => self.lock().files = Some(Counted { at: Utc::now(), values }),
            Err(error) => tracing::warn!(%error, "cannot count the files; trying again"),
        }
        *self.counting_files.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.files_pace.counted(began.elapsed());
        self.updates.send_replace(());
    }

    /// Reads the leader's measured capacity, and the arrivals of the last hour.
    async fn look_back(&self) {
        let (store, now) = (self.service.store(), Utc::now());
        match store.notes(CAPACITY, now).await {
            Ok(notes) => {
                let learnt = notes.into_iter().find(|note| note.name == LEARNT);
                self.lock().capacity = learnt.and_then(|note| serde_json::from_value(note.value).ok());
            }
            Err(error) => tracing::debug!(%error, "cannot read the capacity that was learnt"),
        }
        match store.samples(Span::Minute, now - chrono::Duration::hours(1), now).await {
            Ok(samples) => self.lock().arrival = arrival(&samples, now),
            Err(error) => tracing::debug!(%error, "cannot read what came in the last hour"),
        }
    }

    async fn look_at(&self, scheduler: &Scheduler) {
        let engine = scheduler.engine();
        let (executors, tasks) = (engine.executors(), engine.used_slots());
        let mut known = self.lock();
        known.executors = executors.len() as u64;
        known.slots = executors.iter().map(|executor| u64::from(executor.vcores)).sum();
        known.tasks = tasks;
    }

    /// Adds up the results of completed runs, from the moment at which this process became the leader.
    pub(super) async fn add_up(self: Arc<Self>, mut ended: Receiver<EndedRun>) {
        loop {
            match ended.recv().await {
                Ok(EndedRun { outcome: Ok(result), .. }) => {
                    let mut known = self.lock();
                    known.input_bytes += result.input_bytes;
                    known.output_bytes += result.output_bytes;
                    known.rows += result.rows;
                }
                Ok(_) => {}
                Err(RecvError::Lagged(missed)) => tracing::warn!(missed, "ended runs are missing in the sums"),
                Err(RecvError::Closed) => return,
            }
        }
    }
}

/// Arrival rate in bytes per second: the lower and the higher of those of the last ten minutes and of all these
/// samples.
fn arrival(samples: &[Sample], now: DateTime<Utc>) -> Option<(f64, f64)> {
    let of = |samples: &mut dyn Iterator<Item = &Sample>| {
        let (bytes, seconds) = samples.fold((0.0, 0.0), |(bytes, seconds), sample| {
            (bytes + sample.arrived_bytes as f64, seconds + sample.watched_seconds)
        });
        (seconds > 0.0).then(|| bytes / seconds)
    };
    let late = (now - chrono::Duration::minutes(10)).timestamp();
    let all = of(&mut samples.iter())?;
    let last = of(&mut samples.iter().filter(|sample| sample.at >= late)).unwrap_or(all);
    Some((all.min(last), all.max(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_have_a_range() {
        let now = DateTime::from_timestamp(36_000, 0).unwrap();
        let sample = |minutes: i64, arrived_bytes| Sample {
            at: 36_000 - 60 * minutes,
            watched_seconds: 60.0,
            arrived_bytes,
            ..Sample::default()
        };
        assert_eq!(arrival(&[], now), None);
        assert_eq!(arrival(&[sample(30, 600), sample(5, 1800)], now), Some((20.0, 30.0)));
        assert_eq!(arrival(&[sample(30, 600)], now), Some((10.0, 10.0)));
    }

    #[test]
    fn what_takes_long_is_counted_rarely() {
        let pace = Pace::new(Duration::ZERO);
        assert!(pace.is_due());
        pace.counted(Duration::ZERO);
        assert!(pace.is_due());
        pace.counted(Duration::from_secs(1));
        assert!(!pace.is_due());
    }
}
