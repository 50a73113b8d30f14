//! Comparison of executors' reports with the scheduler's plan. Nothing from a report is used before it has passed.
//!
//! An executor may be faulty, run another version, or be hostile. A report may therefore name only private
//! files that its task can have written, must account exactly once for each byte range of its task and for no other,
//! and its counts must fit the sizes and, where known, the line counts. The contents of the files are checked
//! afterwards (`verify.rs`).
//!
//! Two things cannot be checked without reading the input again, and are taken from the executor as they are: which
//! lines of a file were rows, and the values of those rows.

use crate::report::TaskReport;
use crate::survey::Survey;
use millwork_manifest::{Compression, Failure, FailureClass, ManifestId};
use millwork_ndjson::{BOM, FileRange, NewKey, Position, RangeLedger};
use millwork_parquet_text::footer::names_in_footer_of;
use millwork_storage::{PrivateKind, PrivateName};
use std::collections::{HashMap, HashSet};
use std::fmt;

/// Limit of each count of lines or rows in a report, 2^40: the sum over all counts of a manifest then fits in 64 bits.
const MAX_COUNT: u64 = 1 << 40;

/// Knowledge of the scheduler about an attempt's tasks before they report.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) manifest_id: ManifestId,
    /// The columns of the outputs.
    pub(crate) columns: Vec<String>,
    /// True for the query that keeps all rows as they are.
    is_default: bool,
    /// The number of input columns that were planned.
    input_columns: usize,
    tasks: Vec<Vec<ExpectedRange>>,
    /// Numbers of the tasks, by the file and the offset at which their input starts.
    numbers: HashMap<(u32, u64), usize>,
}

/// A byte range that a task was given.
#[derive(Debug)]
struct ExpectedRange {
    file: u32,
    start: u64,
    end: u64,
    is_compressed: bool,
    /// Number of lines, if the scheduler counted them.
    lines: Option<u64>,
}

/// Failure of an attempt because an executor's report is inconsistent. Classed as a lost executor, so that the attempt
/// is repeated, perhaps on another one.
pub(crate) fn distrusted(executor: &str, why: impl fmt::Display) -> Failure {
    let message = format!("what executor `{executor}` reported does not hold, and nothing of it is used: {why}");
    Failure::new(FailureClass::LostExecutor, message)
}

impl Expected {
    /// Builds the expectation for these groups of ranges, one per task. The output columns are not known yet.
    pub(crate) fn of(
        manifest_id: ManifestId,
        is_default: bool,
        input_columns: usize,
        (survey, groups): (&Survey, &[Vec<FileRange>]),
    ) -> Self {
        let known = known_lines(survey);
        let expected = |range: &FileRange| ExpectedRange {
            file: range.file,
            start: range.start,
            end: range.end,
            is_compressed: range.compression != Compression::None,
            lines: known.get(&(range.file, range.start)).copied(),
        };
        let tasks: Vec<Vec<_>> = groups.iter().map(|group| group.iter().map(expected).collect()).collect();
        let first = |task: &Vec<ExpectedRange>| task.first().map(|range| (range.file, range.start));
        let numbers = tasks.iter().zip(0..).filter_map(|(task, number)| Some((first(task)?, number))).collect();
        Self { manifest_id, columns: Vec::new(), is_default, input_columns, tasks, numbers }
    }

    /// Adds the columns of the outputs.
    pub(crate) fn of_columns(self, columns: Vec<String>) -> Self {
        Self { columns, ..self }
    }

    /// Checks the reports of all tasks. Claims of a failed task about files that it was not given are dropped.
    pub(crate) fn check(&self, survey: &Survey, reports: &mut [TaskReport]) -> Result<(), Failure> {
        let (mut seen, mut names) = (HashSet::new(), HashSet::new());
        for report in reports.iter_mut() {
            let number = report.first.and_then(|first| self.numbers.get(&first).copied());
            let checked = match number {
                None => Err("it is of no task of this attempt".to_owned()),
                Some(task) if !seen.insert(task) => Err(format!("task {task} was reported before")),
                Some(task) => self.check_report(survey, task, report, &mut names),
            };
            checked.map_err(|why| distrusted(&report.executor, why))?;
        }
        match self.tasks.len() - seen.len() {
            0 => Ok(()),
            // A failed task fails the attempt, even if other tasks have not reported.
            _ if reports.iter().any(|report| report.failure.is_some()) => Ok(()),
            missing => {
                let tasks = self.tasks.len();
                let message = format!("{missing} of {tasks} tasks reported nothing");
                Err(Failure::new(FailureClass::LostExecutor, message))
            }
        }
    }

