//! Changes of a file: its new record, and new timeline entries.
//!
//! Every change is conditional on the version on which it was decided, and is refused if the file has another one
//! (optimistic locking).

use super::expression::Expression;
use super::item::{StoredFile, file_attributes, number, text, timeline_value};
use crate::decide::why_replaced;
use crate::{FoundFile, TimelineEntry, TrackedFile};
use aws_sdk_dynamodb::types::AttributeValue;
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, ManifestId};

/// Limit of the entries that a timeline keeps: a hundred such files must fit in one transaction.
const MAX_TIMELINE: usize = 100;

/// A change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    /// Record of the file after the change.
    pub(super) after: TrackedFile,
    /// New timeline entries.
    pub(super) notes: Vec<TimelineEntry>,
}

impl Change {
    /// A change of a file that so far changes only version and time.
    pub(super) fn of(file: &TrackedFile, now: DateTime<Utc>) -> Self {
        let after = TrackedFile { version: file.version + 1, updated_at: now, ..file.clone() };
        Self { after, notes: Vec::new() }
    }

    /// Edits the record after the change.
    pub(super) fn with(mut self, edit: impl FnOnce(&mut TrackedFile)) -> Self {
        edit(&mut self.after);
        self
    }

    /// Moves the file to a state, with a timeline entry.
    pub(super) fn to(mut self, state: FileState, detail: Option<String>) -> Self {
        self.after.state = state;
        self.notes.push(TimelineEntry { at: self.after.updated_at, state, detail });
        self
    }

    /// Update expression for this change, conditional on the record as it was read.
    pub(super) fn expression(&self, before: &TrackedFile) -> Expression {
        self.attributes(before).append("timeline", self.note_values())
    }

    /// Update expression as in [`Self::expression`], for a file with a known timeline; a full timeline loses its oldest
    /// entries.
    pub(super) fn expression_on(&self, before: &StoredFile) -> Expression {
        let notes = self.note_values();
        let kept = MAX_TIMELINE.saturating_sub(notes.len());
        if before.timeline.len() <= kept {
            return self.expression(&before.file);
        }
        let newest = before.timeline.iter().skip(before.timeline.len() - kept).cloned();
        self.attributes(&before.file).set("timeline", AttributeValue::L(newest.chain(notes).collect()))
    }

    fn note_values(&self) -> Vec<AttributeValue> {
        self.notes.iter().map(timeline_value).collect()
    }

    /// Sets the changed attributes, on the condition that the file is unchanged.
    fn attributes(&self, before: &TrackedFile) -> Expression {
        let condition = Expression::new().when("version", "=", number(before.version)).when(
            "status",
            "=",
            text(before.state.as_str()),
        );
        let pairs = file_attributes(before).into_iter().zip(file_attributes(&self.after));
        let changed = pairs.filter(|((_, old), (_, new))| old != new);
        changed.fold(condition, |expression, (_, (name, new))| expression.put(name, new))
    }
}

/// Change that creates a file in its first state.
pub(super) fn new_file(found: &FoundFile, state: FileState, manifest_id: Option<&str>, now: DateTime<Utc>) -> Change {
    let reason = found.quarantine.map(|reason| reason.as_str().to_owned());
    let manifest_id = manifest_id.map(str::to_owned);
    let file = TrackedFile {
        uri: found.uri.clone(),
        date: found.date,
        size_bytes: found.size_bytes,
        etag: found.etag.clone(),
        version_id: found.version_id.clone(),
        sequencer: found.sequencer.clone(),
        state,
        version: 0,
        manifest_id: manifest_id.clone(),
        reason: reason.clone(),
        quarantine_uri: None,
        overwritten_etag: None,
        arrived_at: now,
        updated_at: now,
    };
    Change::of(&file, now).to(state, reason.or(manifest_id))
}

/// Replaces the record by the finding; the file then belongs to no manifest.
pub(super) fn replaced(file: &TrackedFile, found: &FoundFile, state: FileState, now: DateTime<Utc>) -> Change {
    let reason = found.quarantine.map(|reason| reason.as_str().to_owned());
    let detail = why_replaced(file, found).to_owned();
    let taken_over = |after: &mut TrackedFile| {
        after.date = file.date.or(found.date);
        after.size_bytes = found.size_bytes;
        after.etag.clone_from(&found.etag);
        after.version_id.clone_from(&found.version_id);
        after.sequencer = found.sequencer.clone().or_else(|| file.sequencer.clone());
        after.reason = reason;
        after.manifest_id = None;
        after.quarantine_uri = None;
        after.overwritten_etag = None;
    };
    Change::of(file, now).with(taken_over).to(state, Some(detail))
}

