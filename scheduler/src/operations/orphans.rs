//! Orphans, which no process will continue with: files without a valid run, abandoned drafts, unreferenced objects.

use super::read::FileQuery;
use super::{MAX_FILES_READ, MAX_FINDINGS, Operations, PAGE};
use crate::commit::RunResult;
use crate::why::old_drafts;
use chrono::{DateTime, Duration, Utc};
use futures::StreamExt;
use millwork_diagnosis::many;
use millwork_manifest::{FileState, ManifestId, ObjectUri, RunState};
use millwork_storage::{Objects, Storage};
use millwork_tracking::{Run, RunFilter, TrackedFile, TrackingResult};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};
use utoipa::ToSchema;

/// Age from which a submission without a run counts as abandoned.
const ABANDONED: Duration = Duration::minutes(15);
/// Limit of the objects that are listed per place: 1,000,000.
const MAX_OBJECTS: usize = 1_000_000;

/// Kinds of orphans.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OrphanKind {
    /// A manifested file whose manifest has no run, or a run that has ended.
    ManifestedWithoutRun,
    /// A file in state `processing` whose run is not active.
    ProcessingWithoutOpenRun,
    /// An old draft that was never finished.
    OldDraft,
    /// Pending files that are missing from the counter of their date.
    Uncounted,
    /// An object in an input place that is unknown to the store.
    UnknownObject,
    /// An unconverted file whose object is gone.
    MissingObject,
    /// An object among the outputs that no commit names.
    UnnamedOutput,
    /// A refused file whose object is missing from the quarantine.
    MissingQuarantined,
}

impl OrphanKind {
    /// Name of the kind, as in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ManifestedWithoutRun => "manifested-without-run",
            Self::ProcessingWithoutOpenRun => "processing-without-open-run",
            Self::OldDraft => "old-draft",
            Self::Uncounted => "uncounted",
            Self::UnknownObject => "unknown-object",
            Self::MissingObject => "missing-object",
            Self::UnnamedOutput => "unnamed-output",
            Self::MissingQuarantined => "missing-quarantined",
        }
    }

    /// Remedy for orphans of this kind.
    fn remedy(self) -> &'static str {
        match self {
            Self::ManifestedWithoutRun | Self::ProcessingWithoutOpenRun => "millwork state reset-stuck-files",
            Self::OldDraft | Self::Uncounted => "millwork-manifest-builder sweep",
            Self::UnknownObject => "millwork-manifest-builder backfill --prefix PLACE",
            Self::MissingObject => "put the object back; its run fails without it",
            Self::UnnamedOutput => "look who wrote it; Millwork never removes what it has not written",
            Self::MissingQuarantined => "look who removed it; nothing is lost but the refused file",
        }
    }
}

/// Remains of a crash that no process will finish.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct Orphan {
    /// Kind of the orphan.
    pub kind: OrphanKind,
    /// Name of the orphan: a URI, a manifest's id, a date.
    pub subject: String,
    /// Description of what was found.
    pub found: String,
    /// Since when, where that is known.
    #[schema(required)]
    pub since: Option<DateTime<Utc>>,
    /// Remedy for the orphan: a command, or what to do.
    pub remedy: String,
}

/// All that was found.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct Orphans {
    /// The orphans, at most 1000.
    pub orphans: Vec<Orphan>,
    /// Files that were read.
    pub files_read: u64,
    /// Objects that were listed; none if none were asked for.
    #[schema(required)]
    pub objects_listed: Option<u64>,
    /// True if there was more than was looked at, or than is told.
    pub is_capped: bool,
}

impl Orphans {
    fn add(
        &mut self,
        kind: OrphanKind,
        subject: impl Into<String>,
        found: impl Into<String>,
        since: Option<DateTime<Utc>>,
    ) {
        if self.orphans.len() >= MAX_FINDINGS {
            self.is_capped = true;
            return;
        }
        let remedy = kind.remedy().to_owned();
        self.orphans.push(Orphan { kind, subject: subject.into(), found: found.into(), since, remedy });
    }
}

impl Operations {
    /// Finds files, drafts and counters that have been orphaned for at least `older_than`: younger ones may be in
    /// progress.
    pub async fn find_orphans(&self, older_than: Duration, now: DateTime<Utc>) -> TrackingResult<Orphans> {
        let mut found = Orphans::default();
        let before = now.checked_sub_signed(older_than).unwrap_or(now);
        for (state, kind) in [
            (FileState::Manifested, OrphanKind::ManifestedWithoutRun),
            (FileState::Processing, OrphanKind::ProcessingWithoutOpenRun),
        ] {
            let mut listed = Vec::new();
            let keep = |file: TrackedFile| {
                listed.push(file.uri);
                true
            };
            let query = FileQuery { state: Some(state), before: Some(before), ..FileQuery::default() };
            found.is_capped |= !self.query_by_status(&query, MAX_FILES_READ, MAX_FILES_READ, keep).await?;
            found.files_read += listed.len() as u64;
            self.add_without_run(&mut found, &listed, (state, kind), before, now).await?;
        }
        self.add_drafts(&mut found, before).await?;
        self.add_uncounted(&mut found, before).await?;
        Ok(found)
    }

