//! Progress counters of a task: updated by the threads that work on it, read by its executor.
//!
//! Counters are updated per block of lines or row group, so that their cost is negligible.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

/// Counters of a task. The executor adds them to the extensions of the session's configuration, where the sink and the
/// scan find them.
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
    /// Stored bytes of input that all tasks of the executor have read.
    read_by_all: Arc<AtomicU64>,
}

/// Hook by which a task's threads yield to those of others.
pub trait Pace: std::fmt::Debug + Send + Sync {
    /// Waits if other tasks are to go first. Called between blocks of lines.
    fn keep(&self);
}

/// Step of a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TaskStep {
    /// Input is being read, and rows encoded.
    #[default]
    Converting,
    /// All input is read; the last files are being finished.
    Finishing,
}

/// Counts of a task at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// Stored bytes of input read.
    pub read_bytes: u64,
    /// Number of lines that became rows.
    pub rows: u64,
    /// Number of rejected lines.
    pub rejected: u64,
    /// Bytes of Parquet passed to the storage.
    pub written_bytes: u64,
    /// Number of output files begun.
    pub parts: u64,
    /// CPU time of the task, in nanoseconds: reading, scanning, encoding, writing. Excludes time spent by network
    /// threads.
    pub cpu_nanos: u64,
    /// Current step of the task.
    pub step: TaskStep,
}

impl TaskCounters {
    /// Counters of a task, whose bytes read are added to those of all tasks of its executor.
    pub fn adding_to(read_by_all: Arc<AtomicU64>) -> Self {
        Self { read_by_all, ..Self::default() }
    }

    /// Current counts, which never decrease.
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

    /// Sets the pace for the task's threads; only the first call has an effect.
    pub fn keep_to(&self, pace: Arc<dyn Pace>) {
        let _ = self.pace.set(pace);
    }

    /// Waits if other tasks are to go first. May wait for long, so that it must be called where a thread holds little
    /// memory.
    pub fn keep_pace(&self) {
        if let Some(pace) = self.pace.get() {
            pace.keep();
        }
    }

    /// Adds scanned bytes and lines.
    pub fn scanned(&self, stored_bytes: u64, rows: u64, rejected: u64) {
        self.read_bytes.fetch_add(stored_bytes, Ordering::Relaxed);
        self.read_by_all.fetch_add(stored_bytes, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
        self.rejected.fetch_add(rejected, Ordering::Relaxed);
    }

    /// Adds written bytes.
    pub fn wrote(&self, bytes: u64) {
        self.written_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts another output file.
    pub fn began_part(&self) {
        self.parts.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that all input has been read.
    pub fn all_read(&self) {
        self.is_all_read.store(true, Ordering::Relaxed);
    }

    /// Runs work on this thread, and adds its CPU time.
    pub fn timed<T>(&self, work: impl FnOnce() -> T) -> T {
        let before = thread_nanos();
        let done = work();
        self.cpu_nanos.fetch_add(thread_nanos().saturating_sub(before), Ordering::Relaxed);
        done
    }

    /// Wraps a future so that its CPU time is counted, on whichever threads it is polled.
    pub fn timed_future<F: Future>(self: &Arc<Self>, work: F) -> Timed<F> {
        Timed { counters: self.clone(), work: Box::pin(work) }
    }
}

/// Future of [`TaskCounters::timed_future`].
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

/// CPU time of this thread, in nanoseconds; 0 where the system does not report it.
fn thread_nanos() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid memory for the result, without other references.
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
