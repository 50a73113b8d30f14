//! Effects of changes of files and runs on the totals of their dates: collected, and written as one update per date.

use super::expression::Expression;
use super::item::time;
use crate::{Run, RunSummary, TrackedFile};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FileState, RunState};
use std::collections::BTreeMap;

/// Number of changes of refused files, per date, that are held back: they are written with the next other change of the
/// date, or when there are this many, to save writes. A recount repairs those lost in a crash.
const MAX_OWED: u64 = 100;

/// Effects of several changes on the totals of each date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deltas(pub(super) BTreeMap<DatePrefix, Delta>);

/// Effects of several changes on the totals of one date.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Delta {
    /// Change in the number of pending files, and in their bytes.
    pub(super) files: i64,
    pub(super) bytes: i64,
    /// Change in files and bytes of each other state.
    others: BTreeMap<FileState, (i64, i64)>,
    /// Change in quarantined files by reason.
    refused: BTreeMap<String, i64>,
    /// Change in valid files that ever arrived, and in their bytes.
    arrived: (i64, i64),
    /// Change in ended runs, by state.
    runs: BTreeMap<&'static str, i64>,
    /// Change in the sums of what runs produced.
    output: BTreeMap<&'static str, i64>,
    pub(super) last_commit: Option<DateTime<Utc>>,
    /// Arrival time of the oldest newly pending file.
    pub(super) oldest_gained: Option<DateTime<Utc>>,
    /// Number of collected changes.
    changes: u64,
}

/// Effect on the totals of a date of a run that ends, or of an ended run that is queued again.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunChange {
    pub(super) date: DatePrefix,
    /// State that gains the run, and state that loses it.
    pub(super) gained: Option<RunState>,
    pub(super) lost: Option<RunState>,
    pub(super) output: Option<RunSummary>,
    pub(super) committed_at: Option<DateTime<Utc>>,
}

pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Values of a summary, by attribute name.
pub(super) fn named(summary: &RunSummary) -> [(&'static str, u64); 8] {
    [
        ("output_rows", summary.rows),
        ("output_rejected", summary.rejected),
        ("output_input_bytes", summary.input_bytes),
        ("output_bytes", summary.output_bytes),
        ("output_files", summary.outputs),
        ("output_cpu_micros", summary.cpu_micros),
        ("output_reads", summary.reads),
        ("output_writes", summary.writes),
    ]
}

/// Attribute that counts runs of a state.
pub(super) fn of_runs(state: RunState) -> Option<&'static str> {
    match state {
        RunState::Completed => Some("runs_completed"),
        RunState::Failed => Some("runs_failed"),
        RunState::Cancelled => Some("runs_cancelled"),
        _ => None,
    }
}

/// Attribute that counts files refused for a reason: names in expressions may not contain hyphens.
pub(super) fn of_refused(reason: &str) -> String {
    format!("refused_{}", reason.replace('-', "_"))
}

impl Deltas {
    /// Adds a change of a file.
    pub(super) fn change(&mut self, before: Option<&TrackedFile>, after: &TrackedFile) {
        let counts = |file: &TrackedFile| (file.state, file.size_bytes, file.date, file.reason.clone());
        if before.is_some_and(|before| counts(before) == counts(after)) {
            return;
        }
        for (file, sign) in [(before, -1), (Some(after), 1)].into_iter().filter_map(|(file, sign)| Some((file?, sign)))
        {
            let Some(date) = file.date else { continue };
            self.0.entry(date).or_default().count(file, sign);
        }
        let waits = |file: &TrackedFile| file.state == FileState::Pending;
        let Some(delta) = after.date.and_then(|date| self.0.get_mut(&date)) else { return };
        delta.changes += 1;
        if !before.is_some_and(waits) && waits(after) {
            delta.oldest_gained = [delta.oldest_gained, Some(after.arrived_at)].into_iter().flatten().min();
        }
        if before.is_none() && after.state != FileState::Quarantined {
            delta.arrived = (delta.arrived.0 + 1, delta.arrived.1.saturating_add(signed(after.size_bytes)));
        }
    }

