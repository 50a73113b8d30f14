//! Time series, and notes of processes. All of them expire.

use super::DynamoStore;
use super::expression::Expression;
use super::item::{Item, epoch, get, parsed, text, time};
use super::key;
use super::request::Query;
use crate::numbers::MAX_NOTES;
use crate::{Note, Sample, Span, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};

/// Partition of a sample: the samples of a day, or of a month, are read together.
fn partition(span: Span, at: DateTime<Utc>) -> String {
    let period = match span {
        Span::Minute => at.format("%Y-%m-%d"),
        Span::Hour => at.format("%Y-%m"),
    };
    format!("SERIES#{}#{period}", span.seconds())
}

fn notes(kind: &str) -> String {
    format!("NOTE#{kind}")
}

/// Sort key of a sample: its time, as a text that sorts by time.
fn place(at: i64) -> String {
    format!("{at:012}")
}

impl DynamoStore {
    pub(super) async fn write_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()> {
        let corrupt = |value: String| TrackingError::Corrupt { what: "sample", value };
        let at = DateTime::from_timestamp(sample.at, 0).ok_or_else(|| corrupt(sample.at.to_string()))?;
        let value = serde_json::to_string(sample).map_err(|e| corrupt(e.to_string()))?;
        let mut item = key::metric(partition(span, at), place(sample.at));
        item.extend([("value".to_owned(), text(value)), ("ttl".to_owned(), epoch(at + span.keep()))]);
        self.put(&self.names.metrics, item, &Expression::new()).await.map(drop)
    }

    pub(super) async fn samples_between(
        &self,
        span: Span,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
    ) -> TrackingResult<Vec<Sample>> {
        // Limited to the retention time, which bounds the number of partitions.
        let from = from.max(Utc::now() - span.keep());
        let (mut samples, mut last, mut at) = (Vec::new(), String::new(), from);
        while at < to {
            let of = partition(span, at);
            if of != last {
                let expression = Expression::new().when("metric_date", "=", text(of.as_str())).when(
                    "metric_type",
                    ">=",
                    text(place(from.timestamp())),
                );
                let items = self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await?;
                let read = |item: &Item| serde_json::from_str::<Sample>(get(item, "value")?).ok();
                samples.extend(items.iter().filter_map(read).filter(|sample| sample.at < to.timestamp()));
                last = of;
            }
            at += chrono::Duration::days(1);
        }
        // Adds the last period, in case a step of a day jumped over its beginning.
        let of = partition(span, to);
        if of != last && from < to {
            let expression = Expression::new().when("metric_date", "=", text(of.as_str())).when(
                "metric_type",
                "<",
                text(place(to.timestamp())),
            );
            let items = self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await?;
            samples.extend(items.iter().filter_map(|item| serde_json::from_str::<Sample>(get(item, "value")?).ok()));
        }
        Ok(samples)
    }

    pub(super) async fn write_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()> {
        let mut item = key::metric(notes(kind), note.name.as_str());
        item.extend([
            ("at".to_owned(), time(note.at)),
            ("value".to_owned(), text(note.value.to_string())),
            ("expires_at".to_owned(), time(expires_at)),
            ("ttl".to_owned(), epoch(expires_at)),
        ]);
        self.put(&self.names.metrics, item, &Expression::new()).await.map(drop)
    }

    pub(super) async fn notes_of(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>> {
        let expression =
            Expression::new().when("metric_date", "=", text(notes(kind))).only("expires_at", ">=", time(now));
        let query = Query { expression, limit: Some(MAX_NOTES), ..Query::default() };
        let items = self.query(&self.names.metrics, &query).await?;
        items.iter().map(note_of).collect()
    }

    pub(super) async fn find_note(&self, kind: &str, name: &str, now: DateTime<Utc>) -> TrackingResult<Option<Note>> {
        let Some(item) = self.get(&self.names.metrics, key::metric(notes(kind), name)).await? else { return Ok(None) };
        let expires_at: DateTime<Utc> = parsed(&item, "expires_at", "time")?;
        if expires_at >= now { note_of(&item).map(Some) } else { Ok(None) }
    }
}

fn note_of(item: &Item) -> TrackingResult<Note> {
    let value = get(item, "value").and_then(|value| serde_json::from_str(value).ok());
    Ok(Note {
        name: get(item, "metric_type").unwrap_or_default().to_owned(),
        at: parsed(item, "at", "time")?,
        value: value.unwrap_or(serde_json::Value::Null),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_of_a_day_or_a_month_are_together_and_in_order() {
        let at: DateTime<Utc> = "2025-12-23T14:03:00Z".parse().unwrap();
        assert_eq!(partition(Span::Minute, at), "SERIES#60#2025-12-23");
        assert_eq!(partition(Span::Hour, at), "SERIES#3600#2025-12");
        assert!(place(9) < place(10) && place(999_999_999) < place(at.timestamp()));
    }
}
