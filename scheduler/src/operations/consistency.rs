//! Checks of thirteen invariants of the state.
//!
//! Records that are read at different times may differ because work continues. A suspected violation is therefore read
//! again, and counts only if nothing has changed in between and it is older than a grace period.

use super::change::note_of;
use super::read::FileQuery;
use super::{MAX_FINDINGS, Operations, PAGE};
use crate::audit::{self, Operator};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{Leader, many};
use millwork_manifest::{DatePrefix, FileState, RunState};
use millwork_tracking::{RunFilter, TrackedFile, TrackingError, TrackingResult};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use utoipa::ToSchema;

mod runs;

/// Least age of a violation, in seconds: 120. In DynamoDB files follow their run within that time.
const GRACE_SECONDS: i64 = 120;
/// Age from which an expired lock with pending work is reported, in seconds: an hour.
const OLD_LOCK_SECONDS: i64 = 3600;

/// Remedy where there is only one possible truth.
const FIX: &str = "millwork state validate-consistency --fix";

/// Names of the invariants, in the order in which they are checked.
pub const INVARIANTS: [&str; 13] = [
    "states-legal",
    "timeline-ends-in-state",
    "completed-has-commit",
    "quarantine-exists",
    "counters",
    "locks",
    "open-runs-have-holder",
    "one-open-manifest",
    "files-follow-run",
    "document-is-store-copy",
    "ledger-adds-up",
    "outputs-exist",
    "totals",
];

/// Something that does not fit together.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// The invariant that is broken, by its name.
    pub invariant: String,
    /// Subject of the finding: a URI, a manifest's id, a date, a lock.
    pub subject: String,
    /// Description of what was found.
    pub found: String,
    /// Remedy: a command, or what to do.
    pub remedy: String,
}

/// Result of a check of all invariants.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Consistency {
    /// Findings: all that does not fit together, at most 1000.
    pub findings: Vec<Finding>,
    /// Names of the invariants that were checked.
    pub checked: Vec<String>,
    /// Files that were looked at.
    pub files: u64,
    /// Runs that were looked at.
    pub runs: u64,
    /// True if there was more than was looked at, or than is told.
    pub is_capped: bool,
}

impl Consistency {
    fn add(&mut self, invariant: &str, subject: impl Into<String>, found: impl Into<String>, remedy: &str) {
        if self.findings.len() >= MAX_FINDINGS {
            self.is_capped = true;
            return;
        }
        let (subject, found) = (subject.into(), found.into());
        self.findings.push(Finding { invariant: invariant.to_owned(), subject, found, remedy: remedy.to_owned() });
    }
}

/// Scope of a check.
#[derive(Clone, Copy, Debug)]
pub struct Scope {
    /// Restricts the check to this date.
    pub date: Option<DatePrefix>,
    /// Limit of the files, and of the runs, that are read.
    pub limit: usize,
    /// True to check objects as well: outputs, quarantine, documents.
    pub looks_at_objects: bool,
}

impl Operations {
    /// Checks all invariants.
    pub async fn validate_consistency(&self, scope: Scope, now: DateTime<Utc>) -> TrackingResult<Consistency> {
        let mut found = Consistency { checked: INVARIANTS.map(str::to_owned).to_vec(), ..Consistency::default() };
        let before = now - Duration::seconds(GRACE_SECONDS);
        self.check_files(&mut found, scope, before).await?;
        self.check_counters(&mut found, scope).await?;
        self.check_locks(&mut found, now).await?;
        self.check_holder(&mut found, before, now).await?;
        self.check_runs(&mut found, scope, before).await?;
        Ok(found)
    }

    async fn check_files(&self, found: &mut Consistency, scope: Scope, before: DateTime<Utc>) -> TrackingResult<()> {
        let mut seen: Vec<TrackedFile> = Vec::new();
        if !self.list(found, &mut seen, None, scope, before).await? {
            // Rows that cannot be decoded end a listing. Listings by state then return the other rows; if one of them
            // ends early as well, the check is incomplete.
            seen.clear();
            for state in FileState::ALL {
                found.is_capped |= !self.list(found, &mut seen, Some(state), scope, before).await?;
            }
        }
        found.files = seen.len() as u64;
        let mut runs: HashMap<String, Option<RunState>> = HashMap::new();
        for chunk in seen.chunks(PAGE) {
            let uris: Vec<_> = chunk.iter().map(|file| file.uri.clone()).collect();
            // Read again for current states: a listing lags behind.
            for file in self.store().files(&uris).await?.into_iter().flatten().filter(|file| file.updated_at <= before)
            {
                self.check_file(found, &file, &mut runs, scope).await?;
            }
        }
        Ok(())
    }

