//! Progress of one task: counted where the work is done, read by whoever runs the task.
//!
//! Counters are raised a block of lines or a row group at a time, so that they cost nothing that could be measured.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// Counters of a task. Whoever runs one puts it among the extensions of the session's settings; the sink and the scan find it there.
#[derive(Debug, Default)]
pub struct TaskCounters {
    read_bytes: AtomicU64,
    rows: AtomicU64,
    rejected: AtomicU64,
    written_bytes: AtomicU64,
    parts: AtomicU64,
    cpu_nanos: AtomicU64,
    is_all_read: AtomicBool,
    pace: OnceLock<Arc<dyn Pace>>,
}

/// Waits of a task's threads for those of others.
pub trait Pace: std::fmt::Debug + Send + Sync {
    /// Waits, if others are to go first. Called between blocks of lines.
    fn keep(&self);
}

/// Step of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskStep {
    /// Input is read, and rows are encoded.
    #[default]
    Converting,
    /// All input is read; the last files are being finished.
    Finishing,
}

/// Counts of a task at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Stored bytes of input that were read.
    pub read_bytes: u64,
    /// Lines that became rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Bytes of Parquet that were handed to the storage.
    pub written_bytes: u64,
    /// Output files that were begun.
    pub parts: u64,
    /// Time that threads computed for the task, in nanoseconds: reading, scanning, encoding, writing. What the network takes beside
    /// is not in it.
    pub cpu_nanos: u64,
    /// Step that the task is at.
    pub step: TaskStep,
}

impl TaskCounters {
    /// The counts now. They only grow.
    pub fn counts(&self) -> TaskCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TaskCounts {
            read_bytes: read(&self.read_bytes),
            rows: read(&self.rows),
            rejected: read(&self.rejected),
            written_bytes: read(&self.written_bytes),
            parts: read(&self.parts),
            cpu_nanos: read(&self.cpu_nanos),
            step: if self.is_all_read.load(Ordering::Relaxed) { TaskStep::Finishing } else { TaskStep::Converting },
        }
    }

    /// Has the task's threads keep to a pace; the first counts.
    pub fn keep_to(&self, pace: Arc<dyn Pace>) {
        let _ = self.pace.set(pace);
    }

    /// Waits, if other tasks are to go first. To be called where a thread has little in memory: it may wait for long.
    pub fn keep_pace(&self) {
        if let Some(pace) = self.pace.get() {
            pace.keep();
        }
    }

    /// Adds what was scanned since the last time.
    pub fn scanned(&self, stored_bytes: u64, rows: u64, rejected: u64) {
        self.read_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    /// Adds what was written since the last time.
    pub fn wrote(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Notes that another output file was begun.
    pub fn began_part(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that nothing more is read.
    pub fn all_read(&self) {
        self.is_all_read.store(true, Ordering::Relaxed);
    }

    /// Does something on this thread, and counts what it computes.
    pub fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_nanos();
        let done = work();
        self.cpu_nanos.fetch_add(thread_nanos().saturating_sub(before), Ordering::Relaxed);
        done
    }

    /// A future whose computing is counted, on whatever threads it is polled.
    pub fn timed_future<F: Future>(self: &Arc<Self>, work: F) -> Timed<F> {
        Timed { counters: self.clone(), work: Box::pin(work) }
    }
}

/// See [`TaskCounters::timed_future`].
pub struct Timed<F> {
    counters: Arc<TaskCounters>,
    work: Pin<Box<F>>,
}

impl<F: Future> Future for Timed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Self { counters, work } = &mut *self;
        counters.timed(|| work.as_mut().poll(context))
    }
}

/// Time that this thread has computed so far, in nanoseconds; 0 where the system does not tell.
fn thread_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer, and nobody else has it.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) } != 0 {
        return 0;
    }
    let (seconds, nanos) = (u64::try_from(time.tv_sec).unwrap_or(0), u64::try_from(time.tv_nsec).unwrap_or(0));
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn computing_is_counted_and_waiting_is_not() {
        let counters = Arc::new(TaskCounters::default());
        let busy = || {
            let mut sum = 0_u64;
            for n in 0..3_000_000_u64 {
                sum = std::hint::black_box(sum.wrapping_add(n));
            }
        };
        counters.timed(busy);
        let once = counters.counts().cpu_nanos;
        assert!(once > 0);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(counters.timed_future(async {
            busy();
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            busy();
        }));
        assert!(counters.counts().cpu_nanos > once);
    }
}
