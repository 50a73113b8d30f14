//! Diagnosis of dates: the obstacle for the whole day.

use crate::answer::ActionKind;
use crate::ask::{Answer, Ask};
use crate::words::{many, number, quoted, shell_word};
use crate::{Code, DateFacts, Leader, waiting};
use millwork_manifest::RunState;

pub(crate) fn diagnose(ask: &Ask<'_>, name: &str) -> Answer {
    let Some(date) = &ask.facts.date else { return empty(name) };
    let answer = standing(ask, date).unwrap_or_else(|| empty(name));
    let runs = date.runs.iter().filter(|(_, count)| *count > 0);
    let runs: Vec<String> = runs.map(|(state, count)| format!("{} {state}", number(*count))).collect();
    let more = if date.is_capped { ", and more that were not counted" } else { "" };
    let runs = (!runs.is_empty()).then(|| format!("{}{more}", runs.join(", ")));
    let waits = (date.pending_files > 0).then(|| many(date.pending_files, "file"));
    let refused = (date.refused > 0).then(|| many(date.refused, "file"));
    let asked = date.wishes.first().map(|wish| {
        let what = if wish.until.is_some() { "a manifest" } else { "a sweep" };
        format!("{what}, by {} at {}", quoted(&wish.actor), ask.at(wish.asked_at))
    });
    let answer = answer.evidence_of("asked for", asked);
    answer.evidence_of("runs", runs).evidence_of("waits for a manifest", waits).evidence_of("refused", refused)
}

fn empty(name: &str) -> Answer {
    let sentence = format!("nothing is known of {}: no file of it was seen, and it has no run", crate::shown(name));
    Answer::new(Code::EmptyDate, None, sentence).waits_for("files of this date")
}

/// Answer for the first condition that holds: something failed, is stuck, is pending, is in progress, or all is done.
fn standing(ask: &Ask<'_>, date: &DateFacts) -> Option<Answer> {
    failed(date)
        .or_else(|| waiting::asked(ask, date, None))
        .or_else(|| stuck(ask, date))
        .or_else(|| in_work(ask, date))
        .or_else(|| draft(ask, date))
        .or_else(|| pending(ask, date))
        .or_else(|| ended(date))
        .or_else(|| refused(date))
}

fn count(date: &DateFacts, state: RunState) -> u64 {
    date.runs.iter().filter(|(known, _)| *known == state).map(|(_, count)| count).sum()
}

fn all_runs(date: &DateFacts) -> String {
    many(date.runs.iter().map(|(_, count)| count).sum(), "run")
}

fn failed(date: &DateFacts) -> Option<Answer> {
    let failed = count(date, RunState::Failed);
    // Failed runs without failed files are no longer relevant, since their files were converted or released.
    if failed == 0 || date.files_failed == 0 {
        return None;
    }
    let sentence = format!("{} of {} failed, with {}", number(failed), all_runs(date), many(date.files_failed, "file"));
    let command = format!("millwork runs list --state failed --date {}", shell_word(&date.date));
    Some(Answer::new(Code::RunFailed, date.last_commit, sentence).action(
        ActionKind::Retry,
        "Look at them, and queue them once more",
        command,
    ))
}

/// Answer for pending files with an obstacle; a backlog without one is reported after active runs.
fn stuck(ask: &Ask<'_>, date: &DateFacts) -> Option<Answer> {
    let oldest = date.oldest_pending.unwrap_or(ask.now);
    match date.pending_files {
        0 => date.has_pending.then(|| waiting::uncounted(ask, date, oldest)),
        _ => waiting::due(ask, date, oldest, oldest).filter(|due| due.code() != Code::Due),
    }
}

fn draft(ask: &Ask<'_>, date: &DateFacts) -> Option<Answer> {
    let drafts = count(date, RunState::Draft);
    (drafts > 0).then(|| {
        let sentence = format!("{} is being made, or was left by a builder that died", many(drafts, "manifest"));
        Answer::new(Code::Draft, None, sentence)
            .next(
                "the sweep of the builders finishes it",
                ask.in_seconds(ask.settings.sweep_interval_seconds),
                ask.is_built(),
            )
            .action(ActionKind::SweepNow, "Finish it now", "millwork-manifest-builder sweep")
    })
}

fn pending(ask: &Ask<'_>, date: &DateFacts) -> Option<Answer> {
    let oldest = date.oldest_pending.unwrap_or(ask.now);
    (date.pending_files > 0)
        .then(|| waiting::due(ask, date, oldest, oldest).unwrap_or_else(|| waiting::filling(ask, date, oldest, oldest)))
}

fn ended(date: &DateFacts) -> Option<Answer> {
    let cancelled = count(date, RunState::Cancelled);
    let completed = count(date, RunState::Completed);
    if completed > 0 {
        let rows = date.rows.map(|rows| format!(", {}", many(rows, "row"))).unwrap_or_default();
        let rest = if cancelled > 0 { format!("; {} cancelled", many(cancelled, "run")) } else { String::new() };
        let sentence =
            format!("{} of {} are converted{rows}{rest}", many(date.files_done, "file"), many(completed, "run"));
        let code = if cancelled > 0 { Code::Cancelled } else { Code::Done };
        return Some(Answer::new(code, date.last_commit, sentence).waits_for("nothing, unless more files come"));
    }
    (cancelled > 0).then(|| {
        let sentence = format!("{} of {} cancelled", number(cancelled), all_runs(date));
        Answer::new(Code::Cancelled, None, sentence).waits_for("somebody who retries them")
    })
}

fn refused(date: &DateFacts) -> Option<Answer> {
    (date.refused > 0).then(|| {
        let sentence = format!("{} of this date came, and none was accepted", many(date.refused, "file"));
        Answer::new(Code::Refused, None, sentence).waits_for("other files, or other rules")
    })
}

fn in_work(ask: &Ask<'_>, date: &DateFacts) -> Option<Answer> {
    let queued = count(date, RunState::Queued);
    let active = [RunState::Planning, RunState::Running, RunState::Committing].map(|state| count(date, state));
    let in_work = queued + active.iter().sum::<u64>();
    if in_work == 0 {
        return None;
    }
    let files = many(date.files_open, "file");
    let runs = format!("{} of {}", number(in_work), all_runs(date));
    if let Leader::Nobody { .. } = ask.facts.cluster.leader {
        let sentence = format!("{runs} still open, with {files}, and no scheduler runs the manifests of this state");
        return Some(Answer::new(Code::NoLeader, None, sentence).waits_for("a scheduler on this state"));
    }
    if ask.facts.cluster.executors.is_some_and(|fleet| fleet.executors == 0) {
        let sentence = format!("{runs} still open, with {files}, and no executor is connected");
        return Some(
            Answer::new(Code::NoExecutors, None, sentence).waits_for("an executor: start `millwork-executor`"),
        );
    }
    let sentence = format!("{runs} still open, with {files}; {} done", number(date.files_done));
    let code = if queued == in_work { Code::Queued } else { Code::Converting };
    Some(Answer::new(code, None, sentence).by_itself("they are converted", None))
}