    /// Adds the removal of a file's record.
    pub(super) fn forget(&mut self, file: &TrackedFile) {
        let Some(date) = file.date else { return };
        let delta = self.0.entry(date).or_default();
        delta.count(file, -1);
        delta.changes += 1;
    }

    /// Adds a change of a run.
    pub(super) fn run(&mut self, change: &RunChange) {
        let delta = self.0.entry(change.date).or_default();
        for (state, sign) in [(change.gained, 1), (change.lost, -1)] {
            if let Some(name) = state.and_then(of_runs) {
                *delta.runs.entry(name).or_default() += sign;
            }
        }
        delta.produced(change.output.as_ref(), 1);
        delta.last_commit = delta.last_commit.max(change.committed_at);
        delta.changes += 1;
    }

    /// Adds the replacement of an output by another.
    pub(super) fn replace(&mut self, before: &RunSummary, after: &Run) {
        let delta = self.0.entry(after.date).or_default();
        delta.produced(Some(before), -1);
        delta.produced(after.summary.as_ref(), 1);
        delta.last_commit = delta.last_commit.max(after.committed_at);
        delta.changes += 1;
    }

    /// Requests the backlog of a date, even if nothing changes it.
    pub(super) fn show(&mut self, date: Option<DatePrefix>) {
        if let Some(date) = date {
            self.0.entry(date).or_default();
        }
    }

    /// Adds held-back changes of those dates that are written anyway.
    pub(super) fn with_owed(&mut self, owed: &mut Self) {
        for (date, delta) in &mut self.0 {
            if !delta.can_wait()
                && let Some(more) = owed.0.remove(date)
            {
                delta.add(&more);
            }
        }
    }

    /// Moves changes that may be written later into `owed`. Returns the changes to write now, with the held-back ones of each date
    /// that has too many of them.
    pub(super) fn owing(self, owed: &mut Self) -> Self {
        let (wait, mut now): (BTreeMap<_, _>, BTreeMap<_, _>) =
            self.0.into_iter().partition(|(_, delta)| delta.can_wait());
        for (date, delta) in wait {
            let all = owed.0.entry(date).or_default();
            all.add(&delta);
            if all.changes >= MAX_OWED
                && let Some(all) = owed.0.remove(&date)
            {
                now.insert(date, all);
            }
        }
        Self(now)
    }
}

impl Delta {
    fn count(&mut self, file: &TrackedFile, sign: i64) {
        let bytes = sign * signed(file.size_bytes);
        if file.state == FileState::Pending {
            (self.files, self.bytes) = (self.files + sign, self.bytes.saturating_add(bytes));
            return;
        }
        let of_state = self.others.entry(file.state).or_default();
        *of_state = (of_state.0 + sign, of_state.1.saturating_add(bytes));
        if file.state == FileState::Quarantined {
            *self.refused.entry(of_refused(file.reason.as_deref().unwrap_or_default())).or_default() += sign;
        }
    }

    fn produced(&mut self, summary: Option<&RunSummary>, sign: i64) {
        for (name, number) in summary.into_iter().flat_map(named) {
            let all = self.output.entry(name).or_default();
            *all = all.saturating_add(sign * signed(number));
        }
    }

    fn add(&mut self, more: &Self) {
        self.files += more.files;
        self.bytes = self.bytes.saturating_add(more.bytes);
        for (state, (files, bytes)) in &more.others {
            let all = self.others.entry(*state).or_default();
            *all = (all.0 + files, all.1.saturating_add(*bytes));
        }
        for (reason, files) in &more.refused {
            *self.refused.entry(reason.clone()).or_default() += files;
        }
        self.changes += more.changes;
    }

    /// Tells whether all changes concern refused files, so that they can be held back.
    fn can_wait(&self) -> bool {
        let is_refused = |(state, _): (&FileState, _)| *state == FileState::Quarantined;
        let has_others = !self.others.iter().all(is_refused) || !self.runs.is_empty() || !self.output.is_empty();
        self.changes > 0 && (self.files, self.bytes) == (0, 0) && !has_others && self.arrived == (0, 0)
    }

