//! Conversion of types of the store and the engine to types of the API.

use crate::audit::via;
use crate::changes::Change;
use crate::commit::RunResult;
use crate::sizes::known_bytes;
use chrono::{DateTime, Utc};
use millwork_api as say;
use millwork_api::MomentKind;
use millwork_conversion::FileLedger;
use millwork_manifest::{Failure, ManifestFile};
use millwork_tracking::{
    Attempt, AttemptStep, AttemptWork, AuditEntry, Page, Run, RunSummary, TimelineEntry, TrackedFile,
};

pub(crate) fn page<T, U>(page: Page<T>, item: impl Fn(T) -> U) -> say::Page<U> {
    say::Page { items: page.items.into_iter().map(item).collect(), next_cursor: page.next_cursor }
}

pub(crate) fn audit_entry(entry: AuditEntry) -> say::AuditEntry {
    say::AuditEntry {
        id: entry.id,
        at: entry.at,
        actor: entry.actor,
        via: via(entry.via),
        action: entry.action,
        reason: entry.reason,
        plan: entry.plan,
        subjects: entry.subjects,
        before: entry.before,
        after: entry.after,
        outcome: entry.outcome,
    }
}

pub(crate) fn run(run: Run) -> say::Run {
    let bytes = known_bytes(&run);
    say::Run {
        manifest_id: run.manifest_id,
        date: run.date,
        manifest_uri: run.manifest_uri,
        state: run.state,
        priority: run.priority,
        files: run.files,
        bytes,
        attempts: run.attempts,
        failures: run.failures,
        generation: run.generation,
        not_before: run.not_before,
        cancel_requested: run.cancel_requested,
        failure: run.failure.map(failure),
        created_at: run.created_at,
        updated_at: run.updated_at,
        started_at: run.started_at,
        committed_at: run.committed_at,
        ended_at: run.ended_at,
        seconds: run.started_at.zip(run.committed_at).and_then(|(started, committed)| {
            Some((committed - started).as_seconds_f64()).filter(|seconds| *seconds >= 0.0)
        }),
        summary: run.summary.map(summary),
    }
}

fn summary(summary: RunSummary) -> say::RunSummary {
    say::RunSummary {
        rows: summary.rows,
        rejected: summary.rejected,
        input_bytes: summary.input_bytes,
        output_bytes: summary.output_bytes,
        outputs: summary.outputs,
        executors: summary.executors,
        cpu_seconds: summary.cpu_micros as f64 / 1e6,
    }
}

fn work(work: AttemptWork) -> say::AttemptWork {
    let step = |step: AttemptStep| {
        let known = say::Step::ALL.into_iter().find(|known| known.as_str() == step.step)?;
        Some(say::StepTime { step: known, began_at: step.began_at, seconds: step.millis as f64 / 1000.0 })
    };
    say::AttemptWork {
        steps: work.steps.into_iter().filter_map(step).collect(),
        read_bytes: work.read_bytes,
        rows: work.rows,
        rejected: work.rejected,
        cpu_seconds: work.cpu_micros as f64 / 1e6,
        tasks: work.tasks,
    }
}

pub(crate) fn failure(failure: Failure) -> say::Failure {
    say::Failure { class: failure.class, message: failure.message, file: failure.file }
}

pub(crate) fn attempt(attempt: Attempt) -> say::Attempt {
    say::Attempt {
        number: attempt.number,
        started_at: attempt.started_at,
        ended_at: attempt.ended_at,
        failure: attempt.failure.map(failure),
        work: attempt.work.map(work),
    }
}

