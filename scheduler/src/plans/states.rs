//! Changes of files' states that can neither lose nor duplicate rows, and recounts of dates.

use super::files::known_size;
use super::found::{Looked, Made, planned, refused};
use crate::operations::{Operations, PlannedChange, Requested, ResetQuery, StateMark};
use crate::service::Service;
use chrono::{Duration, Utc};
use millwork_api::{Action, Change, ChangeResult, WantedState};
use millwork_manifest::{DatePrefix, FileState, ObjectUri};
use millwork_tracking::{DateTotals, StateChanged, TrackingResult};

/// Plans the new state of a file, or gives the reason why it stays unchanged.
async fn plan(service: &Service, action: Action, subject: &str) -> TrackingResult<Result<PlannedChange, String>> {
    let uri: ObjectUri = match subject.parse() {
        Ok(uri) => uri,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let (operations, now) = (Operations::new(service.inspector()), Utc::now());
    let mut plan = match action {
        Action::SetState(wanted) => {
            let to = state_of(wanted);
            let wish = Requested { uri, to, expect_state: None, expect_version: None, reprocess: false };
            operations.plan(&[wish], now).await?
        }
        _ => {
            let (uris, older_than) = (vec![uri], Duration::zero());
            operations.plan_reset(&ResetQuery { uris, date: None, state: None, older_than, limit: 1 }, now).await?
        }
    };
    Ok(plan.pop().ok_or_else(|| "no such file is known".to_owned()))
}

fn state_of(wanted: WantedState) -> FileState {
    match wanted {
        WantedState::Pending => FileState::Pending,
        WantedState::Quarantined => FileState::Quarantined,
    }
}

async fn size_of(service: &Service, subject: &str) -> TrackingResult<Option<u64>> {
    let Ok(uri) = subject.parse() else { return Ok(None) };
    let file = service.store().files(&[uri]).await?.pop().flatten();
    Ok(file.and_then(|file| known_size(&file)))
}

fn in_words(mark: &StateMark) -> String {
    let run = mark.manifest_id.as_ref().map(|id| format!(" in {id}")).unwrap_or_default();
    format!("{}{run}", mark.state)
}

pub(super) async fn look_at_file(service: &Service, action: Action, subject: &str) -> TrackingResult<Looked> {
    let found = match plan(service, action, subject).await? {
        Ok(found) => found,
        Err(reason) => return Ok(refused(subject, reason)),
    };
    Ok(match (&found.before, &found.after) {
        (Some(before), Some(after)) => {
            let then = format!("{}: {}", in_words(after), found.why);
            let bytes = if action.converts() { size_of(service, subject).await? } else { None };
            planned(subject, before.version.to_string(), (in_words(before), then), bytes)
        }
        (Some(before), None) => refused(subject, format!("is {}: {}", in_words(before), found.why)),
        (None, _) => refused(subject, found.why),
    })
}

/// Changes a file. `note` is shown in its timeline.
pub(super) async fn make_file(
    service: &Service,
    action: Action,
    change: &Change,
    is_repeated: bool,
    note: &str,
) -> TrackingResult<Made> {
    let found = match plan(service, action, &change.subject).await? {
        Ok(found) => found,
        Err(reason) => return Ok((ChangeResult::Skipped, Some(reason))),
    };
    let Some(before) = &found.before else { return Ok((ChangeResult::Skipped, Some(found.why))) };
    if before.version.to_string() != change.version {
        // A version one higher is that of this change, made before a crash.
        let made = change.version.parse().is_ok_and(|seen: u64| before.version == seen + 1);
        return Ok(match is_repeated && made {
            true => (ChangeResult::Done, Some(format!("before this was taken up again; it is {} now", before.state))),
            false => (ChangeResult::Skipped, Some(format!("it has changed since: it is {} now", before.state))),
        });
    }
    let Some(mut wanted) = found.change else { return Ok((ChangeResult::Skipped, Some(found.why))) };
    wanted.detail = format!("{}: {note}", action.word());
    Ok(match service.store().inspection().change_state(&wanted, Utc::now()).await {
        Ok(StateChanged::Done(_)) => (ChangeResult::Done, None),
        Err(error) if error.can_pass() => return Err(error),
        Err(error) => (ChangeResult::Failed, Some(error.to_string())),
        Ok(StateChanged::Moved(file)) => {
            let now = file.map_or_else(|| "no longer known".to_owned(), |file| format!("{} now", file.state));
            (ChangeResult::Skipped, Some(format!("it, or its run, has changed since: it is {now}")))
        }
    })
}

fn numbers(totals: &DateTotals) -> String {
    let files = totals.files.iter().map(|(state, total)| format!("{} {state}", total.files)).collect::<Vec<_>>();
    if files.is_empty() { "no files".to_owned() } else { files.join(", ") }
}

pub(super) async fn look_at_date(service: &Service, subject: &str) -> TrackingResult<Looked> {
    let date: DatePrefix = match subject.parse() {
        Ok(date) => date,
        Err(error) => return Ok(refused(subject, error.to_string())),
    };
    let found = service.store().date_totals(Some(date), Some(date)).await?.pop();
    Ok(match found {
        // A recount is always safe, so that no version has to match.
        Some((_, totals)) => planned(subject, String::new(), (numbers(&totals), "counted anew".to_owned()), None),
        None => refused(subject, "nothing is known of this date".to_owned()),
    })
}

pub(super) async fn make_date(service: &Service, change: &Change) -> TrackingResult<Made> {
    let Ok(date) = change.subject.parse::<DatePrefix>() else {
        return Ok((ChangeResult::Failed, Some("it is no date".to_owned())));
    };
    let totals = service.store().recount_totals(date).await?;
    Ok((ChangeResult::Done, Some(numbers(&totals))))
}
