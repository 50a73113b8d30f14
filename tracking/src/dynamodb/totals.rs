//! Totals of dates: stored in the item of the date beside its backlog, and updated with it.
//!
//! Like backlogs they are hints: a crash between a change and its count leaves them wrong until a recount.

use super::DynamoStore;
use super::deltas::{Deltas, named, of_refused, of_runs};
use super::expression::Expression;
use super::item::{Item, backlog, get, number, optional, parsed, text, time, tracked_file};
use super::key;
use super::request::{Query, Written};
use super::run_item::StoredRun;
use super::runs::TRIES;
use super::tables::DATE_INDEX;
use crate::numbers::MAX_DATES;
use crate::{AttemptWork, DateTotals, FileTotal, Run, RunSummary, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, ManifestId, QuarantineReason, RunState};
use std::collections::BTreeMap;

/// Ended states of runs: only these are counted by date.
const ENDED: [RunState; 3] = [RunState::Completed, RunState::Failed, RunState::Cancelled];

impl DynamoStore {
    pub(super) async fn totals_between(
        &self,
        from: Option<DatePrefix>,
        to: Option<DatePrefix>,
    ) -> TrackingResult<Vec<(DatePrefix, DateTotals)>> {
        self.write_owed().await?;
        let mut items = self.date_items().await?;
        items.retain(|(date, _)| from.is_none_or(|from| *date >= from) && to.is_none_or(|to| *date <= to));
        items.sort_by(|(a, _), (b, _)| b.cmp(a));
        items.truncate(MAX_DATES);
        items.iter().map(|(date, item)| Ok((*date, totals(item)?))).collect()
    }

    async fn date_items(&self) -> TrackingResult<Vec<(DatePrefix, Item)>> {
        let expression = Expression::new().when("metric_date", "=", text(key::BACKLOGS));
        let items = self.query(&self.names.metrics, &Query { expression, ..Query::default() }).await?;
        items.into_iter().map(|item| Ok((parsed(&item, "metric_type", "date")?, item))).collect()
    }

