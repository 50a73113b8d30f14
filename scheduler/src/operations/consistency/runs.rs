//! Invariants of runs: their files, documents, ledgers, outputs and totals.

use super::{Consistency, FIX, Scope};
use crate::commit::RunResult;
use crate::operations::{Operations, PAGE};
use crate::sizes::sum;
use crate::why::looks::timed;
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, Manifest, ManifestId, ObjectUri, RunState};
use millwork_storage::{Objects, Storage};
use millwork_tracking::{Run, RunFilter, TrackedFile, TrackingResult};
use std::collections::HashMap;

/// Limit of the files that one finding names: 3. The rest is given as a number.
const MAX_NAMED: usize = 3;
/// Limit of the outputs of one run that are checked: 1000.
const MAX_OUTPUTS: usize = 1000;

/// Remedy where the store no longer contains the truth.
const RESTORE: &str = "somebody has changed the store by hand: restore it from a backup, or find out what is true";
/// Remedy where the record of an output is wrong, and its input may still exist.
const CONVERT_AGAIN: &str =
    "`millwork runs force`, which converts it once more, with a new account in place of this one";
/// Remedy where a wrong number is only displayed.
const SHOWN_ALONE: &str = "nothing: lists show it, and nothing is decided by it";
/// Remedy where a run cannot be retried.
const CANCEL: &str =
    "`millwork runs cancel`, then `millwork state reset-stuck-files`: its files go into a new manifest";

impl Operations {
    pub(super) async fn check_runs(
        &self,
        found: &mut Consistency,
        scope: Scope,
        before: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let mut filter = RunFilter { date: scope.date, limit: PAGE, ..RunFilter::default() };
        let mut holders: HashMap<ObjectUri, ManifestId> = HashMap::new();
        loop {
            let page = self.store().list_runs(&filter).await?;
            for listed in page.items {
                if found.runs as usize >= scope.limit {
                    found.is_capped = true;
                    return Ok(());
                }
                found.runs += 1;
                // Read again for its current state and result.
                let Some(run) = self.store().run(&listed.manifest_id).await? else { continue };
                self.check_run(found, &run, &mut holders, scope, before).await?;
            }
            filter.cursor = page.next_cursor;
            if filter.cursor.is_none() {
                return Ok(());
            }
        }
    }

    async fn check_run(
        &self,
        found: &mut Consistency,
        run: &Run,
        holders: &mut HashMap<ObjectUri, ManifestId>,
        scope: Scope,
        before: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let id = run.manifest_id.to_string();
        let Some(manifest) = self.store().manifest(&run.manifest_id).await? else {
            found.add(
                "document-is-store-copy",
                id,
                "the store has no document of it",
                if run.state.is_final() { RESTORE } else { CANCEL },
            );
            return Ok(());
        };
        if run.files != manifest.files.len() as u64 && run.state != RunState::Draft {
            let text = format!("files: the total is {}, the document has {}", run.files, manifest.files.len());
            found.add("totals", id.as_str(), text, SHOWN_ALONE);
        }
        if !run.state.is_final() {
            self.check_holders(found, run, &manifest, holders).await?;
        }
        if run.updated_at <= before {
            self.check_files_of(found, run, &manifest, before).await?;
        }
        if scope.looks_at_objects {
            self.check_document(found, run, &manifest).await;
        }
        match RunResult::of(run) {
            Ok(Some(result)) => {
                check_ledger(found, run, &manifest, &result);
                check_totals(found, run, &result);
                if scope.looks_at_objects && run.state == RunState::Completed && run.updated_at <= before {
                    check_outputs(found, &self.inspector.storage, run, &result).await;
                }
            }
            Err(error) => {
                found.add("ledger-adds-up", id, format!("what it produced cannot be read: {error}"), CONVERT_AGAIN)
            }
            Ok(None) if matches!(run.state, RunState::Committing | RunState::Completed) => {
                found.add("completed-has-commit", id, format!("it is {}, and has no commit", run.state), RESTORE);
            }
            Ok(None) => {}
        }
        Ok(())
    }

