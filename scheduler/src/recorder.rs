//! Recorder of time series, run by the leader: arrivals, conversions, backlog, and the speed of a busy slot.
//!
//! | crash | what is missing |
//! |---|---|
//! | at any time | what happened since the last write, ten seconds at most |
//! | until a later restart | the time in between: samples tell how much of their span was observed |
//!
//! The next leader continues the current samples of the minute and the hour, and the measured rate.

use crate::changes::EndedRun;
use crate::engine::Engine;
use crate::sizes;
use chrono::{DateTime, Utc};
use millwork_manifest::FailureClass;
use millwork_tracking::numbers::{CAPACITY, COUNTED, LEARNT, TOTALS};
use millwork_tracking::{Capacity, FileTotal, Note, Sample, Span, TrackingResult, TrackingStore};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use tokio_util::sync::CancellationToken;

/// Interval at which slots are observed, 1 s.
const LOOK: Duration = Duration::from_secs(1);
/// Interval between writes, 10 s: the loss in a crash, at a cost of three writes each.
const WRITE: Duration = Duration::from_secs(10);
/// Interval between removals of expired samples.
const PRUNE: Duration = Duration::from_secs(3600);
/// Validity of the stored capacity: an hour, by when another scheduler has written a new one.
const KEEP_CAPACITY: chrono::Duration = chrono::Duration::hours(1);
/// Retention of the rate while nothing runs: that of hourly samples.
const KEEP_RATE: chrono::Duration = chrono::Duration::days(400);
/// Busy time after which older measurements count half, in seconds: half an hour, so that a change of the input or the
/// machines shows within the hour, and a single slow run does not.
const HALF_LIFE: f64 = 1800.0;
/// Retention of the note that the dates were counted: in effect for ever.
const KEEP_COUNTED: chrono::Duration = chrono::Duration::days(36_500);
/// Name of the note with the rate.
const RATE: &str = "rate";

/// Bytes that slots converted and their busy time, both with exponential decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Rate {
    bytes: f64,
    slot_seconds: f64,
}

impl Rate {
    /// Adds a period: its duration and the busy time of all slots in seconds, and the bytes of runs completed in it.
    fn add(&mut self, seconds: f64, busy_slot_seconds: f64, bytes: u64) {
        if busy_slot_seconds > 0.0 {
            let rest = 0.5_f64.powf(seconds / HALF_LIFE);
            (self.bytes, self.slot_seconds) = (self.bytes * rest, self.slot_seconds * rest);
        }
        self.bytes += bytes as f64;
        self.slot_seconds += busy_slot_seconds;
    }

    /// Bytes per second of one busy slot; `None` before any measurement.
    fn bytes_per_slot_second(&self) -> Option<f64> {
        (self.bytes > 0.0 && self.slot_seconds > 0.0).then(|| self.bytes / self.slot_seconds)
    }
}

/// Writer of a store's time series.
pub(crate) struct Recorder {
    store: Arc<dyn TrackingStore>,
    engine: Engine,
    ended: Receiver<EndedRun>,
    stopped: CancellationToken,
    /// Values since the last write.
    now: Sample,
    /// Samples of the current minute and hour, without those values.
    spans: [Sample; 2],
    rate: Rate,
    arrivals: Option<FileTotal>,
    looked: Instant,
    busy_slots: u64,
}

impl Recorder {
    pub(crate) fn new(
        store: Arc<dyn TrackingStore>,
        engine: Engine,
        ended: Receiver<EndedRun>,
        stopped: CancellationToken,
    ) -> Self {
        let (now, spans, rate) = (Sample::default(), [Sample::default(); 2], Rate::default());
        Self { store, engine, ended, stopped, now, spans, rate, arrivals: None, looked: Instant::now(), busy_slots: 0 }
    }

