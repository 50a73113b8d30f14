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
    let count = |state| date.runs.iter().filter(|(known, _)| *known == state).map(|(_, count)| count).sum::<u64>();
    let all: u64 = date.runs.iter().map(|(_, count)| count).sum();
    let failed = count(RunState::Failed);
    // Failed runs without failed files are no longer relevant, since their files were converted or released.
    if failed > 0 && date.files_failed > 0 {
        let sentence =
            format!("{} of {} failed, with {}", number(failed), many(all, "run"), many(date.files_failed, "file"));
        let command = format!("millwork runs list --state failed --date {}", shell_word(&date.date));
        return Some(Answer::new(Code::RunFailed, date.last_commit, sentence).action(
            ActionKind::Retry,
            "Look at them, and queue them once more",
            command,
        ));
    }
    if let Some(asked) = waiting::asked(ask, date, None) {
        return Some(asked);
    }
    if date.pending_files > 0 {
        let oldest = date.oldest_pending.unwrap_or(ask.now);
        let due = waiting::due(ask, date, oldest, oldest);
        // A backlog without an obstacle is reported after active runs.
        if let Some(due) = due.filter(|due| due.code() != Code::Due) {
            return Some(due);
        }
    }
    if date.pending_files == 0 && date.has_pending {
        return Some(waiting::uncounted(ask, date, date.oldest_pending.unwrap_or(ask.now)));
    }
    let open = [RunState::Queued, RunState::Planning, RunState::Running, RunState::Committing].map(count);
    let in_work: u64 = open.iter().sum();
    if in_work > 0 {
        return Some(in_work_of(ask, date, in_work, all, open[0]));
    }
    if count(RunState::Draft) > 0 {
        let sentence =
            format!("{} is being made, or was left by a builder that died", many(count(RunState::Draft), "manifest"));
        return Some(
            Answer::new(Code::Draft, None, sentence)
                .next(
                    "the sweep of the builders finishes it",
                    ask.in_seconds(ask.settings.sweep_interval_seconds),
                    ask.is_built(),
                )
                .action(ActionKind::SweepNow, "Finish it now", "millwork-manifest-builder sweep"),
        );
    }
    if date.pending_files > 0 {
        let oldest = date.oldest_pending.unwrap_or(ask.now);
        return Some(
            waiting::due(ask, date, oldest, oldest).unwrap_or_else(|| waiting::filling(ask, date, oldest, oldest)),
        );
    }
    let cancelled = count(RunState::Cancelled);
    let completed = count(RunState::Completed);
    if completed > 0 {
        let rows = date.rows.map(|rows| format!(", {}", many(rows, "row"))).unwrap_or_default();
        let rest = if cancelled > 0 { format!("; {} cancelled", many(cancelled, "run")) } else { String::new() };
        let sentence =
            format!("{} of {} are converted{rows}{rest}", many(date.files_done, "file"), many(completed, "run"));
        let code = if cancelled > 0 { Code::Cancelled } else { Code::Done };
        return Some(Answer::new(code, date.last_commit, sentence).waits_for("nothing, unless more files come"));
    }
    if cancelled > 0 {
        let sentence = format!("its {} cancelled", many(cancelled, "run"));
        return Some(Answer::new(Code::Cancelled, None, sentence).waits_for("somebody who retries them"));
    }
    (date.refused > 0).then(|| {
        let sentence = format!("{} of this date came, and none was accepted", many(date.refused, "file"));
        Answer::new(Code::Refused, None, sentence).waits_for("other files, or other rules")
    })
}

fn in_work_of(ask: &Ask<'_>, date: &DateFacts, in_work: u64, all: u64, queued: u64) -> Answer {
    let files = many(date.files_open, "file");
    let runs = format!("{} of {}", number(in_work), many(all, "run"));
    if let Leader::Nobody { .. } = ask.facts.cluster.leader {
        let sentence =
            format!("{runs} have not ended, with {files}, and no scheduler runs the manifests of this state");
        return Answer::new(Code::NoLeader, None, sentence).waits_for("a scheduler on this state");
    }
    if ask.facts.cluster.executors.is_some_and(|fleet| fleet.executors == 0) {
        let sentence = format!("{runs} have not ended, with {files}, and no executor is connected");
        return Answer::new(Code::NoExecutors, None, sentence).waits_for("an executor: start `millwork-executor`");
    }
    let sentence = format!("{runs} have not ended, with {files}; {} done", number(date.files_done));
    let code = if queued == in_work { Code::Queued } else { Code::Converting };
    Answer::new(code, None, sentence).by_itself("they are converted", None)
}
