//! Redrive of files: checked by the current rules, then moved back and tracked.

use super::found::{Looked, Made, planned, refused};
use crate::service::Service;
use chrono::Utc;
use millwork_api::{Change, ChangeResult};
use millwork_manifest::{FileRules, FileState, ObjectUri};
use millwork_redrive::{Redrive, RedriveError, Verdict};
use millwork_tracking::{BuilderNote, TrackedFile, TrackingError, TrackingResult};

/// A known file, or the reason why nothing can be done with it.
async fn known(service: &Service, subject: &str) -> TrackingResult<Result<TrackedFile, String>> {
    let uri: ObjectUri = match subject.parse() {
        Ok(uri) => uri,
        Err(error) => return Ok(Err(format!("{error}"))),
    };
    if !service.places().input.contains(&uri) {
        return Ok(Err("it is in none of the places that input files may be in (INPUT_PLACES)".to_owned()));
    }
    let found = service.store().files(std::slice::from_ref(&uri)).await?.into_iter().next().flatten();
    Ok(found.ok_or_else(|| "no such file is known".to_owned()))
}

/// Rules for accepting files: those of the builder with the latest heartbeat, or the defaults if there is no builder.
async fn rules(service: &Service) -> TrackingResult<FileRules> {
    let builders = service.store().inspection().builders().await?;
    let about = builders.iter().find_map(BuilderNote::about);
    Ok(about.map_or_else(FileRules::default, |about| about.rules()))
}

/// Size of a file; `None` for a file that a manifest named without a size.
pub(super) fn known_size(file: &TrackedFile) -> Option<u64> {
    (!file.etag.is_empty()).then_some(file.size_bytes)
}

fn before(file: &TrackedFile) -> String {
    match &file.reason {
        Some(reason) => format!("{}, {reason}", file.state),
        None => file.state.to_string(),
    }
}

pub(super) async fn look(service: &Service, subject: &str) -> TrackingResult<Looked> {
    let file = match known(service, subject).await? {
        Ok(file) => file,
        Err(reason) => return Ok(refused(subject, reason)),
    };
    let (objects, rules) = (service.storage(), rules(service).await?);
    let redrive = Redrive { store: &**service.store(), objects, rules: &rules, place: None, now: Utc::now() };
    Ok(match redrive.look(&file).await.map(|looked| looked.verdict) {
        Ok(Verdict::Pending) => {
            let states = (before(&file), FileState::Pending.to_string());
            planned(subject, file.version.to_string(), states, known_size(&file))
        }
        Ok(Verdict::Refused(_, detail)) => refused(subject, format!("today's rules refuse it, too: {detail}")),
        Ok(Verdict::Missing) => refused(subject, "its object is gone".to_owned()),
        Err(RedriveError::Tracking(error)) => return Err(error),
        Err(error) => refused(subject, error.to_string()),
    })
}

pub(super) async fn make(service: &Service, change: &Change, is_repeated: bool) -> TrackingResult<Made> {
    let file = match known(service, &change.subject).await? {
        Ok(file) => file,
        Err(reason) => return Ok((ChangeResult::Skipped, Some(reason))),
    };
    if file.version.to_string() != change.version {
        let is_back = !matches!(file.state, FileState::Quarantined | FileState::Failed);
        return Ok(match is_repeated && is_back {
            true => (ChangeResult::Done, Some(format!("before this was taken up again; it is {} now", file.state))),
            false => (ChangeResult::Skipped, Some(format!("it has changed since: it is {} now", before(&file)))),
        });
    }
    let (objects, rules) = (service.storage(), rules(service).await?);
    let redrive = Redrive { store: &**service.store(), objects, rules: &rules, place: None, now: Utc::now() };
    Ok(match redrive.take_back(&file).await {
        Ok(Verdict::Pending) => (ChangeResult::Done, None),
        Ok(Verdict::Refused(_, detail)) => (ChangeResult::Skipped, Some(detail)),
        Ok(Verdict::Missing) => (ChangeResult::Failed, Some("its object is gone".to_owned())),
        Err(RedriveError::Tracking(error @ TrackingError::Taken { .. })) => {
            (ChangeResult::Failed, Some(error.to_string()))
        }
        Err(RedriveError::Tracking(error)) => return Err(error),
        Err(error @ RedriveError::Changed(_)) => (ChangeResult::Skipped, Some(error.to_string())),
        Err(error) => (ChangeResult::Failed, Some(error.to_string())),
    })
}
