//! Judgement of an attempt by its tasks' checked reports: complete, to be planned again, or failed.

use crate::options::ConversionOptions;
use crate::plan::PlannedAttempt;
use crate::query::Query;
use crate::report::TaskReport;
use crate::survey::{Columns, Survey};
use millwork_manifest::{Failure, FailureClass};
use millwork_ndjson::{FileLedger, MAX_LATE_COLUMNS, add_up};
use millwork_parquet_text::footer::{arranged, as_io, names_in, settle_columns};
use millwork_storage::{RewriteTail, StagingArea, Tail};
use std::collections::HashSet;

/// Limit of the difference between predicted and written bytes, as a share of the prediction: above it, the rate found
/// for this manifest is not reused for later ones.
const MAX_ERROR: f64 = 0.15;

/// Combined results of an attempt's tasks.
#[derive(Debug)]
pub struct AttemptOutcome {
    /// The tasks' reports, in the order of their input.
    pub reports: Vec<TaskReport>,
    /// Result of each file: rows, rejected and blank lines add up to its lines.
    pub ledger: Vec<FileLedger>,
    /// The columns in order of first appearance, known now that every line has been read.
    pub columns: Columns,
    /// Number of rows that the scan produced and no output has: those that a user's query filtered out. Too low if the
    /// query makes several rows of one.
    pub left_out: u64,
    /// The columns of the plan, if the columns of any file are incomplete or in another order; else `None`.
    planned: Option<Columns>,
}

impl AttemptOutcome {
    /// Settles the columns of the private files: gives each file all columns, and arranges column chunks in the same
    /// order. Does nothing if they are complete and in order. Must be called before the commit.
    pub fn settle(&mut self, staging: &StagingArea) -> Result<(), Failure> {
        let planned = self.planned.take();
        if planned.is_none() && !staging.place().has_uploads() {
            return Ok(());
        }
        let parts = self.reports.iter_mut().flat_map(|report| &mut report.parts);
        let (files, late): (Vec<_>, Vec<_>) = parts
            .map(|part| (&mut part.file, (std::mem::take(&mut part.late_footer), (part.rows, part.row_groups))))
            .unzip();
        let is_changed = planned.is_some();
        let settled = match planned {
            None => staging.settle(files, None),
            Some(planned) => {
                let rewrite = |tail: &Tail<'_>| {
                    let (late, reported) =
                        late.get(tail.file).map_or((&[][..], (0, 0)), |(late, of)| (late.as_slice(), *of));
                    let names = names_in(late).map_err(as_io)?;
                    settle_columns(tail, late, &planned.places_of(&self.columns, &names), reported).map_err(as_io)
                };
                let rewrite: RewriteTail<'_> = &rewrite;
                staging.settle(files, Some(rewrite))
            }
        };
        let storage = |e| Failure::new(FailureClass::Storage, e);
        settled.map_err(storage)?;
        match is_changed {
            true => {
                let parts = self.reports.iter_mut().flat_map(|report| &mut report.parts);
                staging.arrange(parts.map(|part| &mut part.file), &arranged).map_err(storage)
            }
            false => Ok(()),
        }
    }
}

/// Outcome of the tasks of an attempt.
#[derive(Debug)]
pub enum Verdict {
    /// Everything is written and checked; the attempt can be committed.
    Complete(AttemptOutcome),
    /// The input has columns that the plan did not know and that cannot be added afterwards: plan again with these.
    Replan(Columns),
    /// A task failed.
    Failed(Failure),
    /// The ledger does not add up: rows would be lost or duplicated.
    Unbalanced(Failure),
}

impl PlannedAttempt {
    /// Judges the attempt by its tasks' reports. Reports that do not fit the plan fail the attempt.
    pub fn judge(&self, survey: &Survey, query: &Query, mut reports: Vec<TaskReport>) -> Verdict {
        match self.expected.check(survey, &mut reports) {
            Ok(()) => judge(survey, &self.columns, query, reports),
            Err(failure) => Verdict::Failed(failure),
        }
    }

    /// Verifies an outcome against the contents of the private files, and against the input where that is cheap. Must
    /// be called before the footers are settled.
    pub async fn verify(
        &self,
        survey: &Survey,
        staging: &StagingArea,
        outcome: AttemptOutcome,
    ) -> Result<AttemptOutcome, Failure> {
        outcome.verified(self.expected.clone(), survey, staging).await
    }

    /// Drops rates that turned out to be wrong in this attempt, so that later manifests do not use them.
    pub fn learn(&self, outcome: &AttemptOutcome, options: &ConversionOptions) {
        let parts = outcome.reports.iter().flat_map(|report| &report.parts);
        let written: u64 = parts.map(|part| part.file.size_bytes).sum();
        if self.expected_bytes.is_some_and(|expected| (written as f64 - expected).abs() > MAX_ERROR * expected) {
            options.rates.forget(&self.columns.layout().keys);
        }
    }
}

/// The failure of an attempt with these reports, if a task has failed.
fn failure_of(reports: &[TaskReport]) -> Option<Failure> {
    // Files that cannot be converted fail the next attempt as well, so that these are reported before any other
    // failure.
    let failed = reports.iter().filter(|report| report.failure.is_some());
    let at_fault = Failure::of_files(failed.flat_map(|report| &report.faults).cloned());
    at_fault.or_else(|| reports.iter().find_map(|report| report.failure.clone()))
}

/// The columns that an attempt was planned with, and those that its tasks found.
fn columns_after(survey: &Survey, planned: &Columns, reports: &[TaskReport]) -> Result<Columns, Failure> {
    let seen = |report: &TaskReport| {
        let seen = report.first_seen.clone().into_iter().enumerate();
        seen.filter_map(|(column, at)| at.map(|at| (column, at)))
    };
    let new_keys = reports.iter().flat_map(|report| report.new_keys.iter().chain(&report.late_keys).cloned());
    planned.after(reports.iter().flat_map(seen), new_keys, &survey.files)
}

