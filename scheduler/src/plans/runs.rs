//! Changes of runs: each run is examined, then changed by an operation of [`Service`].

use super::found::{Looked, Made, planned, refused};
use crate::service::Service;
use crate::sizes::known_bytes;
use millwork_api::{Action, Change, ChangeResult, Priority};
use millwork_manifest::{ManifestId, RunState, printable};
use millwork_tracking::{Run, TrackedFile, TrackingError, TrackingResult};

/// Limit of a run's files that a plan checks: 100, one request to DynamoDB. A plan has up to 1,000 runs.
const MAX_FILES_LOOKED_AT: usize = 100;

/// Refusal of an action that does not apply to runs.
const OF_OTHERS: &str = "that is no change of runs; retry queues one";

/// Version of a run, which every change of the run changes.
fn version(run: &Run) -> String {
    let at = run.updated_at.timestamp_micros();
    format!("{}.{}.{}.{}.{at}", run.attempts, run.generation, run.priority, u8::from(run.cancel_requested))
}

pub(super) async fn look(service: &Service, action: Action, subject: &str) -> TrackingResult<Looked> {
    let id: ManifestId = match subject.parse() {
        Ok(id) => id,
        Err(error) => return Ok(refused(subject, format!("{error}"))),
    };
    let Some(run) = service.store().run_head(&id).await? else {
        return Ok(refused(subject, "no run of such a manifest".to_owned()));
    };
    let before = run.state.to_string();
    Ok(match after(service, action, &run).await? {
        Ok((before_more, after)) => {
            let bytes = known_bytes(&run).filter(|_| action.converts());
            planned(subject, version(&run), (before + &before_more, after), bytes)
        }
        Err(reason) => refused(subject, format!("is {before}{reason}")),
    })
}

/// State after the change, with an addition to the state before, or the reason for a refusal.
type After = Result<(String, String), String>;

fn plain(after: &str) -> After {
    Ok((String::new(), after.to_owned()))
}

fn no(reason: &str) -> After {
    Err(format!(": {reason}"))
}

async fn after(service: &Service, action: Action, run: &Run) -> TrackingResult<After> {
    use RunState::{Cancelled, Committing, Failed};
    Ok(match (action, run.state) {
        (Action::Retry, Failed | Cancelled) => match lost_file(service, run).await? {
            None => plain("queued"),
            Some(file) => Err(lost_words(&file)),
        },
        (Action::Retry | Action::Force, Committing) => match service.check_lost(&run.manifest_id, action).await {
            Ok(()) => Ok((", its output is lost".to_owned(), "queued".to_owned())),
            Err(TrackingError::Conflict { found, wanted, .. }) => Err(format!(" ({found}): {wanted}")),
            Err(error) => return Err(error),
        },
        (Action::Retry, state) => no(not_retried(state)),
        (Action::Cancel, _) => after_cancel(run),
        (Action::Force, _) => after_force(run),
        (Action::Priority(Priority(to)), _) => after_priority(run, to),
        // Never reached: these actions are for other subjects.
        (_, _) => no(OF_OTHERS),
    })
}

fn not_retried(state: RunState) -> &'static str {
    match state {
        RunState::Queued => "it is queued already",
        RunState::Completed => "only a run that failed or was cancelled is retried; force converts it again",
        _ => "it has not ended",
    }
}

fn after_cancel(run: &Run) -> After {
    use RunState::{Cancelled, Committing, Completed, Draft, Failed, Queued};
    match run.state {
        Failed | Cancelled | Completed => no("it has ended"),
        Committing => no("its output is decided on; it completes by itself"),
        Draft => no("its manifest is still being made; it can be cancelled once it is queued"),
        _ if run.cancel_requested => no("that is asked for already"),
        // A cancelled forced run keeps its previous output.
        Queued => plain(if run.committed_at.is_some() { "completed" } else { "cancelled" }),
        _ => plain("cancelled, once its attempt has stopped"),
    }
}

fn after_force(run: &Run) -> After {
    match run.state {
        RunState::Completed => plain(&format!("queued, for output {}", run.generation + 1)),
        RunState::Failed | RunState::Cancelled => no("only a completed run is forced; retry queues it"),
        RunState::Queued => no("it is queued already"),
        _ => no("it has not ended"),
    }
}

fn after_priority(run: &Run, to: i32) -> After {
    match run.state {
        RunState::Queued if run.priority == to => no(&format!("its priority is {to} already")),
        RunState::Queued => Ok((format!(", priority {}", run.priority), format!("queued, priority {to}"))),
        _ => no("only a queued run has a place in the queue"),
    }
}

/// A file of the run that another manifest has taken. Checks only the first files: usually all were taken together, and
/// the change itself checks all.
async fn lost_file(service: &Service, run: &Run) -> TrackingResult<Option<TrackedFile>> {
    match service.store().manifest(&run.manifest_id).await? {
        Some(manifest) => service.lost_file(&manifest, MAX_FILES_LOOKED_AT).await,
        None => Ok(None),
    }
}

fn lost_words(file: &TrackedFile) -> String {
    let holder = file.manifest_id.as_ref().map(|id| format!(" in manifest `{id}`")).unwrap_or_default();
    let uri = printable(file.uri.as_str());
    format!(": its file `{uri}` is {}{holder} by now; files of it that still wait go into a new manifest", file.state)
}

pub(super) async fn make(
    service: &Service,
    action: Action,
    change: &Change,
    is_repeated: bool,
) -> TrackingResult<Made> {
    let corrupt = |_| TrackingError::Corrupt { what: "subject of a plan", value: change.subject.clone() };
    let id: ManifestId = change.subject.parse().map_err(corrupt)?;
    let Some(run) = service.store().run_head(&id).await? else {
        return Ok((ChangeResult::Skipped, Some("it is not there any more".to_owned())));
    };
    if version(&run) != change.version {
        let is_made = is_repeated && is_as_wanted(action, &run);
        return Ok(match is_made {
            true => (ChangeResult::Done, Some(format!("before this was taken up again; it is {} now", run.state))),
            false => (ChangeResult::Skipped, Some(format!("it has changed since: it is {} now", run.state))),
        });
    }
    let made = match action {
        Action::Retry => service.retry(&id).await,
        Action::Cancel => service.cancel(&id).await,
        Action::Force => service.force(&id).await,
        Action::Priority(Priority(to)) => service.prioritise(&id, to).await,
        _ => return Ok((ChangeResult::Failed, Some(OF_OTHERS.to_owned()))),
    };
    match made {
        Ok(_) => Ok((ChangeResult::Done, None)),
        Err(error @ (TrackingError::Conflict { .. } | TrackingError::Taken { .. })) => {
            Ok((ChangeResult::Failed, Some(error.to_string())))
        }
        Err(error) => Err(error),
    }
}

/// Tells whether a run that has changed is in the state that the change would have given it.
fn is_as_wanted(action: Action, run: &Run) -> bool {
    match action {
        Action::Retry => !matches!(run.state, RunState::Failed | RunState::Cancelled),
        Action::Cancel => run.cancel_requested || run.state == RunState::Cancelled,
        Action::Force => run.state != RunState::Completed || run.generation > 1,
        Action::Priority(Priority(to)) => run.priority == to,
        _ => false,
    }
}
