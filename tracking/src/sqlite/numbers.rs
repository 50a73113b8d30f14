//! Daily counters.

use super::SqliteStore;
use super::job::Done;
use super::rows::collect;
use crate::{AttemptWork, DateTotals, FileTotal, Metric, Note, NumberStore, Sample, Span, TrackingResult};
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, ManifestId};
use rusqlite::{Connection, params};

pub(super) fn count(c: &Connection, counts: &[(String, u64)], now: DateTime<Utc>) -> Done<()> {
    let day = DatePrefix::from(now.date_naive()).to_string();
    let sql = "INSERT INTO metrics VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET value = value + ?3";
    for (name, n) in counts {
        c.prepare_cached(sql)?.execute(params![day, name, i64::try_from(*n).unwrap_or(i64::MAX)])?;
    }
    Ok(())
}

pub(super) fn metrics(c: &Connection, day: DatePrefix) -> Done<Vec<Metric>> {
    let sql = "SELECT metric_date, metric_type, value FROM metrics WHERE metric_date = ?1 ORDER BY metric_type";
    let mut statement = c.prepare_cached(sql)?;
    let rows = statement.query_map([day.to_string()], |row| {
        Ok(Metric { metric_date: row.get(0)?, metric_type: row.get(1)?, value: row.get(2)? })
    })?;
    collect(rows)
}

#[async_trait]
impl NumberStore for SqliteStore {
    async fn count(&self, counts: &[(&str, u64)], now: DateTime<Utc>) -> TrackingResult<()> {
        let counts: Vec<(String, u64)> = counts.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        self.worker.write(move |c| count(c, &counts, now)).await
    }

    async fn metrics(&self, day: DatePrefix) -> TrackingResult<Vec<Metric>> {
        self.worker.read(move |c| metrics(c, day)).await
    }

    async fn date_totals(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>> {
        self.worker.read(move |c| super::totals::dates(c, from, to)).await
    }

    async fn recount_totals(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        self.worker.write(move |c| super::totals::recount(c, date)).await
    }

    async fn arrivals(&self) -> TrackingResult<FileTotal> {
        self.worker.read(super::totals::arrivals).await
    }

    async fn note_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()> {
        let (id, work) = (id.clone(), work.clone());
        self.worker.write(move |c| super::totals::note_work(c, &id, attempt, &work)).await
    }

    async fn put_sample(&self, span: Span, sample: &Sample) -> TrackingResult<()> {
        let sample = *sample;
        self.worker.write(move |c| super::series::put_sample(c, span, &sample)).await
    }

    async fn samples(&self, span: Span, from: DateTime<Utc>, to: DateTime<Utc>) -> TrackingResult<Vec<Sample>> {
        self.worker.read(move |c| super::series::samples(c, span, from, to)).await
    }

    async fn prune(&self, now: DateTime<Utc>) -> TrackingResult<()> {
        self.worker.write(move |c| super::series::prune(c, now)).await
    }

    async fn put_note(&self, kind: &str, note: &Note, expires_at: DateTime<Utc>) -> TrackingResult<()> {
        let (kind, note) = (kind.to_owned(), note.clone());
        self.worker.write(move |c| super::series::put_note(c, &kind, &note, expires_at)).await
    }

    async fn notes(&self, kind: &str, now: DateTime<Utc>) -> TrackingResult<Vec<Note>> {
        let kind = kind.to_owned();
        self.worker.read(move |c| super::series::notes(c, &kind, now)).await
    }

    async fn note(&self, kind: &str, name: &str, now: DateTime<Utc>) -> TrackingResult<Option<Note>> {
        let (kind, name) = (kind.to_owned(), name.to_owned());
        self.worker.read(move |c| super::series::note(c, &kind, &name, now)).await
    }
}