    fn check_report(
        &self,
        survey: &Survey,
        task: usize,
        report: &mut TaskReport,
        names: &mut HashSet<PrivateName>,
    ) -> Result<(), String> {
        let ranges = self.tasks.get(task).map_or(&[][..], Vec::as_slice);
        self.check_names(task, report, names)?;
        if let Some(failure) = &mut report.failure {
            let uri = |range: &ExpectedRange| survey.files.get(range.file as usize).map(|(uri, _)| uri);
            let own: HashSet<&String> = ranges.iter().filter_map(uri).collect();
            failure.file.take_if(|file| !own.contains(file));
            failure.others.clear();
            report.faults.retain(|fault| own.contains(&fault.file));
            return Ok(());
        }
        check_ledger(ranges, &report.ledger)?;
        self.check_rows(report)?;
        check_positions(ranges, report)?;
        if report.first_seen.len() > self.input_columns {
            let (found, planned) = (report.first_seen.len(), self.input_columns);
            return Err(format!("it tells of {found} input columns, {planned} were planned"));
        }
        self.check_late(report)
    }

    /// Checks that files are numbered for this task. Outputs are numbered by task, so that no two tasks share a number.
    fn check_names(&self, task: usize, report: &TaskReport, names: &mut HashSet<PrivateName>) -> Result<(), String> {
        let outputs = (task..).step_by(self.tasks.len().max(1)).zip(&report.parts);
        let outputs = outputs.map(|(number, part)| (PrivateKind::Output, number, &part.file));
        let rejects = report.rejects.iter().map(|file| (PrivateKind::Rejects, task, file));
        for (kind, number, file) in outputs.chain(rejects) {
            let name = file.name;
            if name.kind() != kind || u64::from(name.number()) != number as u64 {
                let kind = if kind == PrivateKind::Output { "output" } else { "file of rejected lines" };
                return Err(format!("`{name}` is no {kind} of task {task}, which would have number {number:05}"));
            }
            if !names.insert(name) {
                return Err(format!("`{name}` was reported before"));
            }
        }
        Ok(())
    }

    /// Checks the numbers of rows and rejected lines against each other.
    fn check_rows(&self, report: &TaskReport) -> Result<(), String> {
        if report.parts.iter().any(|part| part.rows > MAX_COUNT || part.row_groups > MAX_COUNT) {
            return Err(format!("an output has more than {MAX_COUNT} rows or row groups, the limit"));
        }
        let sum = |of: fn(&RangeLedger) -> u64| report.ledger.iter().map(of).sum::<u64>();
        let (scanned, rejected) = (sum(|range| range.rows), sum(|range| range.rejected));
        // An attempt that has to be planned again writes no rows.
        if !report.new_keys.is_empty() {
            return Ok(());
        }
        let (given, written) = (report.given_rows, report.parts.iter().map(|part| part.rows).sum::<u64>());
        if given != scanned {
            return Err(format!("{scanned} lines became rows, the query was given {given}"));
        }
        if self.is_default && written != scanned {
            return Err(format!("{scanned} rows were read, {written} written"));
        }
        if (rejected == 0) != report.rejects.is_empty() {
            return Err(format!("{rejected} lines were rejected, and {} files hold them", report.rejects.len()));
        }
        Ok(())
    }

    /// Checks what a report says about columns that the plan did not know.
    fn check_late(&self, report: &TaskReport) -> Result<(), String> {
        let keys: HashSet<&str> = report.late_keys.iter().map(|new| new.key.as_str()).collect();
        for part in &report.parts {
            let names = names_in_footer_of(&part.late_footer, part.rows, part.row_groups)
                .map_err(|e| format!("what `{}` says of late columns: {e}", part.file.name))?;
            if !self.is_default && !names.is_empty() || names.iter().any(|name| !keys.contains(name.as_str())) {
                return Err(format!("`{}` has late columns whose keys were not reported", part.file.name));
            }
        }
        Ok(())
    }
}

