//! Counts of tasks: progress reported by executors, limited to plausible values.
//!
//! Used for display and for the record of a run. The commit relies on the tasks' final reports alone.

use millwork_cluster::messages::Counts;
use millwork_conversion::{TaskInput, TaskReport};
use std::time::Instant;

/// Plausible limit of the bytes written by a task, 1 PiB: sums over all tasks then fit in 64 bits.
const MOST_WRITTEN_BYTES: u64 = 1 << 50;
/// Plausible limit of an executor's memory, 1 PiB, for the same reason.
pub(super) const MOST_MEMORY_BYTES: u64 = 1 << 50;
/// Plausible limit of the files of a task: its report has no room for more.
const MOST_PARTS: u64 = 10_000;
/// Plausible limit of a task's CPU time, in threads per slot over its running time: lanes, and as many threads
/// again that finish files.
const MOST_THREADS_OF_SLOT: u64 = 2;
/// Plausible limit of a task's speed, 1 TB/s: no storage is faster, and sums over all tasks can still be displayed.
const MOST_BYTES_PER_SECOND: f64 = 1e12;
/// Least time over which the speed of a task is measured, in seconds.
const MEASURE_SECONDS: f64 = 0.4;

/// Progress reports of a running task.
#[derive(Clone, Debug, Default)]
pub(super) struct Heard {
    counts: Counts,
    /// Time and value of the last count of bytes that was used to measure the speed.
    told: Option<(Instant, u64)>,
    bytes_per_second: f64,
}

impl Heard {
    /// Merges a progress report. Counts never decrease.
    pub(super) fn take(&mut self, news: &Counts, now: Instant) {
        let before = self.counts;
        self.counts = Counts {
            read_bytes: before.read_bytes.max(news.read_bytes),
            rows: before.rows.max(news.rows),
            rejected: before.rejected.max(news.rejected),
            written_bytes: before.written_bytes.max(news.written_bytes),
            parts: before.parts.max(news.parts),
            cpu_micros: before.cpu_micros.max(news.cpu_micros),
            peak_memory_bytes: before.peak_memory_bytes.max(news.peak_memory_bytes),
            is_finishing: before.is_finishing || news.is_finishing,
        };
        let Some((at, bytes)) = self.told else {
            self.told = Some((now, self.counts.read_bytes));
            return;
        };
        let seconds = now.duration_since(at).as_secs_f64();
        if seconds >= MEASURE_SECONDS {
            let speed = (self.counts.read_bytes - bytes) as f64 / seconds;
            self.bytes_per_second = speed.min(MOST_BYTES_PER_SECOND);
            self.told = Some((now, self.counts.read_bytes));
        }
    }

    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    pub(super) fn bytes_per_second(&self) -> f64 {
        self.bytes_per_second
    }
}

/// A present or past task of an executor.
#[derive(Clone, Debug, Default)]
pub(crate) struct TaskNow {
    /// Number of the task in its stage.
    pub(crate) task: u32,
    /// Partition that the task converts.
    pub(crate) partition: usize,
    /// Id of the executor.
    pub(crate) executor: String,
    /// Slots of that executor.
    pub(crate) slots: u32,
    /// Planned input.
    pub(crate) input: TaskInput,
    /// Time at which it was launched, in Unix milliseconds.
    pub(crate) launched_at_ms: u64,
    /// Time at which it ended, in Unix milliseconds.
    pub(crate) ended_at_ms: Option<u64>,
    /// Counts, limited to plausible values.
    pub(crate) counts: Counts,
    /// Recent reading speed, in bytes of input per second.
    pub(crate) bytes_per_second: f64,
}

impl TaskNow {
    /// Adds the planned input, and limits each count to what the task can have reached by now.
    pub(super) fn bounded(mut self, input: TaskInput, now_ms: u64) -> Self {
        let counts = self.counts;
        let rows = counts.rows.min(input.most_lines);
        let micros = self.ended_at_ms.unwrap_or(now_ms).saturating_sub(self.launched_at_ms).saturating_mul(1000);
        let threads = MOST_THREADS_OF_SLOT * u64::from(self.slots.max(1));
        self.input = input;
        self.counts = Counts {
            read_bytes: counts.read_bytes.min(input.bytes),
            rows,
            rejected: counts.rejected.min(input.most_lines - rows),
            written_bytes: counts.written_bytes.min(MOST_WRITTEN_BYTES),
            parts: counts.parts.min(MOST_PARTS),
            cpu_micros: counts.cpu_micros.min(micros.saturating_mul(threads)),
            peak_memory_bytes: counts.peak_memory_bytes.min(MOST_MEMORY_BYTES),
            is_finishing: counts.is_finishing,
        };
        self
    }
}

/// Final counts of a task: taken from its report, except for CPU time and memory.
pub(super) fn at_end(report: &TaskReport, last: Counts) -> Counts {
    if report.failure.is_some() {
        return last;
    }
    let sum =
        |of: fn(&millwork_conversion::RangeLedger) -> u64| report.ledger.iter().map(of).fold(0, u64::saturating_add);
    Counts {
        read_bytes: sum(|range| range.end.saturating_sub(range.start)),
        rows: sum(|range| range.rows),
        rejected: sum(|range| range.rejected),
        written_bytes: report.parts.iter().map(|part| part.file.size_bytes).fold(0, u64::saturating_add),
        parts: report.parts.len() as u64,
        is_finishing: true,
        ..last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn news_only_grow_and_give_a_speed() {
        let (mut heard, start) = (Heard::default(), Instant::now());
        let news = |read_bytes| Counts { read_bytes, rows: read_bytes / 10, ..Counts::default() };
        heard.take(&news(100), start);
        heard.take(&news(300), start + Duration::from_secs(1));
        assert_eq!(heard.bytes_per_second(), 200.0);
        heard.take(&news(50), start + Duration::from_secs(2));
        assert_eq!((heard.counts().read_bytes, heard.counts().rows), (300, 30));
        assert_eq!(heard.bytes_per_second(), 0.0);
        heard.take(&news(u64::MAX), start + Duration::from_secs(3));
        assert_eq!(heard.bytes_per_second(), MOST_BYTES_PER_SECOND);
    }

    #[test]
    fn no_more_is_believed_than_a_task_can_do() {
        let most = u64::MAX;
        let counts = Counts {
            read_bytes: most,
            rows: most,
            rejected: most,
            written_bytes: most,
            parts: most,
            cpu_micros: most,
            peak_memory_bytes: most,
            is_finishing: false,
        };
        let task = TaskNow { launched_at_ms: 1000, slots: 4, counts, ..TaskNow::default() };
        let bounded = task.bounded(TaskInput { bytes: 500, most_lines: 500 }, 3000).counts;
        assert_eq!((bounded.read_bytes, bounded.rows, bounded.rejected), (500, 500, 0));
        assert_eq!(bounded.cpu_micros, 16_000_000, "two seconds of eight threads");
        assert!(bounded.written_bytes < most && bounded.parts < most && bounded.peak_memory_bytes < most);
        let unknown = TaskNow { counts, ..TaskNow::default() }.bounded(TaskInput::default(), 0).counts;
        assert_eq!((unknown.read_bytes, unknown.rows), (0, 0), "a task that nobody planned");
    }
}