    /// Lists files up to the limit. Returns false if one of them cannot be decoded, which is a finding.
    async fn list(
        &self,
        found: &mut Consistency,
        seen: &mut Vec<TrackedFile>,
        state: Option<FileState>,
        scope: Scope,
        before: DateTime<Utc>,
    ) -> TrackingResult<bool> {
        let room = scope.limit.saturating_sub(seen.len());
        let keep = |file: TrackedFile| {
            seen.push(file);
            true
        };
        let query = FileQuery { state, date: scope.date, before: Some(before), ..FileQuery::default() };
        match self.query_by_status(&query, room, scope.limit, keep).await {
            Ok(is_all) => found.is_capped |= !is_all,
            Err(TrackingError::Corrupt { what, value }) => {
                let text = format!("{what} `{}` cannot be read", millwork_diagnosis::shown(&value));
                let remedy = "somebody has changed the store by hand: restore it from a backup";
                found.add("states-legal", "a file", text, remedy);
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    async fn check_file(
        &self,
        found: &mut Consistency,
        file: &TrackedFile,
        runs: &mut HashMap<String, Option<RunState>>,
        scope: Scope,
    ) -> TrackingResult<()> {
        let uri = file.uri.to_string();
        if let Some((problem, remedy)) = illegal(file) {
            found.add("states-legal", uri.as_str(), problem, remedy);
        }
        self.check_timeline(found, file).await?;
        if file.state == FileState::Completed {
            self.check_commit_of(found, file, runs).await?;
        }
        if let Some(place) =
            file.quarantine_uri.as_ref().filter(|_| scope.looks_at_objects && file.state == FileState::Quarantined)
            && !self.inspector.missing(std::slice::from_ref(place)).await.is_empty()
        {
            found.add(
                "quarantine-exists",
                uri.as_str(),
                format!("no object is at `{}`", millwork_diagnosis::shown(place)),
                "put the object back there; or put a file under its old name into the input, which takes that in",
            );
        }
        Ok(())
    }

    /// Invariant: the timeline of a file ends in its state.
    async fn check_timeline(&self, found: &mut Consistency, file: &TrackedFile) -> TrackingResult<()> {
        let last = self.store().timeline(&file.uri).await?.pop();
        // A timeline that was deleted or trimmed is not checked.
        let Some(last) = last.filter(|last| last.state != file.state) else { return Ok(()) };
        let again = self.store().files(std::slice::from_ref(&file.uri)).await?.pop().flatten();
        if again.is_some_and(|again| again.version == file.version) {
            let text = format!("it is {}, and its timeline ends in {}", file.state, last.state);
            // Restoring the record by hand could convert its rows a second time.
            let remedy = match file.manifest_id {
                Some(_) => "millwork state validate-consistency --fix, if its run says what its record says",
                None => {
                    "somebody has changed the store by hand: look for its rows in the output before anything is done"
                }
            };
            found.add("timeline-ends-in-state", file.uri.to_string(), text, remedy);
        }
        Ok(())
    }

    /// Invariant: the run of a completed file has a committed output.
    async fn check_commit_of(
        &self,
        found: &mut Consistency,
        file: &TrackedFile,
        runs: &mut HashMap<String, Option<RunState>>,
    ) -> TrackingResult<()> {
        use millwork_diagnosis::RunStanding::{Absent, InState};
        let (_, standing) = self.run_seen(file, runs).await?;
        // A forced run keeps its files completed meanwhile.
        if let InState(RunState::Draft | RunState::Failed | RunState::Cancelled) | Absent = standing {
            let run = millwork_diagnosis::shown(file.manifest_id.as_deref().unwrap_or_default());
            found.add(
                "completed-has-commit",
                file.uri.to_string(),
                format!("it is completed, and its run `{run}` has no committed output"),
                "its rows may be missing: look at the output, then `update-state --to pending --reprocess`",
            );
        }
        Ok(())
    }

    /// Invariant: the counters of each date equal a count. Counters that change meanwhile are counted again, and
    /// skipped if they keep changing.
    async fn check_counters(&self, found: &mut Consistency, scope: Scope) -> TrackingResult<()> {
        const TRIES: usize = 3;
        let mut dates: Vec<DatePrefix> = self.store().backlogs().await?.into_iter().map(|(date, _)| date).collect();
        let waiting = FileQuery { state: Some(FileState::Pending), date: scope.date, ..FileQuery::default() };
        let add = |file: TrackedFile| {
            if let Some(date) = file.date.filter(|date| !dates.contains(date)) {
                dates.push(date);
            }
            true
        };
        found.is_capped |= !self.query_by_status(&waiting, usize::MAX, scope.limit, add).await?;
        for date in dates.into_iter().filter(|date| scope.date.is_none_or(|wanted| wanted == *date)) {
            let mut differs = None;
            for _ in 0..TRIES {
                let before = self.store().backlog(date).await?;
                let files = self.store().pending(date, scope.limit).await?;
                let after = self.store().backlog(date).await?;
                if files.len() >= scope.limit {
                    found.is_capped = true;
                    differs = None;
                    break;
                }
                let bytes = crate::sizes::sum(files.iter().map(|file| file.size_bytes));
                let counted = (files.len() as u64, bytes);
                let is_right = counted == (after.pending_files, after.pending_bytes);
                differs = (!is_right).then_some((after, counted));
                if is_right {
                    break;
                }
                // Files may have arrived in between: a counter that has changed is not a finding.
                if before != after {
                    differs = None;
                }
            }
            if let Some((backlog, (files, bytes))) = differs {
                let text = format!(
                    "the counter says {} files with {} bytes, and {files} with {bytes} wait",
                    backlog.pending_files, backlog.pending_bytes
                );
                found.add("counters", date.to_string(), text, FIX);
            }
        }
        Ok(())
    }

    /// Recounts the backlogs of these dates between writing and completing an audit record.
    pub async fn recount(
        &self,
        dates: &[DatePrefix],
        who: &Operator,
        reason: &str,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let mut note = note_of("recount", who, reason, now);
        note.subjects = dates.iter().map(DatePrefix::to_string).collect();
        self.store().audit(&note).await?;
        for date in dates {
            let _ = self.store().recount(*date).await?;
        }
        note.outcome = Some(format!("{} counted", many(dates.len() as u64, "date")));
        audit::complete(self.store(), &note).await;
        Ok(())
    }

    /// Invariant: dates with pending files have no lock that was left expired by a dead holder.
    async fn check_locks(&self, found: &mut Consistency, now: DateTime<Utc>) -> TrackingResult<()> {
        const MAX_LOCKS: usize = 100;
        let dates = self.store().backlogs().await?;
        let names: Vec<String> = dates.iter().take(MAX_LOCKS).map(|(date, _)| format!("LOCK#{date}")).collect();
        for lock in self.store().inspection().locks(&names).await? {
            let is_old = |at: &DateTime<Utc>| now - *at > Duration::seconds(OLD_LOCK_SECONDS);
            if let Some(expired) = lock.expires_at.filter(is_old) {
                let holder = millwork_diagnosis::shown(&lock.holder);
                let text =
                    format!("`{holder}` took it and never let go; it expired at {expired}, and files of its date wait");
                found.add(
                    "locks",
                    lock.name,
                    text,
                    "start a builder, or `millwork sweep`, which take it; or --fix, which lets go of it",
                );
            }
        }
        Ok(())
    }

    async fn check_holder(
        &self,
        found: &mut Consistency,
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let Leader::Nobody { .. } = self.inspector.leader_facts(now).await? else { return Ok(()) };
        for state in RunState::OPEN {
            let filter = RunFilter { state: Some(state), limit: PAGE, ..RunFilter::default() };
            for run in self.store().list_runs(&filter).await?.items.into_iter().filter(|run| run.updated_at <= before) {
                let text = format!("it is {state}, and no scheduler runs the manifests of this state");
                found.add(
                    "open-runs-have-holder",
                    run.manifest_id.to_string(),
                    text,
                    "start a scheduler: it goes on with it",
                );
            }
        }
        Ok(())
    }
}

/// Describes an impossible state of a file, with the remedy; `None` if the file is in order.
fn illegal(file: &TrackedFile) -> Option<(String, &'static str)> {
    use FileState::{Completed, Failed, Manifested, Pending, Processing, Quarantined};
    let (state, has_manifest) = (file.state, file.manifest_id.is_some());
    match state {
        Pending if file.date.is_none() => Some((
            "it is pending, and has no date".to_owned(),
            "`millwork state update-state --to quarantined`; then put it into the input under a name with a date",
        )),
        Manifested | Processing if !has_manifest => Some((format!("it is {state}, and in no manifest"), FIX)),
        Completed if !has_manifest => Some((
            "it is completed, and in no manifest".to_owned(),
            "look for its rows in the output; if they are missing, `update-state --to pending --reprocess`",
        )),
        Quarantined | Failed if file.reason.is_none() => Some((
            format!("it is {state}, for no reason"),
            "`millwork state update-state --to pending` or `millwork redrive`, which look at it again",
        )),
        _ if file.version == 0 => {
            let remedy = "any change of it, such as by `millwork state update-state`, gives it a version";
            Some(("it has version 0, which no write makes".to_owned(), remedy))
        }
        _ => None,
    }
}