/// Timeline of a run: its events, in order.
pub(crate) fn timeline(run: &Run) -> Vec<say::Moment> {
    let of_run = |at: Option<DateTime<Utc>>, what| at.map(|at| say::Moment { at, what, attempt: None });
    let started = run.history.iter().map(|attempt| say::Moment {
        at: attempt.started_at,
        what: MomentKind::Started,
        attempt: Some(attempt.number),
    });
    let failed = run.history.iter().filter_map(|attempt| {
        let at = attempt.ended_at.filter(|_| attempt.failure.is_some())?;
        Some(say::Moment { at, what: MomentKind::AttemptFailed, attempt: Some(attempt.number) })
    });
    let mut moments: Vec<say::Moment> = started.chain(failed).collect();
    moments.extend(of_run(Some(run.created_at), MomentKind::Created));
    moments.extend(of_run(run.committed_at, MomentKind::Committed));
    moments.extend(of_run(run.ended_at, MomentKind::Ended));
    // The end of a run can be recorded some milliseconds before that of its last attempt; it is sorted last.
    moments.sort_by_key(|moment| (moment.what == MomentKind::Ended, moment.at, moment.what));
    moments
}

pub(crate) fn output(result: RunResult) -> say::RunOutput {
    let sum = |of: fn(&FileLedger) -> u64| crate::sizes::sum(result.ledger.iter().map(of));
    let ledger = say::LedgerTotals {
        files: result.ledger.len() as u64,
        lines: sum(|file| file.lines),
        rows: sum(|file| file.rows),
        rejected: sum(|file| file.rejected),
        blank: sum(|file| file.blank),
        without_rows: result.ledger.iter().filter_map(FileLedger::without_rows).count() as u64,
    };
    say::RunOutput {
        rows: result.rows,
        rejected: result.rejected,
        input_bytes: result.input_bytes,
        output_bytes: result.output_bytes,
        replaced_characters: result.replaced_characters,
        left_out: result.left_out,
        outputs: result.outputs,
        rejected_lines: result.rejected_lines,
        renamed_columns: result.renamed_columns,
        plan: result.plan,
        attempt: result.attempt,
        tasks: result.tasks,
        cpu_seconds: result.cpu_micros as f64 / 1e6,
        requests: result.storage,
        ledger,
    }
}

pub(crate) fn ledger_entry(file: &FileLedger) -> say::LedgerEntry {
    say::LedgerEntry {
        uri: file.uri.clone(),
        size_bytes: file.size_bytes,
        lines: file.lines,
        rows: file.rows,
        rejected: file.rejected,
        blank: file.blank,
        replaced_characters: file.replaced_characters,
        without_rows: file.without_rows(),
    }
}

pub(crate) fn run_file(file: &ManifestFile, tracked: Option<TrackedFile>) -> say::RunFile {
    let (state, manifest_id, reason) = match tracked {
        Some(file) => (Some(file.state), file.manifest_id, file.reason),
        None => (None, None, None),
    };
    say::RunFile {
        uri: file.uri.to_string(),
        size_bytes: file.size_bytes,
        etag: file.etag.clone(),
        state,
        manifest_id,
        reason,
    }
}

/// File of the store, as the API has it.
pub fn file(file: TrackedFile) -> say::File {
    say::File {
        uri: file.uri.to_string(),
        date: file.date,
        size_bytes: file.size_bytes,
        etag: file.etag,
        version_id: file.version_id,
        state: file.state,
        manifest_id: file.manifest_id,
        reason: file.reason,
        quarantine_uri: file.quarantine_uri,
        overwritten_etag: file.overwritten_etag,
        arrived_at: file.arrived_at,
        updated_at: file.updated_at,
    }
}

pub(crate) fn file_moment(entry: TimelineEntry) -> say::FileMoment {
    say::FileMoment { at: entry.at, state: entry.state, detail: entry.detail }
}

/// Event for a change, with the run as it is afterwards.
pub(crate) fn change(change: Change, after: Option<Run>) -> say::RunChange {
    say::RunChange {
        manifest_id: change.manifest_id,
        state: change.state,
        attempt: change.attempt,
        failure: change.failure.map(failure),
        at: change.at,
        run: after.map(run),
    }
}