/// Judges an attempt by its tasks' reports, which have been checked.
fn judge(survey: &Survey, planned: &Columns, query: &Query, mut reports: Vec<TaskReport>) -> Verdict {
    reports.sort_by_key(|report| report.first);
    if let Some(failure) = failure_of(&reports) {
        return Verdict::Failed(failure);
    }
    if let Err(failure) = survey.check_rejected(&reports) {
        return Verdict::Failed(failure);
    }
    let columns = match columns_after(survey, planned, &reports) {
        Ok(columns) => columns,
        Err(failure) => return Verdict::Failed(failure),
    };
    let has_new_keys = reports.iter().any(|report| !report.new_keys.is_empty());
    let late: HashSet<&str> = reports.iter().flat_map(|report| &report.late_keys).map(|new| &*new.key).collect();
    let can_be_added = late.len() <= MAX_LATE_COLUMNS && planned.can_become(&columns);
    if has_new_keys || query.is_default() && !can_be_added {
        return Verdict::Replan(columns);
    }
    // A user's query determines the columns and their order itself.
    let is_settled = !query.is_default() || planned.names() == columns.names();
    let planned = (!is_settled).then(|| planned.clone());
    let ranges: Vec<_> = reports.iter().flat_map(|report| report.ledger.iter().cloned()).collect();
    match add_up(&survey.files, &ranges) {
        Ok(ledger) => {
            let given: u64 = reports.iter().map(|report| report.given_rows).sum();
            let written: u64 = reports.iter().flat_map(|report| &report.parts).map(|part| part.rows).sum();
            let left_out = given.saturating_sub(written);
            Verdict::Complete(AttemptOutcome { reports, ledger, columns, left_out, planned })
        }
        Err(error) => Verdict::Unbalanced(Failure::new(FailureClass::LostExecutor, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::tests::surveyed;
    use crate::report::StagedPart;
    use millwork_ndjson::{MAX_COLUMNS, NewKey, Position};

    #[tokio::test]
    async fn tasks_that_find_too_many_keys_between_them_fail_the_manifest() {
        let root = tempfile::tempdir().unwrap();
        let survey = surveyed(root.path(), "{\"a\":1}\n").await;
        let report = |task: usize, keys: usize| {
            let new = |key: usize| {
                let at = Position { file: 0, offset: (task * keys + key + 10) as u64 };
                NewKey { key: format!("{task}-{key}"), at }
            };
            TaskReport { new_keys: (0..keys).map(new).collect(), ..TaskReport::default() }
        };
        let judged =
            |keys| judge(&survey, &survey.columns(), &Query::default(), vec![report(0, keys), report(1, keys)]);
        assert!(matches!(judged(MAX_COLUMNS / 2 - 1), Verdict::Replan(_)));
        let Verdict::Failed(failure) = judged(MAX_COLUMNS / 2) else { panic!("too many columns") };
        assert_eq!((failure.class, failure.file), (FailureClass::Input, Some(survey.files[0].0.clone())));
        assert!(failure.message.contains("20000"), "{}", failure.message);
    }

    #[tokio::test]
    async fn keys_that_turn_up_are_added_unless_that_changes_others() {
        let root = tempfile::tempdir().unwrap();
        let lines = "{\"a\":1,\"_date\":2}\n";
        let survey = surveyed(root.path(), lines).await;
        let range = millwork_ndjson::RangeLedger { end: lines.len() as u64, lines: 1, rows: 1, ..Default::default() };
        let judged = |keys: &[String], offset: u64| {
            let at = |place: usize| Position { file: 0, offset: offset + place as u64 };
            let late_keys = keys.iter().enumerate().map(|(place, key)| NewKey { key: key.clone(), at: at(place) });
            let part = StagedPart {
                file: serde_json::from_value(
                    serde_json::json!({"name": "00000-67e55044-10b1-426f-9247-bb680e5fe0c8.part", "size_bytes": 0}),
                )
                .unwrap(),
                rows: 1,
                row_groups: 1,
                late_footer: Vec::new(),
            };
            let first_seen = vec![Some(Position { file: 0, offset: 100 }), Some(Position { file: 0, offset: 101 })];
            let report = TaskReport {
                late_keys: late_keys.collect(),
                parts: vec![part],
                ledger: vec![range.clone()],
                first_seen,
                ..TaskReport::default()
            };
            match judge(&survey, &survey.columns(), &Query::default(), vec![report]) {
                Verdict::Complete(outcome) => (true, outcome.columns.names(), outcome.planned.is_some()),
                Verdict::Replan(columns) => (false, columns.names(), false),
                Verdict::Failed(failure) | Verdict::Unbalanced(failure) => panic!("{failure}"),
            }
        };
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(judged(&[], 200), (true, names(&["a", "_date_1"]), false));
        assert_eq!(judged(&names(&["x"]), 200), (true, names(&["a", "_date_1", "x"]), true));
        // A new column that takes another's name, and a new column whose name is already taken.
        assert_eq!(judged(&names(&["_date_1"]), 200), (false, names(&["a", "_date_2", "_date_1"]), false));
        assert!(!judged(&names(&["_source_file"]), 200).0);
        // A new column that comes before all others.
        assert_eq!(judged(&names(&["x"]), 0), (false, names(&["x", "a", "_date_1"]), false));
        let many: Vec<String> = (0..=MAX_LATE_COLUMNS).map(|key| format!("k{key}")).collect();
        assert!(judged(&many[1..], 200).0 && !judged(&many, 200).0);
    }
}
