//! Decisions on a known file that is found again, or found to be gone: shared by all stores.

use crate::{FoundFile, Overwrites, Tracked, TrackedFile};
use chrono::{DateTime, Utc};
use millwork_manifest::{BY_OPERATOR, FileState, QuarantineReason, is_restored};

/// Timeline text for a failed file that was taken back.
pub(crate) const TAKEN_BACK: &str = "taken back";
/// Timeline text for a file that was found with other content.
pub(crate) const OVERWRITTEN: &str = "found with other content";
/// Timeline text for a refused file that the present rules accept, with unchanged content.
const ACCEPTED: &str = "accepted by the rules of now, with the same content";
/// Timeline text for a file that was missing, and is back with the same content.
const FOUND_AGAIN: &str = "found again, with the same content";
/// Timeline text for a file from a manifest without entity tags, whose content is known now.
const FIRST_SEEN: &str = "found; its content was not known before";

/// Change to the record of a known file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Keep the record unchanged.
    Leave(Tracked),
    /// Replace the record by the finding, in this state.
    Replace(FileState, Tracked),
    /// Keep the state, and update only the content (size, entity tag, version).
    Adopt(Tracked),
    /// Keep the state, and record that there is other content.
    NoteOverwrite,
}

/// Decides from the known record, the finding and its time, and the rule for converted files.
pub(crate) fn decide(
    known: &TrackedFile,
    found: &FoundFile,
    overwrites: Overwrites,
    found_at: DateTime<Utc>,
) -> Decision {
    if is_older(known, found, found_at) {
        return Decision::Leave(Tracked::Outdated);
    }
    match decide_by_content(known, found, overwrites) {
        // Updates the sequencer, since an older event may still arrive.
        Decision::Leave(Tracked::Overwritten) if is_newer(known, found) => Decision::NoteOverwrite,
        // The first finding with an entity tag, or a newer event.
        Decision::Leave(outcome) if is_newer(known, found) || known.etag.is_empty() && !found.etag.is_empty() => {
            Decision::Adopt(outcome)
        }
        decision => decision,
    }
}

/// Tells whether the finding is older than the record: by the sequencers of events, or because it comes from a
/// listing that began before the file's last event was processed.
fn is_older(known: &TrackedFile, found: &FoundFile, found_at: DateTime<Utc>) -> bool {
    match (&known.sequencer, &found.sequencer) {
        (Some(known), Some(found)) => found < known,
        (Some(_), None) => found.etag != known.etag && found_at < known.updated_at,
        (None, _) => false,
    }
}

fn is_newer(known: &TrackedFile, found: &FoundFile) -> bool {
    found.sequencer.as_ref().is_some_and(|found| known.sequencer.as_ref().is_none_or(|known| found > known))
}

fn decide_by_content(known: &TrackedFile, found: &FoundFile, overwrites: Overwrites) -> Decision {
    use FileState::{Completed, Failed, Manifested, Pending, Processing, Quarantined};
    let is_same = is_as_known(known, found);
    if matches!(known.state, Completed | Quarantined) && is_restored(&known.uri, &known.etag, &found.etag) {
        return decide_restored(known, found);
    }
    match (known.state, found.quarantine) {
        (Quarantined, Some(reason)) if is_same && known.reason.as_deref() == Some(reason.as_str()) => {
            Decision::Leave(Tracked::StillQuarantined(reason))
        }
        (Quarantined | Pending | Failed, Some(reason))
            if !is_same || known.state == Quarantined || known.etag.is_empty() =>
        {
            Decision::Replace(Quarantined, Tracked::Quarantined(reason))
        }
        // Refused by an operator's decision.
        (Quarantined, None) if is_same && known.reason.as_deref() == Some(BY_OPERATOR) => {
            Decision::Leave(Tracked::Known)
        }
        // The rules have changed, or the object has.
        (Quarantined, None) => Decision::Replace(Pending, Tracked::Updated),
        // The file came from a manifest without its entity tag.
        (Pending, None) if known.etag.is_empty() => Decision::Replace(Pending, Tracked::Updated),
        _ if is_same => Decision::Leave(Tracked::Known),
        // Rows of a failed file were never committed, so that it can be converted again.
        (Pending | Failed, _) => Decision::Replace(Pending, Tracked::Updated),
        (Completed, None) if overwrites == Overwrites::Reprocess => Decision::Replace(Pending, Tracked::Updated),
        (Manifested | Processing | Completed | Quarantined, _)
            if known.overwritten_etag.as_deref() == Some(&found.etag) =>
        {
            Decision::Leave(Tracked::Overwritten)
        }
        (Manifested | Processing | Completed | Quarantined, _) => Decision::NoteOverwrite,
    }
}

