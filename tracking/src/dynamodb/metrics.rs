//! Daily counters.
//!
//! A counter is incremented by one write. If its answer is lost, the increment may count twice: counters are for
//! display, and no decision depends on them.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, epoch, get, parsed, text, time};
use super::key;
use super::request::{Query, all};
use crate::{AttemptWork, DateTotals, FileTotal, Metric, Note, NumberStore, Sample, Span, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{DatePrefix, ManifestId};

/// Retention of counters and audit records.
pub(super) const KEEP: Duration = Duration::days(90);

impl DynamoStore {
    pub(super) async fn add_counts(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        let day = DatePrefix::from(now.date_naive()).to_string();
        let work = counts.iter().map(|(name, count)| {
            let key = key::metric(day.as_str(), *name);
            let change = Expression::new()
                .add("count", i64::try_from(*count).unwrap_or(i64::MAX))
                .set("timestamp", time(now))
                .set("ttl", epoch(now + KEEP));
            async move { self.update(&self.names.metrics, key, &change).await.map(drop) }
        });
        all(work.collect()).await.map(drop)
    }

    pub(super) async fn metrics_of(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>> {
        let items = self.of_day(day.to_string()).await?;
        let metric = |item: &Item| {
            let value = parsed(item, "count", "count")?;
            let text = |name| get(item, name).unwrap_or_default().to_owned();
            Ok(Metric { metric_date: text("metric_date"), metric_type: text("metric_type"), value })
        };
        items.iter().map(metric).collect()
    }

    async fn of_day(&self, partition: String) -> TrackingResult<Vec<Item>> {
        let expression = Expression::new().when("metric_date", "=", text(partition));
        self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await
    }
}

#[async_trait]
impl NumberStore for DynamoStore {
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        self.add_counts(counts, now).await
    }

    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>> {
        self.metrics_of(day).await
    }

    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>> {
        self.totals_between(from, to).await
    }

    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        self.count_date(date).await
    }

    async fn arrivals(&self) -> TrackingResult<FileTotal> {
        self.all_arrivals().await
    }

    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()> {
        self.put_work(id, attempt, work).await
    }

    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()> {
        self.write_sample(span, sample).await
    }

    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>> {
        self.samples_between(span, from, to).await
    }

    async fn prune(&self, _now: DateTime<Utc>) -> TrackingResult<()> {
        // Items expire by themselves.
        Ok(())
    }

    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()> {
        self.write_note(kind, note, expires_at).await
    }

    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>> {
        self.notes_of(kind, now).await
    }

    async fn note(&self, kind: &str, name: &str, now: DateTime<Utc>) -> TrackingResult<Option<Note>> {
        self.find_note(kind, name, now).await
    }
}