    /// Writes samples as long as anything runs.
    pub(crate) async fn record(mut self) {
        while let Err(error) = self.go_on().await {
            tracing::warn!(%error, "cannot read the numbers that were written before; trying again");
            tokio::select! {
                () = tokio::time::sleep(WRITE) => {}
                () = self.stopped.cancelled() => return,
            }
        }
        if let Err(error) = self.count_once().await {
            tracing::warn!(%error, "cannot count the files of all dates; the next start tries again");
        }
        let (mut written, mut pruned) = (Instant::now(), None::<Instant>);
        let mut tick = tokio::time::interval(LOOK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let is_over = tokio::select! {
                _ = tick.tick() => false,
                () = self.stopped.cancelled() => true,
            };
            self.look();
            if is_over || written.elapsed() >= WRITE {
                written = Instant::now();
                if let Err(error) = self.write(Utc::now()).await {
                    // Values that could not be written are kept for the next write.
                    tracing::warn!(%error, "cannot write numbers; trying again");
                }
            }
            if is_over {
                return;
            }
            if pruned.is_none_or(|at| at.elapsed() >= PRUNE) {
                pruned = Some(Instant::now());
                if let Err(error) = self.store.prune(Utc::now()).await {
                    tracing::warn!(%error, "cannot remove old numbers; trying again");
                }
            }
        }
    }

    /// Continues the samples and the rate of the previous leader.
    async fn go_on(&mut self) -> TrackingResult<()> {
        let now = Utc::now();
        for (span, sample) in Span::ALL.into_iter().zip(&mut self.spans) {
            let begin = span.begin(now);
            let found = self.store.samples(span, begin, now + chrono::Duration::seconds(1)).await?;
            *sample = found.into_iter().next_back().unwrap_or(Sample { at: begin.timestamp(), ..Sample::default() });
        }
        let notes = self.store.notes(CAPACITY, now).await?;
        let rate = notes.into_iter().find(|note| note.name == RATE);
        self.rate = rate.and_then(|note| serde_json::from_value(note.value).ok()).unwrap_or_default();
        self.arrivals = Some(self.store.arrivals().await?);
        Ok(())
    }

    /// Counts the dates of a store from before totals were kept. After a crash the next leader counts again from the
    /// start.
    async fn count_once(&self) -> TrackingResult<()> {
        let now = Utc::now();
        if self.store.notes(TOTALS, now).await?.iter().any(|note| note.name == COUNTED) {
            return Ok(());
        }
        for (date, _) in self.store.date_totals(None, None).await? {
            self.store.recount_totals(date).await?;
        }
        let note = Note { name: COUNTED.to_owned(), at: now, value: true.into() };
        self.store.put_note(TOTALS, &note, now + KEEP_COUNTED).await
    }

