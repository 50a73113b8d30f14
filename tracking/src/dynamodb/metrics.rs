//! Numbers of a day.
//!
//! A number is added to by one write. One whose answer was lost may be counted twice: numbers are for people and graphs,
//! and nothing is decided by them.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, epoch, get, parsed, text, time};
use super::key;
use super::request::{Query, all};
use crate::{Metric, TrackingResult};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::DatePrefix;

/// Time for which numbers are kept, and notes.
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