    /// Invariant: the files of a run are in a state that fits the state of the run.
    async fn check_files_of(
        &self,
        found: &mut Consistency,
        run: &Run,
        manifest: &Manifest,
        before: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let uris: Vec<ObjectUri> = manifest.files.iter().map(|file| file.uri.clone()).collect();
        let files = self.store().files(&uris).await?;
        let is_here = |file: &&TrackedFile| file.manifest_id.as_deref() == Some(run.manifest_id.as_str());
        let odd: Vec<TrackedFile> = files
            .iter()
            .flatten()
            .filter(is_here)
            .filter(|file| file.updated_at <= before && !fits(run, file.state))
            .cloned()
            .collect();
        let lost: Vec<&TrackedFile> = files.iter().flatten().filter(|file| !is_here(file)).collect();
        let is_open = !run.state.is_final() && run.state != RunState::Draft && run.committed_at.is_none();
        if odd.is_empty() && (lost.is_empty() || !is_open) {
            return Ok(());
        }
        // Findings count only if the run has not changed meanwhile.
        let now = self.store().run_head(&run.manifest_id).await?;
        if now.is_none_or(|now| now.updated_at != run.updated_at || now.state != run.state) {
            return Ok(());
        }
        if !odd.is_empty() {
            add_odd(found, run, &odd);
        }
        if is_open && !lost.is_empty() {
            let is_nameless = lost.iter().all(|file| file.manifest_id.is_none());
            let lost = lost.len();
            let text = format!("it is {}, and {lost} of its files are in no manifest, or in another", run.state);
            found.add("files-follow-run", run.manifest_id.to_string(), text, if is_nameless { FIX } else { CANCEL });
        }
        Ok(())
    }

    /// Invariant: no file is in two unfinished manifests.
    async fn check_holders(
        &self,
        found: &mut Consistency,
        run: &Run,
        manifest: &Manifest,
        holders: &mut HashMap<ObjectUri, ManifestId>,
    ) -> TrackingResult<()> {
        // A draft can name files that it has not claimed.
        if run.state == RunState::Draft {
            return Ok(());
        }
        for file in &manifest.files {
            let Some(other) = holders.insert(file.uri.clone(), run.manifest_id.clone()) else { continue };
            if other == run.manifest_id {
                continue;
            }
            let noted = self.store().files(std::slice::from_ref(&file.uri)).await?.pop().flatten();
            let noted = noted.and_then(|file| file.manifest_id);
            let text = format!("it is in the open manifests `{other}` and `{}`", run.manifest_id);
            let remedy = match noted {
                Some(id) if id == other.as_str() => {
                    format!("`millwork runs cancel {}`: the file is `{id}`'s", run.manifest_id)
                }
                Some(id) if id == run.manifest_id.as_str() => {
                    format!("`millwork runs cancel {other}`: the file is `{id}`'s")
                }
                _ => "cancel one of the two runs".to_owned(),
            };
            found.add("one-open-manifest", file.uri.to_string(), text, &remedy);
        }
        Ok(())
    }

    /// Invariant: a manifest document equals the store's copy. A document that was moved, or has another place, is not
    /// checked.
    async fn check_document(&self, found: &mut Consistency, run: &Run, manifest: &Manifest) {
        let Ok(uri) = run.manifest_uri.parse::<ObjectUri>() else { return };
        // Only documents that Millwork wrote are checked: others may be changed by their owners.
        if run.state == RunState::Draft || !run.manifest_uri.contains("/manifests/") {
            return;
        }
        let Ok(content) = self.inspector.storage.read(&uri).await else { return };
        let written = Manifest::parse_own(&run.manifest_uri, &content, run.created_at);
        let uris = |manifest: &Manifest| manifest.files.iter().map(|file| file.uri.clone()).collect::<Vec<_>>();
        let is_same =
            written.as_ref().is_ok_and(|written| written.id == manifest.id && uris(written) == uris(manifest));
        if !is_same {
            let text = format!("the document at `{uri}` is another than the store's copy, which counts");
            found.add("document-is-store-copy", run.manifest_id.to_string(), text, "look who has changed it");
        }
    }
}

/// Adds the finding of files that are in a state which does not fit their run.
fn add_odd(found: &mut Consistency, run: &Run, odd: &[TrackedFile]) {
    let named: Vec<String> =
        odd.iter().take(MAX_NAMED).map(|file| format!("`{}` is {}", file.uri, file.state)).collect();
    let more = odd.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(", and {more} more") } else { String::new() };
    let text = format!("it is {}, but {}{more}", run.state, named.join(", "));
    found.add("files-follow-run", run.manifest_id.to_string(), text, FIX);
}

