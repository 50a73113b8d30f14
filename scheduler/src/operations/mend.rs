//! Repair of violated invariants where there is only one possible truth.
//!
//! | finding | truth | repair |
//! |---|---|---|
//! | counters | pending files of the date | counters are recounted |
//! | expired lock | nobody holds it | it is taken and released |
//! | files in a state that does not fit their run | state of the run, and its commit | they get the state that the run prescribes |
//! | file without a manifest that exactly one run names | document and commit of that run | it is assigned to that run again |
//! | timeline that ends in another state, of a file whose run and record agree | record and run | the timeline gets an entry with the state |
//!
//! A plan changes nothing. Its changes are applied like all others: with an audit record written first, each on the
//! condition that file and run are unchanged.

use super::change::{PlannedChange, note_of, planned};
use super::consistency::{Consistency, Finding};
use super::reset::{change_to, has_rows, held_state};
use super::{Applied, MAX_CHANGES, Operations, ResetQuery};
use crate::audit::{self, Operator};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::many;
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri, RunState};
use millwork_tracking::{Run, RunSeen, StateChange, TrackedFile, TrackingResult};
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use utoipa::ToSchema;

/// Least age of files that are repaired, in minutes: 2, the least age of findings.
const LEAST_AGE: Duration = Duration::minutes(2);
/// Expiry time of a lock that is taken in order to release it, in seconds: 30.
const LOCK_SECONDS: i64 = 30;

/// Planned repairs of findings.
#[derive(Clone, Debug, Default)]
pub struct Mending {
    /// Dates whose counters are counted anew.
    pub dates: Vec<DatePrefix>,
    /// Names of expired locks to be released.
    pub locks: Vec<String>,
    /// Files that are changed.
    pub changes: Vec<PlannedChange>,
}

/// Mending that was planned or made.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Mended {
    /// Dates whose counters are counted anew.
    #[schema(value_type = Vec<String>)]
    pub counted: Vec<DatePrefix>,
    /// Locks that are let go of.
    pub unlocked: Vec<String>,
    /// Files that are changed.
    #[serde(flatten)]
    pub files: Applied,
}

impl Mending {
    /// True if there is nothing to repair.
    pub fn is_empty(&self) -> bool {
        self.dates.is_empty() && self.locks.is_empty() && self.changes.is_empty()
    }

    /// Result of a dry run.
    pub fn dry(self) -> Mended {
        Mended { counted: self.dates, unlocked: self.locks, files: Applied::dry(self.changes) }
    }
}

fn of<'a>(found: &'a Consistency, invariant: &'static str) -> impl Iterator<Item = &'a Finding> {
    found.findings.iter().filter(move |finding| finding.invariant == invariant)
}

impl Operations {
    /// Plans the repair of findings, without making it.
    pub async fn plan_mending(
        &self,
        found: &Consistency,
        date: Option<DatePrefix>,
        now: DateTime<Utc>,
    ) -> TrackingResult<Mending> {
        let dates = of(found, "counters").filter_map(|finding| finding.subject.parse().ok()).collect();
        let locks = of(found, "locks").map(|finding| finding.subject.clone()).collect();
        let mut changes = Vec::new();
        if of(found, "files-follow-run").chain(of(found, "states-legal")).next().is_some() {
            let query = ResetQuery { uris: Vec::new(), date, state: None, older_than: LEAST_AGE, limit: MAX_CHANGES };
            changes = self.plan_reset(&query, now).await?;
        }
        for finding in of(found, "files-follow-run") {
            if let Ok(id) = finding.subject.parse::<ManifestId>() {
                changes.extend(self.plan_following(&id, now).await?);
            }
        }
        for finding in of(found, "timeline-ends-in-state") {
            if let Ok(uri) = finding.subject.parse::<ObjectUri>() {
                changes.extend(self.plan_note(&uri).await?);
            }
        }
        let mut seen = HashSet::new();
        changes.retain(|planned| planned.change.is_some() && seen.insert(planned.uri.clone()));
        changes.truncate(MAX_CHANGES);
        Ok(Mending { dates, locks, changes })
    }

