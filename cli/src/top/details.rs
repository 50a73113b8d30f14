//! Details of a row.

use super::canvas::Part;
use super::model::{Details, Tone};
use super::state::{Opened, State};
use super::tables::{key_of, subject_of};
use super::words::time;
use chrono::{DateTime, Utc};
use millwork_api::RunDetail;
use millwork_diagnosis::{AttentionItem, Diagnosis, Standing, many, moment};

/// Lines with the details of an opened row.
pub(super) fn lines(state: &State, opened: &Opened, now: DateTime<Utc>) -> Vec<Part> {
    let model = &state.model;
    let mut lines = vec![(Tone::Strong, opened.key.clone())];
    if let Some(about) = subject_of(opened.view, &opened.key) {
        match model.main.details.as_ref().filter(|details| details.about == about) {
            Some(details) => of_subject(&mut lines, details, now),
            None if state.is_paused => lines.push((Tone::Warn, "paused: nothing is asked until p".to_owned())),
            None => lines.push((Tone::Dim, "asking the scheduler …".to_owned())),
        }
    } else {
        match model.items().iter().find(|item| key_of(item) == opened.key) {
            Some(item) => of_cause(&mut lines, item, now),
            None => lines.push((Tone::Good, "this is over".to_owned())),
        }
    }
    lines
}

fn plain(lines: &mut Vec<Part>, text: String) {
    lines.push((Tone::Plain, text));
}

fn of_subject(lines: &mut Vec<Part>, details: &Details, now: DateTime<Utc>) {
    if let Some(run) = &details.run {
        of_run(lines, run, now);
    }
    of_diagnosis(lines, &details.why, now);
}

fn of_run(lines: &mut Vec<Part>, detail: &RunDetail, now: DateTime<Utc>) {
    let run = &detail.run;
    let priority = if run.priority == 0 { String::new() } else { format!(", priority {}", run.priority) };
    let attempts = many(u64::from(run.attempts), "attempt");
    plain(lines, format!("{}, {attempts}, {} failed{priority}", run.state, run.failures));
    for moment in &detail.timeline {
        plain(lines, format!("  {}  {}", time(moment.at, now), moment.words(run.state)));
    }
    for step in detail.progress.iter().flat_map(|progress| &progress.steps) {
        plain(lines, format!("  {}  {}: {:.1} s", time(step.began_at, now), step.step.as_str(), step.seconds));
    }
    if let Some(progress) = &detail.progress {
        let (phase, since) = (progress.phase.name.as_str(), time(progress.phase.since, now));
        lines.push((Tone::Good, format!("  {since}  {phase}: {} %, {} rows", progress.percent, progress.rows)));
    }
    if let Some(failure) = &run.failure {
        lines.push((Tone::Bad, format!("failure: {}: {}", failure.class, failure.message)));
        if let Some(file) = &failure.file {
            plain(lines, format!("  file: {file}"));
        }
    }
}

fn of_diagnosis(lines: &mut Vec<Part>, why: &Diagnosis, now: DateTime<Utc>) {
    let tone = match why.standing {
        Standing::NeedsYou => Tone::Bad,
        Standing::Moves => Tone::Plain,
        Standing::Settled => Tone::Good,
    };
    lines.push((tone, format!("why: {}: {}", why.code, why.sentence)));
    if why.next.by_itself || why.standing != Standing::Settled {
        next(lines, &why.next, now);
    }
    if let Some(action) = &why.action {
        plain(lines, format!("you can: {}: {}", action.label, action.command));
    }
    for evidence in &why.evidence {
        lines.push((Tone::Dim, format!("  {}: {}", evidence.what, evidence.found)));
    }
    lines.push((Tone::Dim, format!("more: {}", why.runbook)));
}

fn of_cause(lines: &mut Vec<Part>, item: &AttentionItem, now: DateTime<Utc>) {
    lines.push((Tone::Bad, item.sentence.clone()));
    if let Some(at) = item.since {
        plain(lines, format!("since {}", moment(at, now)));
    }
    next(lines, &item.next, now);
    if let Some(action) = &item.action {
        plain(lines, format!("you can: {}: {}", action.label, action.command));
    }
    for subject in &item.subjects {
        plain(lines, format!("  {}", subject.name()));
    }
    let named = item.subjects.len() as u64;
    if item.count > named {
        plain(lines, format!("  … and {} more", item.count - named));
    }
    lines.push((Tone::Dim, format!("more: {}", item.runbook)));
}

fn next(lines: &mut Vec<Part>, next: &millwork_diagnosis::Next, now: DateTime<Utc>) {
    let who = if next.by_itself { "by itself" } else { "waits for" };
    let at = next.at.map(|at| format!(", about {}", moment(at, now))).unwrap_or_default();
    plain(lines, format!("{who}: {}{at}", next.what));
}
