//! Completed runs with files that have no rows: nothing failed, but the files were probably not as intended.

use super::Inspector;
use super::attention::{Found, LOOKED_AT, MAX_EXAMINED};
use super::files::{file_facts, head_facts};
use super::result::read_result;
use crate::commit::RunResult;
use chrono::Duration;
use millwork_diagnosis::{Code, Facts, LedgerRow, OutputFacts, RunFacts, Subject};
use millwork_manifest::{FileState, ObjectUri, RunState};
use millwork_tracking::{Run, RunFilter, TrackedFile, TrackingResult};

/// Time for which such a run needs attention, in days: 7, after which DynamoDB deletes its files.
const TOLD_DAYS: i64 = 7;

impl Inspector {
    /// Adds files without rows of the newest completed runs, by kind. A file that was replaced since belongs to another
    /// run, or is pending.
    pub(super) async fn add_without_rows(&self, found: &mut Found) -> TrackingResult<()> {
        let filter = RunFilter { state: Some(RunState::Completed), limit: LOOKED_AT, ..RunFilter::default() };
        let since = found.now - Duration::days(TOLD_DAYS);
        let mut runs = self.store.list_runs(&filter).await?.items;
        runs.retain(|run| run.summary.is_some_and(|summary| summary.without_rows > 0));
        runs.retain(|run| run.ended_at.is_none_or(|at| at >= since));
        found.is_capped |= runs.len() > MAX_EXAMINED;
        runs.truncate(MAX_EXAMINED);
        for run in runs {
            // Listings contain no results, so that the run is read.
            if let Some(run) = self.store.run(&run.manifest_id).await? {
                self.add_files_without_rows(found, &run).await?;
            }
        }
        Ok(())
    }

    async fn add_files_without_rows(&self, found: &mut Found, run: &Run) -> TrackingResult<()> {
        let Some(result) = read_result(run) else { return Ok(()) };
        let odd = result.ledger.iter();
        let odd = odd.filter_map(|row| Some((row, row.uri.parse::<ObjectUri>().ok()?, row.without_rows()?)));
        let mut odd: Vec<_> = odd.take(LOOKED_AT + 1).collect();
        found.is_capped |= odd.len() > LOOKED_AT;
        odd.truncate(LOOKED_AT);
        let uris: Vec<ObjectUri> = odd.iter().map(|(_, uri, _)| uri.clone()).collect();
        let of_run = facts_of_run(run, &result);
        for ((row, uri, cause), file) in odd.into_iter().zip(self.store.files(&uris).await?) {
            let Some(file) = file.filter(|file| is_converted_by(file, run)) else { continue };
            let (lines, rows, rejected, blank) = (row.lines, row.rows, row.rejected, row.blank);
            let mut known = file_facts(&file);
            known.ledger = Some(LedgerRow { lines, rows, rejected, blank, without_rows: Some(cause) });
            let facts = Facts { file: Some(known), run: Some(of_run.clone()), ..Facts::default() };
            let diagnosis = found.diagnose(&Subject::File(uri.to_string()), &facts);
            if diagnosis.code == Code::NoRows {
                found.add(row.other_format.map(|format| format.to_string()).unwrap_or_default(), diagnosis);
            }
        }
        Ok(())
    }
}

fn facts_of_run(run: &Run, result: &RunResult) -> RunFacts {
    let output = OutputFacts {
        rows: result.rows,
        rejected: result.rejected,
        files: result.outputs.len() as u64,
        rejected_lines: result.rejected_lines.clone(),
        ..OutputFacts::default()
    };
    RunFacts { output: Some(output), ..head_facts(run) }
}

/// Tells whether the run converted the file as it is now.
fn is_converted_by(file: &TrackedFile, run: &Run) -> bool {
    file.state == FileState::Completed && file.manifest_id.as_deref() == Some(run.manifest_id.as_str())
}