/// Decides on a file that was converted or refused, and has that content again.
fn decide_restored(known: &TrackedFile, found: &FoundFile) -> Decision {
    match (known.state, found.quarantine) {
        (FileState::Completed, _) => Decision::Adopt(Tracked::Known),
        (_, Some(reason)) if known.reason.as_deref() == Some(reason.as_str()) => {
            Decision::Adopt(Tracked::StillQuarantined(reason))
        }
        (_, Some(reason)) => Decision::Replace(FileState::Quarantined, Tracked::Quarantined(reason)),
        (_, None) => Decision::Replace(FileState::Pending, Tracked::Updated),
    }
}

/// Tells whether a file has the known content. True if no entity tag is known, as for a file from a manifest
/// without one.
fn is_as_known(known: &TrackedFile, found: &FoundFile) -> bool {
    known.etag == found.etag || known.etag.is_empty()
}

/// Timeline text for a file whose record is replaced: the reason for the refusal, or for being pending.
pub(crate) fn why_replaced(known: &TrackedFile, found: &FoundFile) -> &'static str {
    if let Some(reason) = found.quarantine {
        return reason.as_str();
    }
    let is_same = is_as_known(known, found) || is_restored(&known.uri, &known.etag, &found.etag);
    match known.state {
        _ if !is_same => OVERWRITTEN,
        FileState::Quarantined if known.reason.as_deref() == Some(QuarantineReason::MissingObject.as_str()) => {
            FOUND_AGAIN
        }
        FileState::Quarantined => ACCEPTED,
        _ => FIRST_SEEN,
    }
}

/// Updates the content of a file from the finding.
pub(crate) fn adopt(file: &mut TrackedFile, found: &FoundFile) {
    file.size_bytes = found.size_bytes;
    file.etag.clone_from(&found.etag);
    file.version_id.clone_from(&found.version_id);
    advance(file, found);
}

/// Records the newer content of a file beside its own.
pub(crate) fn note_overwrite(file: &mut TrackedFile, found: &FoundFile) {
    file.overwritten_etag = Some(found.etag.clone());
    advance(file, found);
}

/// Keeps the sequencer of the newest event, to recognise older events that arrive late.
fn advance(file: &mut TrackedFile, found: &FoundFile) {
    if found.sequencer.is_some() {
        file.sequencer.clone_from(&found.sequencer);
    }
}

/// State and outcome for a file that was not known.
pub(crate) fn arrival(found: &FoundFile) -> (FileState, Tracked) {
    match found.quarantine {
        Some(reason) => (FileState::Quarantined, Tracked::Quarantined(reason)),
        None => (FileState::Pending, Tracked::New),
    }
}

