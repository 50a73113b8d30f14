//! Page of one run: state, progress and results.

use super::run_page::{RunPage, Tab};
use super::run_parts;
use crate::charts::conservation::{Lines, conservation};
use crate::charts::meter;
use crate::format;
use crate::parts::{actions, copy, facts, link, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{Attempt, Moment, MomentKind, Run, RunDetail, RunOutput};
use millwork_manifest::{FailureClass, RunState};

/// Renders the page.
pub fn page(page: &RunPage<'_>) -> Markup {
    let run = &page.run.run;
    let id = run.manifest_id.as_str();
    html! {
        div.head.split {
            div {
                p.kicker { (state::of_run(run, page.now)) span.muted { " run of " (link::date(&run.date.to_string())) } }
                div.titled { h1.id { (text::shown(id)) } (copy::button(id, "the run's id")) }
            }
            (actions::of_run(run, page.viewer, page.back))
        }
        (outcome(page))
        (progress(page))
        (facts::facts(&numbers(page)))
        nav.tabs aria-label="Parts of the run" {
            @for tab in Tab::ALL {
                a href=(tab.path(id)) data-tab="yes" aria-current=[(tab == page.tab).then_some("page")] { (tab.as_str()) @if let Some(count) = tab_count(tab, page.run) { " " span.count.num { (format::count(count)) } } }
            }
        }
        @match page.tab {
            Tab::Summary => (summary(page)),
            _ => (run_parts::part(page)),
        }
    }
}

fn tab_count(tab: Tab, run: &RunDetail) -> Option<u64> {
    match tab {
        Tab::Files => Some(run.run.files),
        Tab::Rejected => run.result.as_ref().map(|result| result.rejected),
        Tab::Output => run.result.as_ref().map(|result| result.outputs.len() as u64),
        Tab::Tasks => {
            run.progress.as_ref().map(|progress| progress.stages.iter().map(|stage| stage.partitions as u64).sum())
        }
        Tab::Summary | Tab::Plan => None,
    }
}

/// Outcome of the run: cause of a failure, and the next step.
fn outcome(page: &RunPage<'_>) -> Markup {
    let run = &page.run.run;
    html! {
        @if let Some(why) = &page.why { (why) }
        @else if let Some(failure) = &run.failure {
            div.banner.(if run.state == RunState::Failed { "bad" } else { "warn" }) role="status" {
                p {
                    strong { @match run.state { RunState::Failed => "Failed", RunState::Completed if failure.class == FailureClass::Cancelled => "The output is the one before: it was forced again, and that was ended", RunState::Completed => "The output is the one before: forced again, it failed", _ => "The attempt before failed" } ": " (failure.class.as_str()) ". " }
                    (text::prose(&failure.message))
                }
                @if let Some(file) = &failure.file { p { "At fault: " (link::file(file)) } }
                p.muted { (next(run, page.now)) }
            }
        }
    }
}

fn next(run: &Run, now: DateTime<Utc>) -> String {
    match (run.state, run.not_before) {
        (RunState::Failed, _) => "Nothing happens by itself. Mend the cause, then retry.".to_owned(),
        (RunState::Queued, Some(at)) if at > now => format!("It starts again by itself {}.", format::ago(at, now)),
        (RunState::Queued, _) => "It starts again by itself when its turn comes.".to_owned(),
        (RunState::Completed, _) => "Nothing is lost: readers have the output from before.".to_owned(),
        _ => "Another attempt is in work.".to_owned(),
    }
}

fn progress(page: &RunPage<'_>) -> Markup {
    let run = &page.run.run;
    if !RunState::OPEN.contains(&run.state) {
        return html! {};
    }
    let since = run.started_at.map(|started| format::between(started, page.now));
    html! {
        div.progress {
            @match &page.run.progress {
                Some(progress) => {
                    (meter::share(progress.read_bytes as f64, progress.bytes as f64, "work", &format!("{} % read", progress.percent), "progress"))
                    p {
                        strong { (run.state.as_str()) } " · " (format::bytes(progress.read_bytes)) @if progress.bytes > 0 { " of " (format::bytes(progress.bytes)) } " read"
                        @if progress.tasks > 0 { " · " (progress.tasks_done) " of " (format::counted(progress.tasks, "task")) }
                        @if progress.rows > 0 { " · " (format::short_count(progress.rows)) " rows" }
                        @if let Some(rate) = progress.bytes_per_second { " · " (format::rate(rate)) }
                        @if let Some(since) = since { " · for " (since) }
                        @if let Some(eta) = progress.eta_seconds { ", about " (format::duration(eta)) " more" }
                    }
                },
                None => {
                    (meter::share(0.0, 1.0, "work", run.state.as_str(), "progress"))
                    p { strong { (run.state.as_str()) } @if let Some(since) = since { " · for " (since) } " · " (format::counted(run.files, "file")) ", size " (link::input_size(run.bytes)) }
                },
            }
        }
    }
}

fn numbers(page: &RunPage<'_>) -> Vec<(&'static str, Markup)> {
    let run = &page.run.run;
    // `failures` counts only those since the run was queued last.
    let failed = page.run.history.iter().filter(|attempt| attempt.failure.is_some()).count();
    let mut items = vec![
        ("files", html! { (link::count(run.files)) }),
        (
            "input",
            html! { (link::input_size(page.run.result.as_ref().map(|result| result.input_bytes).or(run.bytes))) },
        ),
        ("took", super::runs::took(run, page.now)),
        ("attempts", html! { (run.attempts) @if failed > 0 { span.muted { " " (failed) " failed" } } }),
    ];
    items.extend(page.run.result.iter().flat_map(|result| of_output(run, result)));
    if let Some(file) = run.failure.as_ref().and_then(|failure| failure.file.as_ref()).filter(|_| page.why.is_some()) {
        items.push(("at fault", link::file(file)));
    }
    if run.priority != 0 {
        items.push(("priority", html! { (run.priority) }));
    }
    if run.generation > 1 {
        items.push(("output number", html! { (run.generation) }));
    }
    items
}

/// Facts of the output that readers have: of a forced run, the one before until the new one is there.
fn of_output(run: &Run, result: &RunOutput) -> Vec<(&'static str, Markup)> {
    let is_older = run.committed_at.is_some() && !matches!(run.state, RunState::Completed | RunState::Committing);
    let rejected = Tab::Rejected.path(run.manifest_id.as_str());
    let mut items = Vec::new();
    if is_older {
        items.push(("readers have", html! { "the output before" }));
    }
    items.extend([
        ("rows", html! { (link::count(result.rows)) }),
        ("output", html! { (link::size(result.output_bytes)) span.muted { " in " (format::counted(result.outputs.len() as u64, "file")) } }),
        ("rejected", html! { @if result.rejected > 0 { a href=(rejected) { (link::count(result.rejected)) } } @else { "0" } }),
    ]);
    items
}

fn summary(page: &RunPage<'_>) -> Markup {
    html! {
        (facts::panel("timeline", "Timeline", None, &timeline(&page.run.timeline, page.run, page.now)))
        @if let Some(result) = &page.run.result { (facts::panel("ledger", "Ledger", None, &ledger(result))) }
        @if !is_told_by_the_timeline(&page.run.history) { (facts::panel("attempts", "Attempts", None, &attempts(&page.run.history, page.now))) }
        (facts::panel("manifest", "Manifest", None, &html! { p.id { (text::shown(&page.run.run.manifest_uri)) (copy::button(&page.run.run.manifest_uri, "the manifest's address")) } }))
    }
}

/// True of a single attempt without failure: the timeline already shows it.
fn is_told_by_the_timeline(history: &[Attempt]) -> bool {
    history.len() <= 1 && history.iter().all(|attempt| attempt.failure.is_none())
}

fn ledger(result: &RunOutput) -> Markup {
    let lines = Lines {
        lines: result.ledger.lines,
        rows: result.ledger.rows,
        rejected: result.ledger.rejected,
        blank: result.ledger.blank,
        left_out: result.left_out,
        written: result.rows,
    };
    html! {
        (conservation(&lines))
        p.equation {
            (format::bytes(result.input_bytes)) " of " (format::counted(result.ledger.files, "file")) " read"
            @if result.replaced_characters > 0 { span.s-retry { " · " (format::counted(result.replaced_characters, "character")) " replaced by U+FFFD" } }
            @if result.ledger.without_rows > 0 { span.s-bad { " · " (format::counted(result.ledger.without_rows, "file")) " without a row" } }
        }
        @if !result.renamed_columns.is_empty() {
            p { "Keys that got another name, since theirs is a metadata column's: " @for (key, column) in &result.renamed_columns { code { (text::shown(key)) } " → " code { (text::shown(column)) } " " } }
        }
    }
}

/// Moments of a timeline that fit side by side; more stand below each other.
const SIDE_BY_SIDE: usize = 5;

fn timeline(moments: &[Moment], run: &RunDetail, now: DateTime<Utc>) -> Markup {
    html! {
        ol.timeline.tall[moments.len() > SIDE_BY_SIDE] {
            @for (index, moment) in moments.iter().enumerate() {
                @let before = index.checked_sub(1).and_then(|before| moments.get(before));
                li.(moment_class(moment.what, run.run.state)) {
                    @if let Some(before) = before { span.gap { (format::between(before.at, moment.at)) } }
                    span.what { (moment.words(run.run.state)) }
                    span.at { (time::moment_short(moment.at, now)) }
                }
            }
            @if !run.run.state.is_final() { li.now { span.what { (state::of_run(&run.run, now)) } span.at.muted { "now" } } }
        }
    }
}

fn moment_class(what: MomentKind, end: RunState) -> &'static str {
    match (what, end) {
        (MomentKind::AttemptFailed, _) | (MomentKind::Ended, RunState::Failed) => "s-bad",
        (MomentKind::Committed, _) | (MomentKind::Ended, RunState::Completed) => "s-done",
        (MomentKind::Started, _) => "s-work",
        _ => "s-idle",
    }
}