    /// Tells whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.changes == 0
    }

    /// Tells whether the backlog of the date changes.
    pub(super) fn changes_backlog(&self) -> bool {
        (self.files, self.bytes) != (0, 0) || self.oldest_gained.is_some()
    }

    /// Update expression for the item of the date.
    pub(super) fn expression(&self) -> Expression {
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (state, (files, bytes)) in &self.others {
            sums.insert(format!("{state}_files"), *files);
            sums.insert(format!("{state}_bytes"), *bytes);
        }
        sums.extend(self.refused.iter().map(|(name, files)| (name.clone(), *files)));
        sums.extend(self.runs.iter().chain(&self.output).map(|(name, number)| ((*name).to_owned(), *number)));
        sums.insert("arrived_files".to_owned(), self.arrived.0);
        sums.insert("arrived_bytes".to_owned(), self.arrived.1);
        let change = Expression::new().add("pending_files", self.files).add("pending_bytes", self.bytes);
        let change = sums
            .into_iter()
            .filter(|(_, number)| *number != 0)
            .fold(change, |change, (name, number)| change.add(&name, number));
        match self.last_commit {
            Some(at) => change.set("last_commit", time(at)),
            None => change,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::change::{Change, new_file};
    use super::*;
    use crate::FoundFile;
    use millwork_manifest::QuarantineReason;

    fn found(size_bytes: u64, quarantine: Option<QuarantineReason>) -> FoundFile {
        FoundFile {
            uri: "s3://in/2025-12-23-a.ndjson".parse().unwrap(),
            date: "2025-12-23".parse().ok(),
            size_bytes,
            etag: "1".to_owned(),
            version_id: None,
            sequencer: None,
            quarantine,
        }
    }

    fn pending(size_bytes: u64, at: i64) -> TrackedFile {
        let at = DateTime::from_timestamp(at, 0).unwrap();
        new_file(&found(size_bytes, None), FileState::Pending, None, at).after
    }

    #[test]
    fn every_state_is_counted_and_arrivals_once() {
        let (file, now) = (pending(7, 5), DateTime::UNIX_EPOCH);
        let claimed = Change::of(&file, now).to(FileState::Manifested, None).after;
        let processing = Change::of(&claimed, now).to(FileState::Processing, None).after;
        let mut deltas = Deltas::default();
        deltas.change(None, &file);
        deltas.change(None, &pending(3, 2));
        deltas.change(Some(&claimed), &processing);
        let delta = deltas.0[&file.date.unwrap()].clone();
        assert_eq!((delta.files, delta.bytes, delta.oldest_gained.unwrap().timestamp()), (2, 10, 2));
        assert_eq!(delta.others[&FileState::Manifested], (-1, -7));
        assert_eq!(delta.others[&FileState::Processing], (1, 7));
        assert_eq!(delta.arrived, (2, 10));
        deltas.change(Some(&file), &claimed);
        deltas.change(Some(&pending(3, 2)), &pending(4, 2));
        deltas.change(Some(&claimed), &Change::of(&claimed, now).after);
        let delta = &deltas.0[&file.date.unwrap()];
        assert_eq!((delta.files, delta.bytes, delta.changes), (1, 4, 5));
        assert_eq!(delta.others[&FileState::Manifested], (0, 0));
    }

    #[test]
    fn refused_files_wait_for_another_write_of_their_date() {
        let refused =
            new_file(&found(1, Some(QuarantineReason::TooSmall)), FileState::Quarantined, None, DateTime::UNIX_EPOCH)
                .after;
        let (mut owed, date) = (Deltas::default(), refused.date.unwrap());
        let of_refused = || {
            let mut deltas = Deltas::default();
            deltas.change(None, &refused);
            deltas
        };
        assert!(of_refused().owing(&mut owed).0.is_empty());
        let mut more = Deltas::default();
        more.change(None, &pending(3, 2));
        more.with_owed(&mut owed);
        assert_eq!(more.0[&date].refused["refused_too_small"], 1);
        assert!(owed.0.is_empty());
        let written = (0..MAX_OWED).map(|_| of_refused().owing(&mut owed)).filter(|now| !now.0.is_empty()).count();
        assert_eq!(written, 1);
    }
}