    /// Reads files again, then their runs: a run that had ended by then must have settled its files.
    async fn add_without_run(
        &self,
        found: &mut Orphans,
        uris: &[ObjectUri],
        (state, kind): (FileState, OrphanKind),
        before: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let mut runs: HashMap<String, Option<Run>> = HashMap::new();
        for chunk in uris.chunks(PAGE) {
            let files = self.store().files(chunk).await?;
            let is_still = |file: &TrackedFile| file.state == state && file.updated_at <= before;
            for file in files.into_iter().flatten().filter(is_still) {
                let id = file.manifest_id.clone().unwrap_or_default();
                if !runs.contains_key(&id) {
                    let run = match id.parse::<ManifestId>() {
                        Ok(id) => self.store().run_head(&id).await?,
                        Err(_) => None,
                    };
                    runs.insert(id.clone(), run);
                }
                let why = match runs.get(&id).and_then(Option::as_ref) {
                    // A submission or release of the file may be in progress.
                    None if now - file.updated_at < ABANDONED && !id.is_empty() => continue,
                    None if id.is_empty() => "no manifest is noted with it".to_owned(),
                    None => format!("its run `{id}` is not there"),
                    Some(run) if run.state.is_final() && run.updated_at <= before => {
                        format!("its run `{id}` is {}", run.state)
                    }
                    Some(run) if state == FileState::Processing && run.state == RunState::Draft => {
                        format!("its run `{id}` is only a draft")
                    }
                    Some(_) => continue,
                };
                found.add(kind, file.uri.to_string(), why, Some(file.updated_at));
            }
        }
        Ok(())
    }

    async fn add_drafts(&self, found: &mut Orphans, before: DateTime<Utc>) -> TrackingResult<()> {
        let (drafts, is_all) = old_drafts(self.store(), before).await?;
        found.is_capped |= !is_all;
        for draft in drafts {
            // Drafts may have been finished since they were listed.
            let now = self.store().run_head(&draft.manifest_id).await?;
            if now.is_some_and(|run| run.state == RunState::Draft && run.created_at <= before) {
                let text = format!("begun, with {}, and not finished", many(draft.files, "file"));
                found.add(OrphanKind::OldDraft, draft.manifest_id.to_string(), text, Some(draft.created_at));
            }
        }
        Ok(())
    }

    /// Pending files are listed in order of arrival: those that arrived before `before` are compared with the counters
    /// of their dates.
    async fn add_uncounted(&self, found: &mut Orphans, before: DateTime<Utc>) -> TrackingResult<()> {
        let mut oldest: HashMap<millwork_manifest::DatePrefix, (u64, DateTime<Utc>)> = HashMap::new();
        let mut read = 0;
        let add = |file: TrackedFile| {
            read += 1;
            if let Some(date) = file.date.filter(|_| file.updated_at <= before) {
                oldest.entry(date).or_insert((0, file.updated_at)).0 += 1;
            }
            true
        };
        let query = FileQuery { state: Some(FileState::Pending), ..FileQuery::default() };
        found.is_capped |= !self.query_by_status(&query, MAX_FILES_READ, MAX_FILES_READ, add).await?;
        found.files_read += read;
        for (date, (files, since)) in oldest {
            let counted = self.store().backlog(date).await?.pending_files;
            let still = self.store().pending(date, 1).await?;
            if counted == 0 && !still.is_empty() {
                let text = format!("waiting: {}; the counter of their date says 0", many(files, "file"));
                found.add(OrphanKind::Uncounted, date.to_string(), text, Some(since));
            }
        }
        Ok(())
    }