/// Assigns a file to a manifest.
pub(super) fn manifested(file: &TrackedFile, id: &ManifestId, now: DateTime<Utc>) -> Change {
    let put = |after: &mut TrackedFile| {
        after.manifest_id = Some(id.to_string());
        after.reason = None;
    };
    Change::of(file, now).with(put).to(FileState::Manifested, Some(id.to_string()))
}

/// Tells whether a file is in one of these states in this manifest.
pub(super) fn is_in(file: &TrackedFile, id: &ManifestId, states: &[FileState]) -> bool {
    states.contains(&file.state) && file.manifest_id.as_deref() == Some(id.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_manifest::QuarantineReason;

    fn found(etag: &str) -> FoundFile {
        FoundFile {
            uri: "s3://in/2025-12-23-a.ndjson".parse().unwrap(),
            date: "2025-12-23".parse().ok(),
            size_bytes: 7,
            etag: etag.to_owned(),
            version_id: None,
            sequencer: None,
            quarantine: None,
        }
    }

    fn pending() -> TrackedFile {
        new_file(&found("1"), FileState::Pending, None, DateTime::UNIX_EPOCH).after
    }

    #[test]
    fn a_claim_takes_the_file_out_of_the_index_of_what_waits() {
        let change = manifested(&pending(), &"m".parse().unwrap(), DateTime::UNIX_EPOCH);
        let update = change.expression(&pending());
        let update_text = update.update_text().unwrap();
        assert!(update_text.contains("#status = ") && update_text.ends_with("REMOVE #pending_date"), "{update_text}");
        assert!(!update_text.contains("etag"), "{update_text}");
        assert_eq!(update.condition_text().unwrap(), "#version = :v0 AND #status = :v1");
        assert_eq!(change.after.version, 2);
    }

    #[test]
    fn a_completed_file_expires_until_it_is_pending_again() {
        let completed = Change::of(&pending(), DateTime::UNIX_EPOCH).to(FileState::Completed, None).after;
        let again = replaced(&completed, &found("2"), FileState::Pending, DateTime::UNIX_EPOCH);
        assert!(again.expression(&completed).update_text().unwrap().ends_with("REMOVE #ttl"));
        assert_eq!(again.after.etag, "2");
    }

    #[test]
    fn the_news_of_a_removal_expires_unless_the_file_was_known_or_comes() {
        let gone = FoundFile { quarantine: Some(QuarantineReason::MissingObject), ..found("") };
        let news = new_file(&gone, FileState::Quarantined, None, DateTime::UNIX_EPOCH).after;
        let ttl = |file: &TrackedFile| file_attributes(file).into_iter().find(|(name, _)| *name == "ttl").unwrap().1;
        assert!(ttl(&news).is_some());
        let came = replaced(&news, &found("1"), FileState::Pending, DateTime::UNIX_EPOCH);
        assert!(came.expression(&news).update_text().unwrap().contains("#ttl"));
        let known = Change::of(&pending(), DateTime::UNIX_EPOCH).with(|after| after.reason.clone_from(&news.reason));
        assert!(ttl(&known.to(FileState::Quarantined, None).after).is_none());
        let small = FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found("1") };
        assert!(ttl(&new_file(&small, FileState::Quarantined, None, DateTime::UNIX_EPOCH).after).is_none());
    }

    #[test]
    fn a_refused_file_is_quarantined_with_its_reason() {
        let refused = FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found("1") };
        let change = new_file(&refused, FileState::Quarantined, None, DateTime::UNIX_EPOCH);
        assert_eq!(change.notes[0].detail.as_deref(), Some("too-small"));
        assert_eq!((change.after.version, change.after.reason.as_deref()), (1, Some("too-small")));
    }

    #[test]
    fn a_full_timeline_loses_its_oldest_entries() {
        let before = StoredFile { file: pending(), timeline: (0..MAX_TIMELINE).map(number).collect() };
        let change = Change::of(&before.file, DateTime::UNIX_EPOCH).to(FileState::Pending, None);
        let values = change.expression_on(&before).values().unwrap();
        let list = values.values().find_map(|value| value.as_l().ok()).unwrap();
        assert_eq!((list.len(), &list[0]), (MAX_TIMELINE, &number(1)));
    }
}
