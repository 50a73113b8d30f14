//! State transitions of a run, by operation: shared by all stores.
//!
//! Each function returns the run after an operation, or that it stays unchanged, or refuses the operation. A repeated
//! operation leaves the run unchanged.

use crate::{Attempt, AttemptWork, Run, RunSummary, TrackedFile, TrackingError, TrackingResult};
use chrono::{DateTime, Utc};
use millwork_manifest::{Failure, FailureClass, FileState, ManifestId, RunState};

/// Result of an operation, with the changed run, if it changes.
pub(crate) type Decided<T> = TrackingResult<(T, Option<Run>)>;

pub(crate) fn start(run: &Run, now: DateTime<Utc>) -> TrackingResult<Run> {
    if run.cancel_requested {
        return Err(refused(run, "to be cancelled", "no attempt is started any more"));
    }
    if !(run.state == RunState::Queued || is_under_way(run)) {
        return Err(conflict(run, "an attempt needs a queued or interrupted run"));
    }
    let mut after = changed(run, now);
    after.state = RunState::Planning;
    after.attempts += 1;
    after.not_before = None;
    after.started_at = Some(now);
    after.history.push(Attempt { number: after.attempts, started_at: now, ended_at: None, failure: None, work: None });
    after.history.drain(..after.history.len().saturating_sub(Run::HISTORY));
    Ok(after)
}

pub(crate) fn set_running(run: &Run, attempt: u32, now: DateTime<Utc>) -> Option<Run> {
    let is_planned = run.state == RunState::Planning && run.attempts == attempt;
    is_planned.then(|| Run { state: RunState::Running, ..changed(run, now) })
}

