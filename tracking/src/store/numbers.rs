//! Interface for statistics: totals of dates, samples, and daily counters.

use crate::{AttemptWork, DateTotals, FileTotal, Metric, Note, Sample, Span, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId};

/// Statistics of a store.
#[async_trait]
pub trait NumberStore: Send + Sync {
    /// Adds to the counters of a day.
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()>;

    /// Counters of a day.
    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>>;

    /// Totals of the dates in a range, both ends included, newest first, at most
    /// [`MAX_DATES`](crate::numbers::MAX_DATES). The cost is proportional to the number of dates.
    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>>;

    /// Recounts the totals of a date. The cost grows with its files and runs.
    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals>;

    /// Number and bytes of all valid files that ever arrived, a counter for differences. In DynamoDB the arrivals of a
    /// date are subtracted when its item expires.
    async fn arrivals(&self) -> TrackingResult<FileTotal>;

    /// Records the work of a failed attempt; has no effect if it is not the run's newest.
    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()>;

    /// Writes the sample of a span, replacing an earlier one.
    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()>;

    /// Samples of spans that begin in a range, oldest first.
    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>>;

    /// Removes expired samples and notes.
    async fn prune(&self, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Writes a note, replacing one of the same kind and name.
    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()>;

    /// Notes of a kind that have not expired, by name, at most [`MAX_NOTES`](crate::numbers::MAX_NOTES).
    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>>;

    /// Latest note of a kind and name; `None` if it has expired.
    async fn note(&self, kind: &str, name: &str, now: DateTime<Utc>) -> TrackingResult<Option<Note>>;
}
