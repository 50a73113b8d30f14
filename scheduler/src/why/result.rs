//! Results of runs, for diagnoses.

use crate::commit::RunResult;
use millwork_tracking::Run;

/// Result of a run; `None` also if it cannot be read, which `millwork state check-consistency` reports.
pub(super) fn read_result(run: &Run) -> Option<RunResult> {
    RunResult::of(run).unwrap_or_else(|error| {
        tracing::debug!(%error, "a diagnosis goes without the result of a run");
        None
    })
}