fn attempts(attempts: &[Attempt], now: DateTime<Utc>) -> Markup {
    html! {
        @if attempts.is_empty() { p.muted { "None yet." } } @else {
            table.cards {
                caption.visually-hidden { "Attempts" }
                thead { tr { th scope="col" { "Attempt" } th scope="col" { "Started" } th.num scope="col" { "Took" } th scope="col" { "Outcome" } } }
                tbody {
                    @let newest = attempts.last().map_or(0, |attempt| attempt.number);
                    @for attempt in attempts.iter().rev() {
                        tr {
                            td data-label="Attempt" { (attempt.number) }
                            td data-label="Started" { (time::moment_short(attempt.started_at, now)) }
                            td.num data-label="Took" { @match attempt.ended_at { Some(ended) => (format::between(attempt.started_at, ended)), None => span.muted { "–" } } }
                            td.wide data-label="Outcome" {
                                @match (&attempt.failure, attempt.ended_at) {
                                    (Some(failure), _) => { span.tag { (failure.class.as_str()) } " " (text::brief(&failure.message)) },
                                    (None, Some(_)) => (state::state(state::Sign::Tick, "ended well", "s-done")),
                                    (None, None) if attempt.number < newest => span.muted { "given up: its scheduler ended, or its columns turned out to be others" },
                                    (None, None) => span.muted { "in work" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}