/// Decides on a known file that is gone: its new state and reason, if it changes.
pub(crate) fn decide_missing(known: &TrackedFile, found: &FoundFile) -> Option<(FileState, QuarantineReason)> {
    let can_go = matches!(known.state, FileState::Pending | FileState::Failed);
    let is_older = known.sequencer.as_ref().zip(found.sequencer.as_ref()).is_some_and(|(known, found)| found < known);
    (can_go && !is_older).then_some((FileState::Quarantined, QuarantineReason::MissingObject))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Sequencer;
    use chrono::DateTime;

    /// Time of findings in these tests: later than any record.
    const LATER: DateTime<Utc> = DateTime::<Utc>::MAX_UTC;

    fn found(etag: &str, sequencer: Option<&str>, quarantine: Option<QuarantineReason>) -> FoundFile {
        FoundFile {
            uri: "s3://in/2025-12-23-a.ndjson".parse().unwrap(),
            date: "2025-12-23".parse().ok(),
            size_bytes: 7,
            etag: etag.to_owned(),
            version_id: None,
            sequencer: sequencer.map(Sequencer::new),
            quarantine,
        }
    }

    fn known(state: FileState) -> TrackedFile {
        let found = found("1", Some("5"), None);
        TrackedFile {
            uri: found.uri,
            date: found.date,
            size_bytes: 7,
            etag: found.etag,
            version_id: None,
            sequencer: found.sequencer,
            state,
            version: 1,
            manifest_id: None,
            reason: (state == FileState::Quarantined).then(|| "too-small".to_owned()),
            quarantine_uri: None,
            overwritten_etag: None,
            arrived_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_event_that_comes_twice_changes_nothing() {
        for state in FileState::ALL.into_iter().filter(|state| *state != FileState::Quarantined) {
            let decision = decide(&known(state), &found("1", Some("5"), None), Overwrites::Reprocess, LATER);
            assert_eq!(decision, Decision::Leave(Tracked::Known), "{state}");
        }
    }

    #[test]
    fn an_older_event_changes_nothing() {
        for state in FileState::ALL {
            let decision = decide(&known(state), &found("0", Some("4"), None), Overwrites::Reprocess, LATER);
            assert_eq!(decision, Decision::Leave(Tracked::Outdated), "{state}");
        }
        assert!(decide_missing(&known(FileState::Pending), &found("", Some("4"), None)).is_none());
    }

    #[test]
    fn new_content_is_taken_while_the_file_waits_and_noted_later() {
        let decision = |state| decide(&known(state), &found("2", Some("6"), None), Overwrites::Record, LATER);
        assert_eq!(decision(FileState::Pending), Decision::Replace(FileState::Pending, Tracked::Updated));
        assert_eq!(decision(FileState::Failed), Decision::Replace(FileState::Pending, Tracked::Updated));
        assert_eq!(decision(FileState::Quarantined), Decision::Replace(FileState::Pending, Tracked::Updated));
        for state in [FileState::Manifested, FileState::Processing, FileState::Completed] {
            assert_eq!(decision(state), Decision::NoteOverwrite, "{state}");
            let noted = TrackedFile { overwritten_etag: Some("2".to_owned()), ..known(state) };
            let again = decide(&noted, &found("2", Some("5"), None), Overwrites::Record, LATER);
            assert_eq!(again, Decision::Leave(Tracked::Overwritten));
            assert_eq!(
                decide(&noted, &found("2", Some("6"), None), Overwrites::Record, LATER),
                Decision::NoteOverwrite
            );
        }
        let reprocessed = decide(&known(FileState::Completed), &found("2", None, None), Overwrites::Reprocess, LATER);
        assert_eq!(reprocessed, Decision::Replace(FileState::Pending, Tracked::Updated));
    }

    #[test]
    fn what_tells_more_of_the_same_content_is_remembered() {
        for state in FileState::ALL.into_iter().filter(|state| *state != FileState::Quarantined) {
            let listed = TrackedFile { sequencer: None, ..known(state) };
            for (known, sequencer) in [(&listed, "1"), (&known(state), "6")] {
                let newer = decide(known, &found("1", Some(sequencer), None), Overwrites::Reprocess, LATER);
                assert_eq!(newer, Decision::Adopt(Tracked::Known), "{state}");
            }
            let nameless = TrackedFile { etag: String::new(), ..listed };
            let first = decide(&nameless, &found("1", None, None), Overwrites::Record, LATER);
            let is_pending = state == FileState::Pending;
            let taken = Decision::Replace(FileState::Pending, Tracked::Updated);
            assert_eq!(first, if is_pending { taken } else { Decision::Adopt(Tracked::Known) }, "{state}");
        }
    }

    #[test]
    fn a_refused_file_stays_refused_until_the_rules_or_its_content_change() {
        let small = Some(QuarantineReason::TooSmall);
        let decision = |etag, reason| {
            decide(&known(FileState::Quarantined), &found(etag, None, reason), Overwrites::Record, LATER)
        };
        assert_eq!(decision("1", small), Decision::Leave(Tracked::StillQuarantined(QuarantineReason::TooSmall)));
        assert!(matches!(decision("2", small), Decision::Replace(FileState::Quarantined, _)));
        assert_eq!(decision("1", None), Decision::Replace(FileState::Pending, Tracked::Updated));
    }

    #[test]
    fn a_file_whose_content_was_not_known_is_refused_when_it_is_found_unfit() {
        let small = Some(QuarantineReason::TooSmall);
        for state in FileState::ALL {
            let nameless = TrackedFile { etag: String::new(), ..known(state) };
            for sequencer in [None, Some("6")] {
                let decision = decide(&nameless, &found("1", sequencer, small), Overwrites::Record, LATER);
                let is_refused = decision
                    == Decision::Replace(FileState::Quarantined, Tracked::Quarantined(QuarantineReason::TooSmall));
                let can_be = matches!(state, FileState::Pending | FileState::Failed);
                assert_eq!(is_refused, can_be, "{state}: {decision:?}");
            }
        }
    }

    #[test]
    fn a_listing_that_began_before_the_last_event_changes_nothing() {
        for state in FileState::ALL {
            let known = TrackedFile { updated_at: DateTime::from_timestamp(100, 0).unwrap(), ..known(state) };
            let listed = |etag, at| {
                decide(
                    &known,
                    &found(etag, None, None),
                    Overwrites::Reprocess,
                    DateTime::from_timestamp(at, 0).unwrap(),
                )
            };
            assert_eq!(listed("0", 99), Decision::Leave(Tracked::Outdated), "{state}");
            assert_ne!(listed("0", 100), Decision::Leave(Tracked::Outdated), "{state}");
            assert_ne!(listed("1", 99), Decision::Leave(Tracked::Outdated), "{state}");
        }
    }

    #[test]
    fn a_restored_file_is_not_another_one() {
        let file = |etag: &str, state| TrackedFile {
            uri: "/in/2025-12-23-a.ndjson".parse().unwrap(),
            etag: etag.to_owned(),
            ..known(state)
        };
        let restored = FoundFile { uri: file("", FileState::Failed).uri, ..found("7-101-f00", None, None) };
        for overwrites in [Overwrites::Record, Overwrites::Reprocess] {
            let decision = decide(&file("7-100-f00", FileState::Completed), &restored, overwrites, LATER);
            assert_eq!(decision, Decision::Adopt(Tracked::Known));
        }
        let changed = decide(&file("7-100-eff", FileState::Completed), &restored, Overwrites::Reprocess, LATER);
        assert_eq!(changed, Decision::Replace(FileState::Pending, Tracked::Updated));
        let small = FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..restored };
        let decision = decide(&file("7-100-f00", FileState::Quarantined), &small, Overwrites::Record, LATER);
        assert_eq!(decision, Decision::Adopt(Tracked::StillQuarantined(QuarantineReason::TooSmall)));
    }

    #[test]
    fn what_an_operator_refused_stays_refused_until_its_content_changes() {
        let refused = TrackedFile { reason: Some(BY_OPERATOR.to_owned()), ..known(FileState::Quarantined) };
        let decision = |etag| decide(&refused, &found(etag, None, None), Overwrites::Record, LATER);
        assert_eq!(decision("1"), Decision::Leave(Tracked::Known));
        assert_eq!(decision("2"), Decision::Replace(FileState::Pending, Tracked::Updated));
    }

    #[test]
    fn a_timeline_tells_of_other_content_only_if_it_is_other() {
        let missing = TrackedFile { reason: Some("missing-object".to_owned()), ..known(FileState::Quarantined) };
        let nameless = TrackedFile { etag: String::new(), ..known(FileState::Pending) };
        for (known, etag, text) in [
            (&known(FileState::Quarantined), "1", ACCEPTED),
            (&known(FileState::Quarantined), "2", OVERWRITTEN),
            (&missing, "1", FOUND_AGAIN),
            (&missing, "2", OVERWRITTEN),
            (&nameless, "1", FIRST_SEEN),
            (&known(FileState::Failed), "2", OVERWRITTEN),
        ] {
            assert_eq!(why_replaced(known, &found(etag, None, None)), text, "{known:?}");
            assert_eq!(why_replaced(known, &found(etag, None, Some(QuarantineReason::TooSmall))), "too-small");
        }
        let local = |etag: &str| TrackedFile {
            uri: "/in/2025-12-23-a.ndjson".parse().unwrap(),
            etag: etag.to_owned(),
            ..known(FileState::Quarantined)
        };
        assert_eq!(why_replaced(&local("7-100-f00"), &found("7-101-f00", None, None)), ACCEPTED);
    }

    #[test]
    fn only_what_waits_can_go_missing() {
        for state in FileState::ALL {
            let goes = decide_missing(&known(state), &found("", None, None)).is_some();
            assert_eq!(goes, matches!(state, FileState::Pending | FileState::Failed), "{state}");
        }
    }
}
