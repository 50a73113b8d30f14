//! List of causes that need a person now, grouped by cause.

use super::Inspector;
use super::files::{file_facts, head_facts};
use super::runs::is_under_way;
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{
    AttentionItem, ClusterFacts, Code, DateFacts, Diagnosis, Facts, Settings, Standing, Subject, diagnose, fold,
};
use millwork_manifest::{DatePrefix, FileState, ManifestId, RunState};
use millwork_tracking::{
    BuilderAbout, FileFilter, Page, Run, RunFilter, RunStore, TrackedFile, TrackingResult, open_wishes,
};
use std::collections::{HashMap, HashSet};

/// Limit of what is listed of each kind: 500, the newest runs, the oldest files.
pub(super) const LOOKED_AT: usize = 500;
/// Limit of the dates with pending files that are read: the oldest 100.
const MAX_DATES: usize = 100;
/// Limit of the runs and drafts of each kind whose details are read: 50. Of open runs, those that started first among the newest 500 of each
/// state.
pub(super) const MAX_EXAMINED: usize = 50;
/// Limit of the pages of drafts that are read, of 500 each: 10. A draft normally exists only briefly.
const MAX_DRAFT_PAGES: usize = 10;
/// Limit of the items of the list: 50, so that it stays readable.
const MAX_ITEMS: usize = 50;
/// Age from which a draft needs attention, in seconds: 300. The sweep normally finishes one within a minute.
const OLD_DRAFT_SECONDS: i64 = 300;

/// List of what needs a person now.
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Attention {
    /// Moment of the look.
    pub at: DateTime<Utc>,
    /// Causes, those with the most subjects first.
    pub items: Vec<AttentionItem>,
    /// Causes beyond the 50 that are shown.
    pub left_out: usize,
    /// True if there was more than was looked at: 500 failed runs, failed files and refused files each, 100 dates, 50 open runs, 50 old drafts,
    /// 50 runs with files without a row.
    pub is_capped: bool,
}

/// Diagnoses found so far, and the facts and settings on which they are based.
pub(super) struct Found {
    cluster: ClusterFacts,
    settings: Settings,
    pub(super) now: DateTime<Utc>,
    diagnoses: Vec<(String, Diagnosis)>,
    pub(super) is_capped: bool,
}

impl Found {
    pub(super) fn diagnose(&self, subject: &Subject, facts: &Facts) -> Diagnosis {
        diagnose(subject, facts, &self.settings, self.now)
    }

    pub(super) fn add(&mut self, cause: String, diagnosis: Diagnosis) {
        if diagnosis.standing == Standing::NeedsYou {
            self.diagnoses.push((cause, diagnosis));
        }
    }
}

impl Inspector {
    /// Collects subjects that need a person, grouped by cause.
    pub async fn attention(&self, now: DateTime<Utc>) -> TrackingResult<Attention> {
        let (cluster, builder) = self.cluster(now).await?;
        let settings = self.settings(builder.as_ref());
        let mut found = Found { cluster, settings, now, diagnoses: Vec::new(), is_capped: false };
        let failed = RunFilter { state: Some(RunState::Failed), limit: LOOKED_AT, ..RunFilter::default() };
        let failed = self.store.list_runs(&failed).await?;
        let files = self.files_in(FileState::Failed, &mut found).await?;
        found.is_capped |= failed.next_cursor.is_some();
        add_failed_runs(&mut found, &failed.items, &files);
        self.add_unfinished(&mut found).await?;
        self.add_dates(&mut found).await?;
        self.add_drafts(&mut found).await?;
        let known = failed.items.into_iter().map(|run| (run.manifest_id.to_string(), Some(run)));
        let mut runs: HashMap<String, Option<Run>> = known.collect();
        let refused = self.files_in(FileState::Quarantined, &mut found).await?;
        for file in refused.items.iter().chain(&files.items) {
            self.add_file(&mut found, &mut runs, file, builder.as_ref()).await?;
        }
        self.add_without_rows(&mut found).await?;
        let (items, left_out) = fold(found.diagnoses, MAX_ITEMS);
        Ok(Attention { at: now, items, left_out, is_capped: found.is_capped })
    }