/// Tells whether a file whose last run is this one can be in this state.
fn fits(run: &Run, state: FileState) -> bool {
    use FileState::{Completed, Failed, Manifested, Pending, Processing};
    // A forced run keeps its files completed, during and after the run.
    if run.committed_at.is_some() && state == Completed {
        return true;
    }
    match run.state {
        RunState::Draft => matches!(state, Manifested | Pending),
        RunState::Queued => matches!(state, Manifested | Processing),
        RunState::Planning | RunState::Running | RunState::Committing => matches!(state, Processing | Manifested),
        RunState::Completed => false,
        RunState::Failed | RunState::Cancelled => matches!(state, Failed | Pending | FileState::Quarantined),
    }
}

fn check_ledger(found: &mut Consistency, run: &Run, manifest: &Manifest, result: &RunResult) {
    let id = run.manifest_id.to_string();
    for row in &result.ledger {
        if row.lines != sum([row.rows, row.rejected, row.blank].into_iter()) {
            let text = format!(
                "`{}`: {} lines are not {} rows + {} rejected + {} blank",
                row.uri, row.lines, row.rows, row.rejected, row.blank
            );
            found.add("ledger-adds-up", id.as_str(), text, CONVERT_AGAIN);
        }
    }
    let sizes: HashMap<&str, Option<u64>> =
        manifest.files.iter().map(|file| (file.uri.as_str(), file.size_bytes)).collect();
    let mut seen = std::collections::HashSet::new();
    for row in &result.ledger {
        let wrong = match sizes.get(row.uri.as_str()) {
            None => Some("is not in the manifest"),
            Some(Some(size)) if *size != row.size_bytes => Some("has another size than in the manifest"),
            Some(_) => (!seen.insert(row.uri.as_str())).then_some("is in the ledger twice"),
        };
        if let Some(wrong) = wrong {
            found.add("ledger-adds-up", id.as_str(), format!("`{}` {wrong}", row.uri), CONVERT_AGAIN);
        }
    }
    if seen.len() < sizes.len() && result.ledger.len() != sizes.len() {
        let text = format!("the ledger has {} of the manifest's {} files", result.ledger.len(), sizes.len());
        found.add("ledger-adds-up", id, text, CONVERT_AGAIN);
    }
}

fn check_totals(found: &mut Consistency, run: &Run, result: &RunResult) {
    let mut differs = |what: &str, total: u64, sum: u64| {
        if total != sum {
            let text = format!("{what}: the total is {total}, the sum is {sum}");
            found.add("totals", run.manifest_id.to_string(), text, CONVERT_AGAIN);
        }
    };
    differs("rows of the outputs", result.rows, sum(result.outputs.iter().map(|output| output.rows)));
    differs("bytes of the outputs", result.output_bytes, sum(result.outputs.iter().map(|output| output.bytes)));
    differs("rejected lines", result.rejected, sum(result.ledger.iter().map(|row| row.rejected)));
    let rows = sum(result.ledger.iter().map(|row| row.rows));
    differs("rows", result.rows.saturating_add(result.left_out), rows);
}

/// Invariant: the outputs of a completed run exist, with their sizes.
async fn check_outputs(found: &mut Consistency, storage: &Storage, run: &Run, result: &RunResult) {
    let outputs = result.outputs.iter().take(MAX_OUTPUTS);
    let outputs: Vec<(ObjectUri, u64)> =
        outputs.filter_map(|output| Some((output.uri.parse().ok()?, output.bytes))).collect();
    let uris = outputs.iter().map(|(uri, _)| uri.clone()).collect();
    let storage = storage.clone();
    let Ok(heads) = timed(move || storage.heads_blocking(uris, None)).await else { return };
    for ((uri, bytes), head) in outputs.iter().zip(heads) {
        let wrong = match head {
            Ok(located) if located.object.size_bytes != *bytes => {
                Some(format!("`{uri}` has {} bytes, not {bytes}", located.object.size_bytes))
            }
            Err(error) if error.is_not_found() => Some(format!("`{uri}` is not there")),
            Ok(_) | Err(_) => None,
        };
        if let Some(wrong) = wrong {
            let id = run.manifest_id.to_string();
            found.add("outputs-exist", id, wrong, "put it back, or `millwork runs force`, which converts it once more");
        }
    }
}
