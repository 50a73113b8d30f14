//! List of causes that need a person now, grouped by cause.

use super::files::{file_facts, head_facts};
use super::runs::is_under_way;
use super::{Inspector, rules_of};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{
    AttentionItem, ClusterFacts, Code, DateFacts, Diagnosis, Facts, Settings, Standing, Subject, diagnose, fold,
};
use millwork_manifest::{DatePrefix, FileState, ManifestId, RunState};
use millwork_tracking::{
    BuilderAbout, FileFilter, Page, Run, RunFilter, RunStore, TrackedFile, TrackingResult, open_wishes,
};
use std::collections::{HashMap, HashSet};

/// Limit of the failed runs, failed files and refused files that are read, each: 500, the newest or the oldest.
pub(super) const LOOKED_AT: usize = 500;
/// Limit of the dates with pending files that are read: the oldest 100.
const MAX_DATES: usize = 100;
/// Limit of the open runs whose details are read: 50, oldest first.
pub(super) const MAX_OPEN: usize = 50;
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

/// Diagnoses found so far.
#[derive(Default)]
pub(super) struct Found {
    diagnoses: Vec<(String, Diagnosis)>,
    pub(super) is_capped: bool,
}

impl Found {
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
        let mut found = Found::default();
        let failed = RunFilter { state: Some(RunState::Failed), limit: LOOKED_AT, ..RunFilter::default() };
        let failed = self.store.list_runs(&failed).await?;
        let files = FileFilter { state: Some(FileState::Failed), limit: LOOKED_AT, ..FileFilter::default() };
        let files = self.store.list_files(&files).await?;
        found.is_capped |= failed.next_cursor.is_some() || files.next_cursor.is_some();
        add_failed_runs(&mut found, &failed.items, &files, &settings, now);
        let known = failed.items.into_iter().map(|run| (run.manifest_id.to_string(), Some(run)));
        let mut runs: HashMap<String, Option<Run>> = known.collect();
        self.add_unfinished(&mut found, &cluster, &settings, now).await?;
        self.add_dates(&mut found, &cluster, &settings, now).await?;
        self.add_drafts(&mut found, &cluster, &settings, now).await?;
        let refused = FileFilter { state: Some(FileState::Quarantined), limit: LOOKED_AT, ..FileFilter::default() };
        let refused = self.store.list_files(&refused).await?;
        found.is_capped |= refused.next_cursor.is_some();
        for file in refused.items.iter().chain(&files.items) {
            self.add_file(&mut found, &mut runs, file, builder.as_ref(), &settings, now).await?;
        }
        self.add_without_rows(&mut found, &settings, now).await?;
        let (items, left_out) = fold(found.diagnoses, MAX_ITEMS);
        Ok(Attention { at: now, items, left_out, is_capped: found.is_capped })
    }

    /// Adds active runs, and the obstacle of the first queued run.
    async fn add_unfinished(
        &self,
        found: &mut Found,
        cluster: &ClusterFacts,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let mut open = Vec::new();
        for state in RunState::OPEN {
            let filter = RunFilter { state: Some(state), limit: MAX_OPEN, ..RunFilter::default() };
            let page = self.store.list_runs(&filter).await?;
            found.is_capped |= page.next_cursor.is_some();
            open.extend(page.items);
        }
        open.sort_by_key(|run| run.started_at);
        found.is_capped |= open.len() > MAX_OPEN;
        open.truncate(MAX_OPEN);
        open.extend(self.store.due(1, now).await?);
        let newest = if open.iter().any(is_under_way) { self.newest_completed().await? } else { Vec::new() };
        for run in open {
            let run_facts = self.run_facts_beside(&run, &newest, now).await?;
            let facts = Facts { run: Some(run_facts), cluster: cluster.clone(), ..Facts::default() };
            let diagnosis = diagnose(&Subject::Run(run.manifest_id.to_string()), &facts, settings, now);
            found.add(String::new(), diagnosis);
        }
        Ok(())
    }

    /// Adds dates with due manifests that no builder makes.
    async fn add_dates(
        &self,
        found: &mut Found,
        cluster: &ClusterFacts,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let backlogs = self.store.backlogs().await?;
        let open = open_wishes(&*self.store, now).await?;
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
            let facts = Facts { date: Some(facts), cluster: cluster.clone(), ..Facts::default() };
            found.add(String::new(), diagnose(&Subject::Date(date.to_string()), &facts, settings, now));
        }
        Ok(())
    }

    /// Adds drafts that the sweep should have finished.
    async fn add_drafts(
        &self,
        found: &mut Found,
        cluster: &ClusterFacts,
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let before = now - Duration::seconds(OLD_DRAFT_SECONDS);
        let (drafts, is_all) = old_drafts(&*self.store, before).await?;
        found.is_capped |= !is_all || drafts.len() > MAX_OPEN;
        for run in drafts.into_iter().take(MAX_OPEN) {
            let date = Some(self.lock_of(run.date).await?);
            let facts = Facts { run: Some(head_facts(&run)), date, cluster: cluster.clone(), ..Facts::default() };
            let mut diagnosis = diagnose(&Subject::Run(run.manifest_id.to_string()), &facts, settings, now);
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
        settings: &Settings,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let mut known = file_facts(file);
        if file.state == FileState::Quarantined {
            let today = DatePrefix::from(now.date_naive());
            let accepts = |builder| rules_of(builder).judge(&file.uri.key(), file.size_bytes, today);
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
        let diagnosis = diagnose(&Subject::File(file.uri.to_string()), &facts, settings, now);
        // Files of failed runs are covered by their run.
        if matches!(diagnosis.code, Code::Refused | Code::Orphan | Code::Changed) {
            let cause = if diagnosis.code == Code::Refused { file.reason.clone() } else { None };
            found.add(cause.unwrap_or_default(), diagnosis);
        }
        Ok(())
    }
}

/// Adds failed runs, grouped by class and beginning of their message.
fn add_failed_runs(
    found: &mut Found,
    failed: &[Run],
    files: &Page<TrackedFile>,
    settings: &Settings,
    now: DateTime<Utc>,
) {
    let is_all = files.next_cursor.is_none();
    let with_files: HashSet<&str> = files.items.iter().filter_map(|file| file.manifest_id.as_deref()).collect();
    // Files of other failed runs have been converted or released since.
    let is_wanted = |run: &&Run| !is_all || with_files.contains(run.manifest_id.as_str());
    for run in failed.iter().filter(is_wanted) {
        let facts = Facts { run: Some(head_facts(run)), ..Facts::default() };
        let diagnosis = diagnose(&Subject::Run(run.manifest_id.to_string()), &facts, settings, now);
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