    /// Files in a state, the oldest first.
    async fn files_in(&self, state: FileState, found: &mut Found) -> TrackingResult<Page<TrackedFile>> {
        let filter = FileFilter { state: Some(state), limit: LOOKED_AT, ..FileFilter::default() };
        let page = self.store.list_files(&filter).await?;
        found.is_capped |= page.next_cursor.is_some();
        Ok(page)
    }

    /// Adds active runs, and the obstacle of the first queued run.
    async fn add_unfinished(&self, found: &mut Found) -> TrackingResult<()> {
        let mut open = Vec::new();
        for state in RunState::OPEN {
            let filter = RunFilter { state: Some(state), limit: LOOKED_AT, ..RunFilter::default() };
            let page = self.store.list_runs(&filter).await?;
            found.is_capped |= page.next_cursor.is_some();
            open.extend(page.items);
        }
        open.sort_by_key(|run| run.started_at);
        found.is_capped |= open.len() > MAX_EXAMINED;
        open.truncate(MAX_EXAMINED);
        open.extend(self.store.due(1, found.now).await?);
        let newest = if open.iter().any(is_under_way) { self.newest_completed().await? } else { Vec::new() };
        for run in open {
            let run_facts = self.run_facts_beside(&run, &newest, found.now).await?;
            let facts = Facts { run: Some(run_facts), cluster: found.cluster.clone(), ..Facts::default() };
            let diagnosis = found.diagnose(&Subject::Run(run.manifest_id.to_string()), &facts);
            found.add(String::new(), diagnosis);
        }
        Ok(())
    }

    /// Adds dates with due manifests that no builder makes.
    async fn add_dates(&self, found: &mut Found) -> TrackingResult<()> {
        let backlogs = self.store.backlogs().await?;
        let open = open_wishes(&*self.store, found.now).await?;
        found.is_capped |= backlogs.len() > MAX_DATES;
        for (date, backlog) in backlogs.into_iter().take(MAX_DATES) {
            let facts = DateFacts {
                pending_files: backlog.pending_files,
                pending_bytes: backlog.pending_bytes,
                oldest_pending: backlog.oldest_pending,
                has_pending: true,
                wishes: Self::wishes_of(date, &open),
                ..self.lock_of(date).await?
            };
            let facts = Facts { date: Some(facts), cluster: found.cluster.clone(), ..Facts::default() };
            let diagnosis = found.diagnose(&Subject::Date(date.to_string()), &facts);
            found.add(String::new(), diagnosis);
        }
        Ok(())
    }

    /// Adds drafts that the sweep should have finished.
    async fn add_drafts(&self, found: &mut Found) -> TrackingResult<()> {
        let before = found.now - Duration::seconds(OLD_DRAFT_SECONDS);
        let (drafts, is_all) = old_drafts(&*self.store, before).await?;
        found.is_capped |= !is_all || drafts.len() > MAX_EXAMINED;
        for run in drafts.into_iter().take(MAX_EXAMINED) {
            let date = Some(self.lock_of(run.date).await?);
            let facts = Facts { run: Some(head_facts(&run)), date, cluster: found.cluster.clone(), ..Facts::default() };
            let mut diagnosis = found.diagnose(&Subject::Run(run.manifest_id.to_string()), &facts);
            diagnosis.standing = Standing::NeedsYou;
            found.add(String::new(), diagnosis);
        }
        Ok(())
    }