    /// Observes the slots, and collects runs that have ended.
    fn look(&mut self) {
        let seconds = self.looked.elapsed().as_secs_f64();
        self.looked = Instant::now();
        let slots: u64 = self.engine.executors().iter().map(|executor| u64::from(executor.vcores)).sum();
        self.busy_slots = self.engine.used_slots().values().sum::<u64>().min(slots);
        let busy = self.busy_slots as f64 * seconds;
        let mut bytes = 0_u64;
        loop {
            match self.ended.try_recv() {
                Ok(EndedRun { outcome: Ok(result), .. }) => {
                    bytes = bytes.saturating_add(result.input_bytes);
                    self.now.output_bytes = self.now.output_bytes.saturating_add(result.output_bytes);
                    self.now.rows = self.now.rows.saturating_add(result.rows);
                    self.now.rejected = self.now.rejected.saturating_add(result.rejected);
                    self.now.completed_runs += 1;
                }
                Ok(EndedRun { outcome: Err(failure), .. }) => {
                    self.now.failed_runs += u64::from(failure.class != FailureClass::Cancelled);
                }
                Err(TryRecvError::Lagged(missed)) => tracing::warn!(missed, "ended runs are missing in the numbers"),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.now.input_bytes = self.now.input_bytes.saturating_add(bytes);
        self.now.watched_seconds += seconds;
        self.now.busy_slot_seconds += busy;
        self.now.slots = slots;
        self.rate.add(seconds, busy, bytes);
    }

    /// Tells whether anything happened since the last write. Without news, a sample is written only once a minute.
    fn has_news(&self) -> bool {
        let Sample {
            arrived_files, input_bytes, completed_runs, failed_runs, busy_slot_seconds, backlog_bytes, ..
        } = self.now;
        let counts = [arrived_files, input_bytes, completed_runs, failed_runs];
        counts.iter().any(|count| *count > 0) || busy_slot_seconds > 0.0 || backlog_bytes != self.spans[0].backlog_bytes
    }

    async fn write(&mut self, now: DateTime<Utc>) -> TrackingResult<()> {
        let (backlogs, runs) = tokio::try_join!(self.store.backlogs(), sizes::count_runs(&*self.store))?;
        let pending_bytes = backlogs.iter().map(|(_, backlog)| backlog.pending_bytes).fold(0, u64::saturating_add);
        let run_bytes = runs.iter().map(|count| count.bytes).fold(0, u64::saturating_add);
        let arrivals = self.store.arrivals().await?;
        let before = self.arrivals.replace(arrivals).unwrap_or(arrivals);
        // A deleted date takes its arrivals out of the totals, so that the difference could be negative.
        self.now.arrived_files += arrivals.files.saturating_sub(before.files);
        self.now.arrived_bytes += arrivals.bytes.saturating_sub(before.bytes);
        self.now.backlog_bytes = pending_bytes.saturating_add(run_bytes);
        let is_new_minute = self.spans[0].at != Span::Minute.begin(now).timestamp();
        if !self.has_news() && !is_new_minute {
            return Ok(());
        }
        for (span, sample) in Span::ALL.into_iter().zip(&mut self.spans) {
            let begin = span.begin(now).timestamp();
            if sample.at != begin {
                *sample = Sample { at: begin, ..Sample::default() };
            }
            let mut all = *sample;
            all.add(&self.now);
            self.store.put_sample(span, &all).await?;
        }
        // Added only after both samples are written: a retry overwrites the same samples.
        self.spans.iter_mut().for_each(|sample| sample.add(&self.now));
        self.now = Sample { slots: self.now.slots, ..Sample::default() };
        self.tell(now, pending_bytes, run_bytes).await
    }

    /// Writes the present capacity and backlog, for the decision on the number of executors.
    async fn tell(&self, now: DateTime<Utc>, pending_bytes: u64, run_bytes: u64) -> TrackingResult<()> {
        let capacity = Capacity {
            pending_bytes,
            run_bytes,
            bytes_per_slot_second: self.rate.bytes_per_slot_second(),
            slots: self.now.slots,
            busy_slots: self.busy_slots,
        };
        let note = |name: &str, value: Result<serde_json::Value, serde_json::Error>| Note {
            name: name.to_owned(),
            at: now,
            value: value.unwrap_or_default(),
        };
        let capacity = note(LEARNT, serde_json::to_value(capacity));
        self.store.put_note(CAPACITY, &capacity, now + KEEP_CAPACITY).await?;
        let rate = note(RATE, serde_json::to_value(self.rate));
        self.store.put_note(CAPACITY, &rate, now + KEEP_RATE).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_busy_slots_and_follows_a_change() {
        let mut rate = Rate::default();
        assert_eq!(rate.bytes_per_slot_second(), None);
        for _ in 0..600 {
            rate.add(1.0, 4.0, 400);
        }
        assert_eq!(rate.bytes_per_slot_second().unwrap().round(), 100.0);
        for _ in 0..3600 {
            // Idle time does not change the rate.
            rate.add(1.0, 0.0, 0);
        }
        assert_eq!(rate.bytes_per_slot_second().unwrap().round(), 100.0);
        for _ in 0..7200 {
            rate.add(1.0, 4.0, 800);
        }
        assert!(rate.bytes_per_slot_second().unwrap() > 180.0);
    }
}