    /// Plans changes of files of an open run that are in a state which only a finished run gives.
    async fn plan_following(&self, id: &ManifestId, now: DateTime<Utc>) -> TrackingResult<Vec<PlannedChange>> {
        let Some(run) = self.store().run_head(id).await? else { return Ok(Vec::new()) };
        let is_open = matches!(run.state, RunState::Queued | RunState::Planning | RunState::Running);
        let Some(manifest) = self.store().manifest(id).await?.filter(|_| is_open && run.committed_at.is_none()) else {
            return Ok(Vec::new());
        };
        let uris: Vec<ObjectUri> = manifest.files.into_iter().map(|file| file.uri).collect();
        let files = self.store().files(&uris).await?.into_iter().flatten();
        let is_its_own = |file: &TrackedFile| {
            let is_old = now - file.updated_at >= LEAST_AGE;
            let is_ended = matches!(file.state, FileState::Completed | FileState::Failed | FileState::Pending);
            is_old && is_ended && file.manifest_id.as_deref() == Some(id.as_str())
        };
        let why = format!("its run is {}, and has committed nothing", run.state);
        let change = |file: TrackedFile| {
            let seen = RunSeen::InState(id.clone(), run.state);
            let back = StateChange { manifest: Some(id.clone()), ..change_to(&file, seen, held_state(&run)) };
            planned(&file, back, why.clone())
        };
        Ok(files.filter(is_its_own).map(change).collect())
    }

    /// Plans a timeline entry for a file whose record and run agree.
    async fn plan_note(&self, uri: &ObjectUri) -> TrackingResult<Option<PlannedChange>> {
        let Some(file) = self.store().files(std::slice::from_ref(uri)).await?.pop().flatten() else { return Ok(None) };
        let Some(id) = file.manifest_id.as_ref().and_then(|id| id.parse::<ManifestId>().ok()) else { return Ok(None) };
        let Some(run) = self.store().run(&id).await? else { return Ok(None) };
        if !says_the_same(&run, &file)? {
            return Ok(None);
        }
        let change = StateChange {
            reason: file.reason.clone(),
            ..change_to(&file, RunSeen::InState(id, run.state), file.state)
        };
        let why = format!("its timeline gets a line: its run is {}, as its record says", run.state);
        Ok(Some(planned(&file, change, why)))
    }

    /// Makes planned repairs between writing and completing audit records.
    pub async fn mend(
        &self,
        mending: Mending,
        who: &Operator,
        reason: &str,
        now: DateTime<Utc>,
    ) -> TrackingResult<Mended> {
        let Mending { dates: counted, locks, changes } = mending;
        // Files come first, since their changes affect the counters.
        let files = self.apply(changes, "validate-consistency", who, reason, now).await?;
        if !counted.is_empty() {
            self.recount(&counted, who, reason, now).await?;
        }
        let unlocked = if locks.is_empty() { Vec::new() } else { self.unlock(locks, who, reason, now).await? };
        Ok(Mended { counted, unlocked, files })
    }

    /// Releases locks that nobody holds. Returns those released; a lock that was taken meanwhile is left to its holder.
    async fn unlock(
        &self,
        names: Vec<String>,
        who: &Operator,
        reason: &str,
        now: DateTime<Utc>,
    ) -> TrackingResult<Vec<String>> {
        let mut note = note_of("unlock", who, reason, now);
        note.subjects.clone_from(&names);
        self.store().audit(&note).await?;
        let mut unlocked = Vec::new();
        for name in names {
            if let Some(lock) = self.store().lock(&name, &who.actor, Duration::seconds(LOCK_SECONDS), now).await? {
                self.store().unlock(&lock).await?;
                unlocked.push(name);
            }
        }
        note.outcome = Some(format!("{} let go of", many(unlocked.len() as u64, "lock")));
        audit::complete(self.store(), &note).await;
        Ok(unlocked)
    }
}

/// Tells whether a run implies the state that is in the record of its file.
fn says_the_same(run: &Run, file: &TrackedFile) -> TrackingResult<bool> {
    Ok(match file.state {
        FileState::Manifested | FileState::Processing => !run.state.is_final() && held_state(run) == file.state,
        FileState::Completed => run.state == RunState::Completed && has_rows(run, &file.uri)?,
        FileState::Pending | FileState::Failed | FileState::Quarantined => false,
    })
}