    /// Writes the held-back changes.
    async fn write_owed(&self) -> TrackingResult<()> {
        let owed = std::mem::take(&mut *self.owed.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
        for (date, delta) in owed.0 {
            self.write_counters(date, &delta.expression()).await?;
        }
        Ok(())
    }

    /// Corrects the results in a date's totals after an output was replaced. Done after the commit was answered.
    pub(super) async fn replace_totals(&self, before: &RunSummary, after: &Run) {
        let mut deltas = Deltas::default();
        deltas.replace(before, after);
        let date = after.date;
        if let Err(error) = self.apply(deltas).await {
            tracing::warn!(%date, %error, "the totals of a date are wrong until they are counted anew");
        }
    }

    pub(super) async fn all_arrivals(&self) -> TrackingResult<FileTotal> {
        let mut all = FileTotal::default();
        for (_, item) in self.date_items().await? {
            all.files = all.files.saturating_add(count(&item, "arrived_files")?);
            all.bytes = all.bytes.saturating_add(count(&item, "arrived_bytes")?);
        }
        Ok(all)
    }

    /// Recounts a date. Records of completed files expire after some days, so that known totals are not reduced.
    pub(super) async fn count_date(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        self.write_owed().await?;
        for _ in 0..TRIES {
            let seen = self.counters(date).await?;
            let before = seen.as_ref().map(totals).transpose()?.unwrap_or_default();
            let mut counted = self.files_of_date(date).await?;
            self.add_runs_of_date(date, &mut counted).await?;
            let kept = before.files.get(&FileState::Completed).copied().unwrap_or_default();
            let completed = counted.files.entry(FileState::Completed).or_default();
            if kept.files > completed.files {
                *completed = kept;
            }
            counted.files.retain(|_, total| total.files > 0);
            let change = absolute(&counted, seen.as_ref());
            if matches!(self.write_counters(date, &change).await?, Written::Done(_)) {
                return Ok(counted);
            }
        }
        let message = format!("the numbers of {date} change all the time");
        Err(TrackingError::Unavailable { store: self.names.metrics.clone(), message })
    }

    async fn files_of_date(&self, date: DatePrefix) -> TrackingResult<DateTotals> {
        let mut counted = DateTotals::default();
        let mut add = |page: Vec<Item>| {
            for item in &page {
                let file = tracked_file(item)?;
                if file.date != Some(date) {
                    continue;
                }
                let total = counted.files.entry(file.state).or_default();
                *total = FileTotal { files: total.files + 1, bytes: total.bytes.saturating_add(file.size_bytes) };
                if file.state == FileState::Quarantined {
                    *counted.refused.entry(file.reason.unwrap_or_default()).or_default() += 1;
                } else if file.state == FileState::Pending {
                    counted.oldest_pending =
                        [counted.oldest_pending, Some(file.arrived_at)].into_iter().flatten().min();
                }
            }
            Ok(())
        };
        // The date may be in the key, or have been assigned to a file without one.
        for partition in [date.to_string(), key::NO_DATE.to_owned()] {
            let expression = Expression::new().when("date_prefix", "=", text(partition));
            self.query_pages(&self.names.tracking, &Query { expression, ..Query::default() }, &mut add).await?;
        }
        Ok(counted)
    }

    async fn add_runs_of_date(&self, date: DatePrefix, counted: &mut DateTotals) -> TrackingResult<()> {
        let expression = Expression::new().when("date_prefix", "=", text(date.to_string()));
        let query = Query { index: Some(DATE_INDEX), expression, ..Query::default() };
        let add = |page: Vec<Item>| {
            for item in &page {
                let run: Run = StoredRun::of_item(item)?.run;
                if ENDED.contains(&run.state) {
                    *counted.runs.entry(run.state).or_default() += 1;
                }
                if run.state == RunState::Completed {
                    let output = counted.output.plus(run.summary.unwrap_or_default());
                    counted.output = RunSummary { executors: 0, ..output };
                    counted.last_commit = counted.last_commit.max(run.committed_at);
                }
            }
            Ok(())
        };
        self.query_pages(&self.names.runs, &query, add).await
    }

    pub(super) async fn put_work(&self, id: &ManifestId, attempt: u32, work: &AttemptWork) -> TrackingResult<()> {
        let noted = |before: &StoredRun| {
            let mut run = before.run.clone();
            let newest = run.history.last_mut().filter(|newest| newest.number == attempt);
            let is_there = newest.map(|newest| newest.work = Some(work.clone())).is_some();
            Ok(((), is_there.then(|| before.noted(run))))
        };
        self.change_run(id, noted).await
    }
}

fn count(item: &Item, name: &str) -> TrackingResult<u64> {
    // A crash can lose updates, so that negative values are shown as 0.
    Ok(optional::<i64>(item, name, "number of a date")?.unwrap_or(0).max(0).unsigned_abs())
}

fn totals(item: &Item) -> TrackingResult<DateTotals> {
    let waits = backlog(item)?;
    let mut all = DateTotals { oldest_pending: waits.oldest_pending, ..DateTotals::default() };
    for state in FileState::ALL {
        let (files, bytes) = (count(item, &format!("{state}_files"))?, count(item, &format!("{state}_bytes"))?);
        if files > 0 {
            all.files.insert(state, FileTotal { files, bytes });
        }
    }
    for reason in QuarantineReason::ALL {
        let files = count(item, &of_refused(reason.as_str()))?;
        if files > 0 {
            all.refused.insert(reason.as_str().to_owned(), files);
        }
    }
    for state in ENDED {
        let runs = of_runs(state).map_or(Ok(0), |name| count(item, name))?;
        if runs > 0 {
            all.runs.insert(state, runs);
        }
    }
    let named: BTreeMap<&str, u64> = {
        let names = named(&RunSummary::default()).map(|(name, _)| name);
        names.into_iter().map(|name| Ok((name, count(item, name)?))).collect::<TrackingResult<_>>()?
    };
    let number = |name| named.get(name).copied().unwrap_or(0);
    all.output = RunSummary {
        rows: number("output_rows"),
        rejected: number("output_rejected"),
        input_bytes: number("output_input_bytes"),
        output_bytes: number("output_bytes"),
        outputs: number("output_files"),
        executors: 0,
        cpu_micros: number("output_cpu_micros"),
        reads: number("output_reads"),
        writes: number("output_writes"),
        without_rows: 0,
    };
    all.last_commit = optional::<DateTime<Utc>>(item, "last_commit", "time")?;
    Ok(all)
}

/// Update that sets the totals of a date to the counted values, on the condition that they have not changed meanwhile.
fn absolute(counted: &DateTotals, seen: Option<&Item>) -> Expression {
    let mut change = Expression::new();
    for state in FileState::ALL {
        let total = counted.files.get(&state).copied().unwrap_or_default();
        change = change
            .set(&format!("{state}_files"), number(total.files))
            .set(&format!("{state}_bytes"), number(total.bytes));
    }
    for reason in QuarantineReason::ALL {
        let files = counted.refused.get(reason.as_str()).copied().unwrap_or(0);
        change = change.set(&of_refused(reason.as_str()), number(files));
    }
    for (state, name) in ENDED.into_iter().filter_map(|state| Some((state, of_runs(state)?))) {
        change = change.set(name, number(counted.runs.get(&state).copied().unwrap_or(0)));
    }
    for (name, value) in named(&counted.output) {
        change = change.set(name, number(value));
    }
    change = change
        .put("oldest_pending", counted.oldest_pending.map(time))
        .put("last_commit", counted.last_commit.map(time));
    for name in ["pending_files", "manifested_files", "processing_files", "completed_files", "failed_files"] {
        change = match seen.and_then(|item| get(item, name)) {
            Some(value) => change.when(name, "=", number(value)),
            None => change.when_absent(name),
        };
    }
    change
}
