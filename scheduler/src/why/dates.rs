//! Facts about dates.

use super::Inspector;
use super::cluster::lock_facts;
use chrono::Utc;
use millwork_diagnosis::{DateFacts, WishFacts};
use millwork_manifest::{DatePrefix, FileState, RunState};
use millwork_tracking::{DateTotals, FileFilter, Round, RunFilter, TrackingResult, Wish, open_wishes};

/// Limit of the runs, and of the files, of a date that are read: 300. Beyond it, totals are used, which are exact in
/// SQLite, and in DynamoDB as of the last recount.
const PAGE: usize = 300;

impl Inspector {
    /// Lock under which manifests of a date are made.
    pub(crate) async fn lock_of(&self, date: DatePrefix) -> TrackingResult<DateFacts> {
        let lock = self.store.inspection().locks(&[format!("LOCK#{date}")]).await?.pop();
        Ok(DateFacts { date: date.to_string(), lock: lock.map(lock_facts), ..DateFacts::default() })
    }

    /// Open wishes for a date.
    pub(super) fn wishes_of(date: DatePrefix, open: &[Wish]) -> Vec<WishFacts> {
        let facts = |wish: &Wish| WishFacts {
            until: match wish.round {
                Round::Cut { until } => Some(until),
                Round::Sweep => None,
            },
            actor: wish.actor.clone(),
            asked_at: wish.asked_at,
        };
        open.iter().filter(|wish| wish.date == date).map(facts).collect()
    }

    /// All facts about a date; `None` if nothing is known of it.
    pub(super) async fn date_facts(&self, date: DatePrefix) -> TrackingResult<Option<DateFacts>> {
        let mut facts = self.lock_of(date).await?;
        facts.wishes = Self::wishes_of(date, &open_wishes(&*self.store, Utc::now()).await?);
        let backlog = self.store.backlog(date).await?;
        facts.pending_files = backlog.pending_files;
        facts.pending_bytes = backlog.pending_bytes;
        facts.oldest_pending = backlog.oldest_pending;
        if let Some(oldest) = self.store.pending(date, 1).await?.first() {
            facts.has_pending = true;
            facts.oldest_pending = facts.oldest_pending.or(Some(oldest.arrived_at));
        }
        let found = self.store.date_totals(Some(date), Some(date)).await?;
        let totals = found.into_iter().map(|(_, totals)| totals).next().unwrap_or_default();
        if has_many(&totals) || !self.add_all(&mut facts, date).await? {
            add_totals(&mut facts, totals);
        }
        let is_known = facts.pending_files > 0 || facts.has_pending || facts.refused > 0 || !facts.runs.is_empty();
        Ok(is_known.then_some(facts))
    }

    /// Counts runs and files by reading them. Returns whether these were all.
    async fn add_all(&self, facts: &mut DateFacts, date: DatePrefix) -> TrackingResult<bool> {
        let runs = RunFilter { date: Some(date), limit: PAGE, ..RunFilter::default() };
        let runs = self.store.list_runs(&runs).await?;
        let refused =
            FileFilter { state: Some(FileState::Quarantined), date: Some(date), limit: PAGE, ..FileFilter::default() };
        let refused = self.store.list_files(&refused).await?;
        let failed =
            FileFilter { state: Some(FileState::Failed), date: Some(date), limit: PAGE, ..FileFilter::default() };
        let failed = self.store.list_files(&failed).await?;
        facts.refused = refused.items.len() as u64;
        facts.files_failed = failed.items.len() as u64;
        let mut counts: Vec<(RunState, u64)> = RunState::ALL.map(|state| (state, 0)).to_vec();
        for run in runs.items {
            if let Some((_, count)) = counts.iter_mut().find(|(state, _)| *state == run.state) {
                *count += 1;
            }
            match run.state {
                RunState::Completed => facts.files_done += run.files,
                RunState::Failed | RunState::Cancelled => {}
                _ => facts.files_open += run.files,
            }
            facts.last_commit = facts.last_commit.max(run.committed_at);
        }
        counts.retain(|(_, count)| *count > 0);
        facts.runs = counts;
        Ok([runs.next_cursor, refused.next_cursor, failed.next_cursor].iter().all(Option::is_none))
    }
}

/// Tells whether a date has more runs, or files of a kind, than are read.
fn has_many(totals: &DateTotals) -> bool {
    let files = [FileState::Quarantined, FileState::Failed];
    let files = files.iter().filter_map(|state| totals.files.get(state)).map(|total| total.files);
    totals.runs.values().sum::<u64>() > PAGE as u64 || files.into_iter().any(|files| files > PAGE as u64)
}

/// Takes the counts of a date from its totals.
fn add_totals(facts: &mut DateFacts, totals: DateTotals) {
    let files =
        |states: &[FileState]| states.iter().filter_map(|state| totals.files.get(state)).map(|total| total.files).sum();
    facts.refused = files(&[FileState::Quarantined]);
    facts.files_failed = files(&[FileState::Failed]);
    facts.files_done = files(&[FileState::Completed]);
    facts.files_open = files(&[FileState::Manifested, FileState::Processing]);
    facts.last_commit = totals.last_commit;
    facts.runs = RunState::ALL
        .iter()
        .filter_map(|state| Some((*state, *totals.runs.get(state)?)))
        .filter(|(_, runs)| *runs > 0)
        .collect();
}

#[cfg(test)]
mod tests {
    use super::*;
    use millwork_tracking::FileTotal;

    #[test]
    fn a_date_of_which_more_is_known_than_is_read_is_told_by_its_totals() {
        let page = PAGE as u64;
        let totals = |completed, failed, pending| {
            let file = |files| FileTotal { files, ..FileTotal::default() };
            DateTotals {
                runs: [(RunState::Completed, completed), (RunState::Failed, 1)].into(),
                files: [(FileState::Failed, file(failed)), (FileState::Pending, file(pending))].into(),
                ..DateTotals::default()
            }
        };
        assert!(!has_many(&DateTotals::default()) && !has_many(&totals(page - 1, page, 10 * page)));
        assert!(has_many(&totals(page, 0, 0)) && has_many(&totals(0, page + 1, 0)));
    }
}
