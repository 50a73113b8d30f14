//! Facts of dates.

use super::Inspector;
use super::cluster::lock_facts;
use millwork_diagnosis::DateFacts;
use millwork_manifest::{DatePrefix, FileState, RunState};
use millwork_tracking::{FileFilter, RunFilter, TrackingResult};

/// Runs that are read at once, and how often: 10,000 in all, six days' worth of the largest load that is planned for.
const PAGE: usize = 1000;
const MAX_PAGES: usize = 10;

impl Inspector {
    /// The lock under which manifests of a date are made.
    pub(crate) async fn lock_of(&self, date: DatePrefix) -> TrackingResult<DateFacts> {
        let lock = self.store.inspection().locks(&[format!("LOCK#{date}")]).await?.pop();
        Ok(DateFacts { date: date.to_string(), lock: lock.map(lock_facts), ..DateFacts::default() })
    }

    /// All that is known of a date; none if nothing is.
    pub(super) async fn date_facts(&self, date: DatePrefix) -> TrackingResult<Option<DateFacts>> {
        let mut facts = self.lock_of(date).await?;
        let backlog = self.store.backlog(date).await?;
        facts.pending_files = backlog.pending_files;
        facts.pending_bytes = backlog.pending_bytes;
        facts.oldest_pending = backlog.oldest_pending;
        if let Some(oldest) = self.store.pending(date, 1).await?.first() {
            facts.has_pending = true;
            facts.oldest_pending = facts.oldest_pending.or(Some(oldest.arrived_at));
        }
        self.add_runs(&mut facts, date).await?;
        let refused =
            FileFilter { state: Some(FileState::Quarantined), date: Some(date), limit: PAGE, ..FileFilter::default() };
        let refused = self.store.list_files(&refused).await?;
        facts.refused = refused.items.len() as u64;
        facts.is_capped |= refused.next_cursor.is_some();
        let failed =
            FileFilter { state: Some(FileState::Failed), date: Some(date), limit: PAGE, ..FileFilter::default() };
        let failed = self.store.list_files(&failed).await?;
        facts.files_failed = failed.items.len() as u64;
        facts.is_capped |= failed.next_cursor.is_some();
        let is_known = facts.pending_files > 0 || facts.has_pending || facts.refused > 0 || !facts.runs.is_empty();
        Ok(is_known.then_some(facts))
    }

    async fn add_runs(&self, facts: &mut DateFacts, date: DatePrefix) -> TrackingResult<()> {
        let mut filter = RunFilter { date: Some(date), limit: PAGE, ..RunFilter::default() };
        let mut counts: Vec<(RunState, u64)> = RunState::ALL.map(|state| (state, 0)).to_vec();
        for _ in 0..MAX_PAGES {
            let page = self.store.list_runs(&filter).await?;
            for run in page.items {
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
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                break;
            }
        }
        facts.is_capped = filter.cursor.is_some();
        counts.retain(|(_, count)| *count > 0);
        facts.runs = counts;
        Ok(())
    }
}
