//! Store of numbers: totals of dates, samples of time, counters of days.

use crate::{AttemptWork, DateTotals, FileTotal, Metric, Note, Sample, Span, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId};

/// Numbers of a store.
#[async_trait]
pub trait NumberStore: Send + Sync {
    /// Adds to the day's numbers.
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()>;

    /// The numbers of a day.
    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>>;

    /// Totals of the dates in a range, ends included, newest first, at most [`MAX_DATES`](crate::numbers::MAX_DATES). Costs what the dates are, whatever there is
    /// of each.
    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>>;

    /// Counts a date anew, and corrects its totals. Its cost grows with the files and runs of the date.
    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals>;

    /// Valid files that ever came, and their bytes: a count of which differences tell. In DynamoDB a date that is forgotten takes its
    /// arrivals with it.
    async fn arrivals(&self) -> TrackingResult<FileTotal>;

    /// Notes the work of an attempt that failed; nothing happens if it is not the run's newest.
    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()>;

    /// Writes what happened in a span, in place of what was written of it before.
    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()>;

    /// Samples of spans that begin in a time, oldest first.
    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>>;

    /// Removes samples and notes whose time is over.
    async fn prune(&self, now: DateTime<Utc>) -> TrackingResult<()>;

    /// Leaves a note, in place of the one before of the same kind and name.
    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()>;

    /// The notes of a kind that have not expired, by name, at most [`MAX_NOTES`](crate::numbers::MAX_NOTES).
    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>>;

    /// Note of a kind and name, as it was written last; none if it has expired.
    async fn note(&self, kind: &str, name: &str, now: DateTime<Utc>) -> TrackingResult<Option<Note>>;
}