    /// Adds a file that was refused, by reason, or that failed although its run did not.
    async fn add_file(
        &self,
        found: &mut Found,
        runs: &mut HashMap<String, Option<Run>>,
        file: &TrackedFile,
        builder: Option<&BuilderAbout>,
    ) -> TrackingResult<()> {
        let mut known = file_facts(file);
        if file.state == FileState::Quarantined {
            let today = DatePrefix::from(found.now.date_naive());
            let accepts = |builder: &BuilderAbout| builder.rules().judge(&file.uri.key(), file.size_bytes, today);
            known.verdict = builder.map(accepts).map(|verdict| match verdict {
                millwork_manifest::Arrival::Accepted(_) => Ok(()),
                millwork_manifest::Arrival::Quarantined(reason, _) => Err(reason.to_string()),
            });
        }
        let run = match file.manifest_id.as_ref().and_then(|id| id.parse::<ManifestId>().ok()) {
            Some(id) if file.state == FileState::Failed => match runs.get(id.as_str()) {
                Some(run) => run.clone(),
                None => {
                    let run = self.store.run_head(&id).await?;
                    runs.insert(id.to_string(), run.clone());
                    run
                }
            },
            _ => None,
        };
        let facts = Facts { file: Some(known), run: run.as_ref().map(head_facts), ..Facts::default() };
        let diagnosis = found.diagnose(&Subject::File(file.uri.to_string()), &facts);
        // Files of failed runs are covered by their run.
        if matches!(diagnosis.code, Code::Refused | Code::Orphan | Code::Changed) {
            let cause = if diagnosis.code == Code::Refused { file.reason.clone() } else { None };
            found.add(cause.unwrap_or_default(), diagnosis);
        }
        Ok(())
    }
}

/// Adds failed runs, grouped by class and beginning of their message.
fn add_failed_runs(found: &mut Found, failed: &[Run], files: &Page<TrackedFile>) {
    let is_all = files.next_cursor.is_none();
    let with_files: HashSet<&str> = files.items.iter().filter_map(|file| file.manifest_id.as_deref()).collect();
    // Files of other failed runs have been converted or released since.
    let is_wanted = |run: &&Run| !is_all || with_files.contains(run.manifest_id.as_str());
    for run in failed.iter().filter(is_wanted) {
        let facts = Facts { run: Some(head_facts(run)), ..Facts::default() };
        let diagnosis = found.diagnose(&Subject::Run(run.manifest_id.to_string()), &facts);
        found.add(cause_of(run), diagnosis);
    }
}

/// Drafts begun before a time, oldest first, and whether these are all: the listing has the newest first, and is read
/// up to [`MAX_DRAFT_PAGES`].
pub(crate) async fn old_drafts(store: &dyn RunStore, before: DateTime<Utc>) -> TrackingResult<(Vec<Run>, bool)> {
    let mut filter = RunFilter { state: Some(RunState::Draft), limit: LOOKED_AT, ..RunFilter::default() };
    let mut old = Vec::new();
    for _ in 0..MAX_DRAFT_PAGES {
        let page = store.list_runs(&filter).await?;
        old.extend(page.items.into_iter().filter(|run| run.created_at <= before));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    old.sort_by_key(|run| run.created_at);
    Ok((old, filter.cursor.is_none()))
}

/// Common cause of failed runs: the class, and the message without numbers and names.
fn cause_of(run: &Run) -> String {
    let Some(failure) = &run.failure else { return String::new() };
    let first = failure.message.lines().next().unwrap_or_default();
    let mut words: Vec<&str> = Vec::new();
    for word in first.split_whitespace().take(MAX_CAUSE_WORDS) {
        let is_name = word.contains(['/', '`', '_']) || word.chars().any(|c| c.is_ascii_digit()) && word.len() > 3;
        words.push(if is_name { "…" } else { word });
    }
    if first.split_whitespace().nth(MAX_CAUSE_WORDS).is_some() {
        words.push("…");
    }
    words.dedup();
    format!("{}: {}", failure.class, millwork_diagnosis::shown(&words.join(" ")))
}

/// Limit of the words of a message that distinguish causes: 12. Later words are mostly names.
const MAX_CAUSE_WORDS: usize = 12;