pub(crate) fn retry_later(
    run: &Run,
    attempt: u32,
    failure: &Failure,
    not_before: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Decided<bool> {
    check_newest(run, attempt)?;
    if run.state == RunState::Queued && run.failure.as_ref() == Some(failure) {
        return Ok((true, None));
    }
    if !is_under_way(run) {
        return Err(conflict(run, "only an attempt that is under way can be put off"));
    }
    if run.cancel_requested {
        return Ok((false, None));
    }
    let mut after = failed(run, failure, now);
    after.state = RunState::Queued;
    after.not_before = Some(not_before);
    Ok((true, Some(after)))
}

/// Ends a run without output. If it is then in [`RunState::Failed`] or [`RunState::Cancelled`], its files are to be
/// released.
pub(crate) fn fail(run: &Run, attempt: u32, failure: &Failure, now: DateTime<Utc>) -> TrackingResult<Option<Run>> {
    check_newest(run, attempt)?;
    let end = match failure.class {
        _ if has_output(run) => RunState::Completed,
        FailureClass::Cancelled => RunState::Cancelled,
        _ => RunState::Failed,
    };
    if run.state == end && run.failure.as_ref() == Some(failure) {
        return Ok(None);
    }
    if !(run.state == RunState::Queued || is_under_way(run)) {
        return Err(conflict(run, "only a run that is not committed can fail"));
    }
    let mut after = failed(run, failure, now);
    after.state = end;
    after.not_before = None;
    after.cancel_requested = false;
    after.ended_at = Some(now);
    Ok(Some(after))
}

pub(crate) fn cancel(run: &Run, now: DateTime<Utc>) -> Decided<RunState> {
    let is_cancelled = match run.state {
        RunState::Queued => {
            let failure = Failure::new(FailureClass::Cancelled, "cancelled before its turn");
            let after = fail(run, run.attempts, &failure, now)?;
            return Ok((after.as_ref().map_or(run.state, |after| after.state), after));
        }
        RunState::Planning | RunState::Running if run.cancel_requested => true,
        RunState::Planning | RunState::Running => {
            return Ok((run.state, Some(Run { cancel_requested: true, ..changed(run, now) })));
        }
        RunState::Cancelled => true,
        // A forced run that was cancelled.
        RunState::Completed => run.failure.as_ref().is_some_and(|failure| failure.class == FailureClass::Cancelled),
        RunState::Draft | RunState::Committing | RunState::Failed => false,
    };
    match run.state {
        _ if is_cancelled => Ok((run.state, None)),
        RunState::Committing => Err(conflict(run, COMMITTED)),
        _ => Err(conflict(run, "it is too late to cancel it, or too early")),
    }
}

/// Advice on cancelling a committed run.
const COMMITTED: &str = "it is too late to cancel it: its output is decided on and gets its names, again and again until that \
    succeeds. If what was to get them is gone, retry it: it is converted anew";

pub(crate) fn requeue(run: &Run, now: DateTime<Utc>) -> TrackingResult<Option<Run>> {
    match run.state {
        RunState::Queued => Ok(None),
        RunState::Failed | RunState::Cancelled => Ok(Some(queued_again(run, now))),
        _ => Err(conflict(run, "only a run that failed or was cancelled can be queued again")),
    }
}

/// Tells whether a run's files may be updated to their present content: the run has no output, and is not in progress.
pub(crate) fn can_be_refreshed(run: &Run) -> bool {
    matches!(run.state, RunState::Failed | RunState::Cancelled)
}

pub(crate) fn force(run: &Run, now: DateTime<Utc>) -> TrackingResult<Option<Run>> {
    match run.state {
        RunState::Queued => Ok(None),
        RunState::Completed => Ok(Some(Run { generation: run.generation + 1, ..queued_again(run, now) })),
        _ => Err(conflict(run, "only a completed run can be forced")),
    }
}

pub(crate) fn prioritise(run: &Run, priority: i32, now: DateTime<Utc>) -> Option<Run> {
    let changes = run.state == RunState::Queued && run.priority != priority;
    changes.then(|| Run { priority, ..changed(run, now) })
}

/// Commits the attempt's output; `None` if another attempt, an output or a cancellation came first.
pub(crate) fn commit(run: &Run, attempt: u32, now: DateTime<Utc>) -> TrackingResult<Option<Run>> {
    let has_output = matches!(run.state, RunState::Committing | RunState::Completed);
    if run.attempts != attempt || run.cancel_requested || has_output {
        return Ok(None);
    }
    if !is_under_way(run) {
        return Err(conflict(run, "only an attempt that is under way can be committed"));
    }
    let mut after = changed(run, now);
    end_attempt(&mut after, None, now);
    after.state = RunState::Committing;
    after.failure = None;
    after.committed_at = Some(now);
    Ok(Some(after))
}

pub(crate) fn complete(run: &Run, now: DateTime<Utc>) -> TrackingResult<Option<Run>> {
    match run.state {
        RunState::Completed => Ok(None),
        RunState::Committing => Ok(Some(Run { state: RunState::Completed, ended_at: Some(now), ..changed(run, now) })),
        _ => Err(conflict(run, "only a committed run can be completed")),
    }
}

/// Gives up the lost output of a committed run, and queues the run as its next generation. `has_other` tells whether an
/// output of an earlier generation is published.
pub(crate) fn supersede(
    run: &Run,
    attempt: u32,
    has_other: bool,
    failure: &Failure,
    not_before: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> TrackingResult<Option<Run>> {
    check_newest(run, attempt)?;
    if run.state == RunState::Queued && run.failure.as_ref() == Some(failure) {
        return Ok(None);
    }
    if run.state != RunState::Committing {
        return Err(conflict(run, "only a committed output that is not shown yet can be given up"));
    }
    let mut after = queued_again(run, now);
    after.generation += 1;
    after.failure = Some(failure.clone());
    after.not_before = not_before;
    after.committed_at = run.committed_at.filter(|_| has_other);
    // The summary of the earlier output was replaced; the record of that output still has it.
    after.summary = None;
    if let Some(attempt) = after.history.last_mut() {
        attempt.failure = Some(failure.clone());
    }
    Ok(Some(after))
}

/// Tells whether a queued or active run has an output to fall back on: it was completed, then forced. Its files stay
/// completed.
pub(crate) fn has_output(run: &Run) -> bool {
    run.committed_at.is_some()
}

/// Tells whether a run is to replace an output, or ended without one and may have left files of one that was given up.
pub(crate) fn replaces(run: &Run) -> bool {
    let has_ended = matches!(run.state, RunState::Failed | RunState::Cancelled);
    run.generation > 1 && (run.state == RunState::Queued || is_under_way(run) || has_ended)
}

/// Adds the summary of the result, and the work of the attempt, to a run that was just committed.
pub(crate) fn summarise(run: &mut Run, result: &serde_json::Value) {
    run.summary = RunSummary::of_result(result);
    if let (Some(attempt), Some(work)) = (run.history.last_mut(), AttemptWork::of_result(result)) {
        attempt.work = Some(work);
    }
}

fn changed(run: &Run, now: DateTime<Utc>) -> Run {
    Run { updated_at: now, ..run.clone() }
}

fn is_under_way(run: &Run) -> bool {
    matches!(run.state, RunState::Planning | RunState::Running)
}

fn queued_again(run: &Run, now: DateTime<Utc>) -> Run {
    Run { state: RunState::Queued, failures: 0, failure: None, not_before: None, ended_at: None, ..changed(run, now) }
}

/// Records a failure, of the newest attempt if one is in progress.
fn failed(run: &Run, failure: &Failure, now: DateTime<Utc>) -> Run {
    let mut after = changed(run, now);
    if is_under_way(run) {
        after.failures += u32::from(failure.class != FailureClass::Cancelled);
        end_attempt(&mut after, Some(failure), now);
    }
    after.failure = Some(failure.clone());
    after
}

fn end_attempt(run: &mut Run, failure: Option<&Failure>, now: DateTime<Utc>) {
    if let Some(attempt) = run.history.last_mut() {
        attempt.ended_at = Some(now);
        // Further failures are stored with the run only.
        attempt.failure = failure.map(|failure| Failure { others: Vec::new(), ..failure.clone() });
    }
}

fn check_newest(run: &Run, attempt: u32) -> TrackingResult<()> {
    if run.attempts == attempt {
        return Ok(());
    }
    Err(refused(run, &format!("at attempt {}", run.attempts), "an older attempt changes nothing"))
}

fn conflict(run: &Run, wanted: &'static str) -> TrackingError {
    refused(run, run.state.as_str(), wanted)
}

fn refused(run: &Run, found: &str, wanted: &'static str) -> TrackingError {
    TrackingError::Conflict { manifest_id: run.manifest_id.to_string(), found: found.to_owned(), wanted }
}

/// Error of an operation on an unknown run.
pub(crate) fn unknown(id: &ManifestId) -> TrackingError {
    let wanted = "submit its manifest first";
    TrackingError::Conflict { manifest_id: id.to_string(), found: "unknown".to_owned(), wanted }
}

/// Refuses to continue with a manifest that has lost files, and names the first: if it is in another manifest, its rows
/// would be written twice.
pub(crate) fn check_owned(run: &Run, owned: u64, first_lost: Option<&TrackedFile>) -> TrackingResult<()> {
    if owned == run.files {
        return Ok(());
    }
    let lost = first_lost.map_or_else(
        || "the others are no longer known".to_owned(),
        |file| {
            let holder = file.manifest_id.as_ref().map(|id| format!(" in manifest `{id}`")).unwrap_or_default();
            let reason = file.reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default();
            format!("`{}` is {}{holder}{reason}", file.uri, file.state)
        },
    );
    let found = format!("left with {owned} of its {} files: {lost}", run.files);
    Err(refused(run, &found, "those that are left can go into a new manifest"))
}

/// Tells whether a run that ended without output can have a file again: it belongs to the run, belonged to it last, or
/// is free.
pub fn can_return(file: &TrackedFile, id: &ManifestId) -> bool {
    let is_free = matches!(file.state, FileState::Pending | FileState::Failed);
    let is_in_run = matches!(file.state, FileState::Manifested | FileState::Processing);
    match &file.manifest_id {
        Some(holder) => holder == id.as_str() && (is_free || is_in_run),
        None => is_free,
    }
}
