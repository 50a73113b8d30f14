//! Redrive of the quarantined and failed files of a place; [`millwork_redrive`] decides about each file.

use crate::builder::Builder;
use crate::error::BuilderError;
use millwork_manifest::{BY_OPERATOR, FileState, ObjectUri, QuarantineReason};
use millwork_redrive::{Redrive, Verdict};
use millwork_storage::Location;
use serde::Serialize;

/// Selection of the files that a redrive takes back.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedriveFilter {
    /// Only files in this state: quarantined or failed. `None` selects both.
    pub state: Option<FileState>,
    /// Only files that were refused for this reason.
    pub reason: Option<QuarantineReason>,
}

/// Result of a redrive.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Redriven {
    /// Files that are pending again; in a dry run, those that would be.
    pub pending: Vec<ObjectUri>,
    /// Files that the rules still refuse. They stay in the quarantine.
    pub refused: Vec<RefusedFile>,
    /// Files whose objects are gone.
    pub missing: Vec<ObjectUri>,
    /// Files that could not be taken back, with the reason.
    pub failed: Vec<(ObjectUri, String)>,
    /// Number of refused files that were not looked at: refused for another reason than the one asked for, or by an operator.
    pub others: u64,
}

/// A file that the rules still refuse.
#[derive(Clone, Debug, Serialize)]
pub struct RefusedFile {
    /// Address that the file came from.
    pub uri: ObjectUri,
    /// Reason for the refusal.
    pub reason: QuarantineReason,
    /// Explanation of the defect and its remedy, as shown to people.
    pub detail: String,
}

impl Builder {
    /// Takes back the quarantined and failed files that came from a place.
    pub async fn redrive(
        &self,
        place: &Location,
        filter: RedriveFilter,
        dry_run: bool,
    ) -> Result<Redriven, BuilderError> {
        if !self.settings.input.covers(place) {
            return Err(BuilderError::NoPlace(place.to_string()));
        }
        let mut done = Redriven::default();
        for state in [FileState::Quarantined, FileState::Failed] {
            if filter.state.is_none_or(|wanted| wanted == state) {
                self.redrive_in(state, place, filter, dry_run, &mut done).await?;
            }
        }
        Ok(done)
    }

    async fn redrive_in(
        &self,
        state: FileState,
        place: &Location,
        filter: RedriveFilter,
        dry_run: bool,
        done: &mut Redriven,
    ) -> Result<(), BuilderError> {
        let (rules, now) = (&self.settings.rules, self.now());
        let redrive = Redrive { store: &*self.store, objects: &*self.objects, rules, place: Some(place), now };
        for file in self.files_in(state, place).await? {
            // Files that an operator refused are taken back only by an operator.
            let is_kept = file.reason.as_deref() == Some(BY_OPERATOR);
            if is_kept || filter.reason.is_some_and(|reason| file.reason.as_deref() != Some(reason.as_str())) {
                done.others += u64::from(state == FileState::Quarantined);
                continue;
            }
            let verdict = match dry_run {
                true => redrive.look(&file).await.map(|looked| looked.verdict),
                false => redrive.take_back(&file).await,
            };
            // A file that cannot be taken back does not stop the others.
            match verdict {
                Ok(Verdict::Pending) => done.pending.push(file.uri),
                Ok(Verdict::Refused(reason, detail)) => {
                    done.refused.push(RefusedFile { uri: file.uri, reason, detail })
                }
                Ok(Verdict::Missing) => done.missing.push(file.uri),
                Err(error) => done.failed.push((file.uri, error.to_string())),
            }
        }
        Ok(())
    }
}
