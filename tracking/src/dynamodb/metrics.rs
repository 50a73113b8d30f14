//! Numbers and notes of a day.
//!
//! A number is added to by one write. One whose answer was lost may be counted twice: numbers are for people and graphs,
//! and nothing is decided by them.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, epoch, get, parsed, text, time};
use super::key;
use super::request::{Query, all};
use crate::{AuditEntry, Metric, TrackingResult};
use chrono::{DateTime, Duration, SecondsFormat, Utc};
use millwork_manifest::DatePrefix;

/// How long numbers and notes are kept.
const KEEP: Duration = Duration::days(90);

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

    /// The sort key holds the time, and what the note says: the same note, left again, is one note.
    pub(super) async fn put_audit(&self, entry: &AuditEntry) -> TrackingResult<()> {
        let day = DatePrefix::from(entry.at.date_naive());
        let content = [&entry.actor, &entry.action, &entry.detail].map(String::as_str).join("\0");
        let at = entry.at.to_rfc3339_opts(SecondsFormat::Micros, true);
        let mut item = key::metric(key::audits(day), format!("{at}#{}", key::hash(content.as_bytes())));
        item.extend([
            ("at".to_owned(), time(entry.at)),
            ("actor".to_owned(), text(&entry.actor)),
            ("action".to_owned(), text(&entry.action)),
            ("detail".to_owned(), text(&entry.detail)),
            ("ttl".to_owned(), epoch(entry.at + KEEP)),
        ]);
        self.put(&self.names.metrics, item, &Expression::new()).await.map(drop)
    }

    pub(super) async fn audits_of(&self, day: DatePrefix) -> TrackingResult<Vec<AuditEntry>> {
        let items = self.of_day(key::audits(day)).await?;
        let entry = |item: &Item| {
            let text = |name| get(item, name).unwrap_or_default().to_owned();
            Ok(AuditEntry {
                at: parsed(item, "at", "time")?,
                actor: text("actor"),
                action: text("action"),
                detail: text("detail"),
            })
        };
        items.iter().map(entry).collect()
    }

    async fn of_day(&self, partition: String) -> TrackingResult<Vec<Item>> {
        let expression = Expression::new().when("metric_date", "=", text(partition));
        self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await
    }
}