/// The line counts of ranges, known from cutting large files, by file and start offset.
fn known_lines(survey: &Survey) -> HashMap<(u32, u64), u64> {
    let next = survey.ranges.iter().skip(1).map(Some).chain([None]);
    let known = survey.ranges.iter().zip(next).filter_map(|(range, next)| {
        let end = match next.filter(|next| next.file == range.file) {
            Some(next) => next.lines_before,
            None => *survey.lines.get(&range.file)?,
        };
        Some(((range.file, range.start), end.checked_sub(range.lines_before)?))
    });
    known.collect()
}

/// Checks that a ledger has exactly one entry for each of these ranges, with possible counts.
fn check_ledger(ranges: &[ExpectedRange], ledger: &[RangeLedger]) -> Result<(), String> {
    check_ranges(ranges, ledger)?;
    let by_place: HashMap<(u32, u64), &ExpectedRange> =
        ranges.iter().map(|range| ((range.file, range.start), range)).collect();
    let known = ledger.iter().filter_map(|counts| Some((*by_place.get(&(counts.file, counts.start))?, counts)));
    known.into_iter().try_for_each(|(range, counts)| check_counts(range, counts))
}

/// Checks that a ledger has these ranges, each once, and no others.
fn check_ranges(ranges: &[ExpectedRange], ledger: &[RangeLedger]) -> Result<(), String> {
    let planned = ranges.iter().map(|range| (range.file, range.start, range.end));
    let mut reported: Vec<_> = ledger.iter().map(|range| (range.file, range.start, range.end)).collect();
    reported.sort_unstable();
    let mut planned: Vec<_> = planned.collect();
    planned.sort_unstable();
    if reported == planned {
        return Ok(());
    }
    let place = planned.iter().zip(&reported).position(|(planned, reported)| planned != reported);
    let place = place.unwrap_or(planned.len().min(reported.len()));
    let of = |ranges: &[(u32, u64, u64)]| match ranges.get(place) {
        Some((file, start, end)) => format!("bytes {start} to {end} of file {file}"),
        None => "no more ranges".to_owned(),
    };
    Err(format!("of the ranges of its task, {} came where {} was given", of(&reported), of(&planned)))
}

/// Checks that the counts of a range add up, and can be those of so many bytes.
fn check_counts(range: &ExpectedRange, counts: &RangeLedger) -> Result<(), String> {
    let place = || format!("of bytes {} to {} of file {}", range.start, range.end, range.file);
    let RangeLedger { lines, rows, rejected, blank, .. } = *counts;
    if [lines, rows, rejected, blank].into_iter().any(|count| count > MAX_COUNT) {
        return Err(format!("{} it counts more than {MAX_COUNT} lines, the limit", place()));
    }
    if lines != rows + rejected + blank {
        return Err(format!("{} it has {lines} lines, but {rows} rows + {rejected} rejected + {blank} blank", place()));
    }
    let bytes = range.end - range.start;
    // A byte order mark is not a line; whether the bytes are one is checked later.
    let is_possible = range.is_compressed || lines <= bytes && (lines > 0 || bytes <= BOM.len() as u64);
    if !is_possible || range.lines.is_some_and(|known| known != lines) {
        let known = range.lines.map_or(format!("{bytes} bytes"), |known| format!("{known} lines"));
        return Err(format!("{} it has {lines} lines, where there are {known}", place()));
    }
    Ok(())
}

/// Checks that the positions of keys lie within the ranges of this task.
fn check_positions(ranges: &[ExpectedRange], report: &TaskReport) -> Result<(), String> {
    let of_new = |new: &NewKey| new.at;
    let all = report.first_seen.iter().flatten().copied();
    let mut all = all.chain(report.late_keys.iter().chain(&report.new_keys).map(of_new));
    let is_read = |at: &Position| {
        let after = ranges.partition_point(|range| (range.file, range.start) <= (at.file, at.offset));
        let range = after.checked_sub(1).and_then(|before| ranges.get(before));
        range.is_some_and(|range| range.file == at.file && (range.is_compressed || at.offset < range.end))
    };
    match all.find(|at| !is_read(at)) {
        None => Ok(()),
        Some(at) => Err(format!("a key came at byte {} of file {}, which its task did not read", at.offset, at.file)),
    }
}

#[cfg(test)]
mod tests;