    /// Finds unreferenced and missing objects: in the input places, the output and the quarantine.
    pub async fn add_orphaned_objects(
        &self,
        found: &mut Orphans,
        older_than: Duration,
        now: DateTime<Utc>,
    ) -> anyhow::Result<()> {
        let before = now.checked_sub_signed(older_than).unwrap_or(now);
        found.objects_listed = Some(0);
        let storage = self.inspector.storage.clone();
        for place in self.inspector.input.iter().flat_map(millwork_storage::Places::locations) {
            let mut listing = storage.list(&place).await?;
            let mut chunk = Vec::new();
            let mut listed = 0;
            while let Some(object) = listing.next().await {
                let Ok(object) = object else { continue };
                listed += 1;
                if object.modified_at <= before {
                    chunk.push(object.uri);
                }
                if chunk.len() >= PAGE {
                    self.add_unknown(found, &std::mem::take(&mut chunk)).await?;
                }
                if listed >= MAX_OBJECTS {
                    found.is_capped = true;
                    break;
                }
            }
            self.add_unknown(found, &chunk).await?;
            found.objects_listed = found.objects_listed.map(|before| before + listed as u64);
        }
        self.add_gone(found, &storage, before).await?;
        self.add_unnamed(found, &storage, before).await
    }

    async fn add_unknown(&self, found: &mut Orphans, uris: &[ObjectUri]) -> TrackingResult<()> {
        let files = self.store().files(uris).await?;
        for (uri, _) in uris.iter().zip(files).filter(|(_, file)| file.is_none()) {
            found.add(OrphanKind::UnknownObject, uri.to_string(), "no event and no listing has told of it", None);
        }
        Ok(())
    }

    /// Files whose objects were removed before their conversion, or from the quarantine.
    async fn add_gone(&self, found: &mut Orphans, storage: &Storage, before: DateTime<Utc>) -> TrackingResult<()> {
        for state in [FileState::Pending, FileState::Manifested, FileState::Quarantined] {
            let mut listed = Vec::new();
            let keep = |file: TrackedFile| {
                listed.push(file);
                true
            };
            let query = FileQuery { state: Some(state), before: Some(before), ..FileQuery::default() };
            found.is_capped |= !self.query_by_status(&query, MAX_FILES_READ, MAX_FILES_READ, keep).await?;
            for file in listed {
                let (kind, place) = match &file.quarantine_uri {
                    Some(place) => (OrphanKind::MissingQuarantined, place.parse().ok()),
                    None if state == FileState::Quarantined => continue,
                    None => (OrphanKind::MissingObject, Some(file.uri.clone())),
                };
                let is_ours = |uri: &ObjectUri| {
                    kind == OrphanKind::MissingQuarantined
                        || self.inspector.input.as_ref().is_some_and(|places| places.contains(uri))
                };
                let Some(uri) = place.filter(is_ours) else { continue };
                if storage.head(&uri).await.is_err_and(|error| error.is_not_found()) {
                    found.add(kind, file.uri.to_string(), format!("no object is at `{uri}`"), Some(file.updated_at));
                }
            }
        }
        Ok(())
    }

    /// Objects in the output that no commit names.
    async fn add_unnamed(&self, found: &mut Orphans, storage: &Storage, before: DateTime<Utc>) -> anyhow::Result<()> {
        let Some((_, output)) = self.inspector.about.written.iter().find(|(what, _)| *what == "the output") else {
            return Ok(());
        };
        let named = self.named_outputs().await?;
        let mut listing = storage.list(output).await?;
        let mut listed = 0;
        while let Some(object) = listing.next().await {
            let Ok(object) = object else { continue };
            listed += 1;
            let is_output = object.key.ends_with(".parquet") && !object.key.starts_with("_");
            if is_output && object.modified_at <= before && !named.contains(object.uri.as_str()) {
                found.add(
                    OrphanKind::UnnamedOutput,
                    object.uri.to_string(),
                    "no commit names it",
                    Some(object.modified_at),
                );
            }
            if listed >= MAX_OBJECTS {
                found.is_capped = true;
                break;
            }
        }
        found.objects_listed = found.objects_listed.map(|before| before + listed as u64);
        Ok(())
    }

    /// Outputs of all committed runs.
    async fn named_outputs(&self) -> TrackingResult<HashSet<String>> {
        let mut named = HashSet::new();
        let mut filter = RunFilter { limit: PAGE, ..RunFilter::default() };
        loop {
            let page = self.store().list_runs(&filter).await?;
            for run in page.items.into_iter().filter(|run| run.committed_at.is_some()) {
                let Some(run) = self.store().run(&run.manifest_id).await? else { continue };
                // A result that cannot be read ends the search: its outputs would be reported as those of nobody.
                let result = RunResult::of(&run)?;
                named.extend(result.into_iter().flat_map(|result| result.outputs).map(|output| output.uri));
            }
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                return Ok(named);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::OrphanKind::*;

    #[test]
    fn kinds_are_shown_as_json_has_them() {
        for kind in [
            ManifestedWithoutRun,
            ProcessingWithoutOpenRun,
            OldDraft,
            Uncounted,
            UnknownObject,
            MissingObject,
            UnnamedOutput,
            MissingQuarantined,
        ] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
