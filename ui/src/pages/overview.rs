//! Overview page: overall state, concerns that need attention, and flow.

use crate::charts::meter;
use crate::format;
use crate::frame::Tone;
use crate::parts::{facts, link, state, states, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{Executor, Executors, Run, Stats};
use millwork_manifest::{FileState, RunState};

/// Problem that needs attention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Concern {
    /// Severity of the concern.
    pub tone: Tone,
    /// Summary, one sentence.
    pub title: String,
    /// Details of the concern.
    pub detail: String,
    /// Start of the concern.
    pub since: Option<DateTime<Utc>>,
    /// Address of a page with details.
    pub link: String,
}

/// Content of the page.
pub struct Overview<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Statistics of the scheduler.
    pub stats: &'a Stats,
    /// Concerns that need attention, most severe first.
    pub concerns: &'a [Concern],
    /// Runs in progress.
    pub running: &'a [Run],
    /// Runs that changed most recently.
    pub latest: &'a [Run],
    /// Executors, with their tasks.
    pub executors: &'a Executors,
    /// Prefix of input; none unless it is the only one.
    pub input: Option<&'a str>,
    /// Charts of the flow, rendered.
    pub flow: Option<Markup>,
    /// Calendar of the dates, rendered.
    pub calendar: Option<Markup>,
    /// Newest date, and its converted share as text.
    pub newest: Option<(String, String)>,
    /// Forecast of the end of the backlog, as text.
    pub forecast: Option<String>,
}

/// Overall severity, which the window's icon shows, too.
pub fn tone(overview: &Overview<'_>) -> Tone {
    overview.concerns.iter().map(|concern| concern.tone).max().unwrap_or(Tone::Good)
}

/// Renders the page.
pub fn page(overview: &Overview<'_>) -> Markup {
    let is_empty = overview.stats.files_counted_at.is_some()
        && overview.stats.files.iter().all(|count| count.files == 0)
        && overview.latest.is_empty();
    html! {
        h1.visually-hidden { "Overview" }
        (verdict(overview))
        @if is_empty { (first_steps(overview.input)) }
        @if !overview.concerns.is_empty() { (concerns(overview)) }
        (facts::panel("flow", "Flow", None, &flow(overview)))
        div.columns {
            div {
            @if let Some(calendar) = &overview.calendar { (facts::panel("dates", "Dates", Some(html! { a href="/ui/dates" { "all dates" } }), &html! { div.scroll.newest tabindex="0" role="group" aria-label="Calendar" { (calendar) } })) }
            (facts::panel("executors", "Executors", Some(html! { a href="/ui/cluster" { "cluster" } }), &executors(overview)))
            }
            div {
            (facts::panel("running", &format!("Running now ({})", format::count(in_work(overview))), Some(html! { a href=(super::runs::in_work()) { "all in work" } }), &running(overview)))
            (facts::panel("latest", "Last changes", Some(html! { a href="/ui/runs" { "all runs" } }), &latest(overview)))
            }
        }
    }
}

fn verdict(overview: &Overview<'_>) -> Markup {
    let tone = tone(overview);
    let sign = match tone {
        Tone::Good => state::Sign::Tick,
        Tone::Plain => state::Sign::Dot,
        Tone::Warn => state::Sign::Mark,
        Tone::Bad => state::Sign::Cross,
    };
    html! {
        section.verdict.(tone.class()) aria-label="Is the day fine?" {
            (state::sign(sign))
            div {
                p.sentence { (sentence(overview)) }
                p.muted {
                    @if let Some((date, said)) = &overview.newest { (link::date(date)) ": " (said) ". " }
                    @if let Some(forecast) = &overview.forecast { (forecast) " " }
                    @if overview.stats.files_counted_at.is_none() { "Files are being counted. " }
                    @if let Some(rate) = overview.stats.bytes_per_second { "Converts " (format::rate(rate)) "." }
                }
            }
        }
    }
}

/// Summary of the overall state in one sentence.
pub fn sentence(overview: &Overview<'_>) -> String {
    let open: u64 = overview.stats.runs.iter().map(|count| count.runs).sum();
    let grave = overview.concerns.iter().filter(|concern| concern.tone == Tone::Bad).count() as u64;
    let progress = progress(overview.stats, open + grave > 0);
    let work = match open {
        0 => String::new(),
        open => format!("{} in work or waiting", format::counted(open, "run")),
    };
    let needs = match (grave, overview.concerns.len() as u64) {
        (0, 0) => "nothing needs you".to_owned(),
        (0, n) => format!("{} to look at", format::counted(n, "thing")),
        (_, n) => format!("{} {} you", format::counted(n, "thing"), if n == 1 { "needs" } else { "need" }),
    };
    let parts: Vec<String> = [progress, work, needs].into_iter().filter(|part| !part.is_empty()).collect();
    let mut sentence = parts.join("; ");
    if let Some(first) = sentence.get(..1).map(str::to_uppercase) {
        sentence.replace_range(..1, &first);
    }
    sentence + "."
}

/// Share of files that are converted, as text. Empty before the first count, and if nothing is counted while `is_busy`.
fn progress(stats: &Stats, is_busy: bool) -> String {
    let all: u64 =
        stats.files.iter().filter(|count| count.state != FileState::Quarantined).map(|count| count.files).sum();
    let done = files(stats, FileState::Completed);
    match (all, stats.files_counted_at) {
        (_, None) => String::new(),
        // Stale count: files were seen after it.
        (0, _) if is_busy => String::new(),
        (0, _) => "No file has been seen yet".to_owned(),
        (all, _) if done == all => format!("All {} known are converted", format::counted(all, "file")),
        (all, _) => format!(
            "{} converted: {} of {}",
            format::percent(done, all),
            format::count(done),
            format::counted(all, "file known").replace("knowns", "known").replace("file known", "files known")
        ),
    }
}

fn files(stats: &Stats, state: FileState) -> u64 {
    stats.files.iter().filter(|count| count.state == state).map(|count| count.files).sum()
}

fn first_steps(input: Option<&str>) -> Markup {
    html! {
        div.empty {
            p.title { "No file has been seen yet" }
            p { "Files arrive by events of a bucket, by listings, or from a directory that is watched." }
            @if let Some(input) = input { p { "Put a file such as " code { "2025-12-23-a.ndjson" } " into " (text::shown(input)) ", or try it with a day of made data:" } }
            @else { p { "Try it with a day of made data:" } }
            (crate::parts::copy::command("millwork up --demo"))
        }
    }
}

fn concerns(overview: &Overview<'_>) -> Markup {
    const SHOWN: usize = 8;
    let title = format!("Needs you ({})", overview.concerns.len());
    let list = html! {
        ul.concerns {
            @for concern in overview.concerns.iter().take(SHOWN) {
                li.(concern.tone.class()) {
                    (state::sign(if concern.tone == Tone::Bad { state::Sign::Cross } else { state::Sign::Mark }))
                    div {
                        a.title href=(concern.link) { span.visually-hidden { (concern.tone.word()) ": " } (text::brief_sentence(&concern.title)) }
                        @if !concern.detail.is_empty() { div.muted { (text::brief_sentence(&concern.detail)) } }
                    }
                    @if let Some(since) = concern.since { span.muted { (time::ago(since, overview.now)) } }
                }
            }
        }
        @if overview.concerns.len() > SHOWN {
            details { summary { (overview.concerns.len() - SHOWN) " more" }
                ul.concerns { @for concern in &overview.concerns[SHOWN..] { li.(concern.tone.class()) { a.title href=(concern.link) { (text::brief_sentence(&concern.title)) } } } }
            }
        }
    };
    facts::panel("needs", &title, None, &list)
}

fn flow(overview: &Overview<'_>) -> Markup {
    let steps = [FileState::Pending, FileState::Manifested, FileState::Processing, FileState::Completed];
    let aside = [FileState::Failed, FileState::Quarantined];
    let step = |of: FileState| step(of, files(overview.stats, of));
    html! {
        div.steps {
            @for (index, of) in steps.into_iter().enumerate() { @if index > 0 { span.arrow aria-hidden="true" { "→" } } (step(of)) }
            span.push {}
            @for of in aside { (step(of)) }
        }
        // Hint on refused files without a date: no count by date includes them.
        p.muted.after-steps { "Counted by date. Files that were refused for having none are listed in the " a href="/ui/quarantine" { "quarantine" } ", too." }
        @if let Some(flow) = &overview.flow { (flow) }
        (amounts(overview.stats))
    }
}

fn step(of: FileState, files: u64) -> Markup {
    let (sign, class) = state::file_sign(of);
    html! {
        a.step.(class).none[files == 0] href=(link::query("/ui/files", &[("state", Some(of.as_str()))])) {
            (state::sign(sign)) strong.num { (format::count(files)) }
            span { (of.as_str()) }
        }
    }
}

/// Amounts of work that waits, that is in progress and that is done.
fn amounts(stats: &Stats) -> Markup {
    let open = |of: RunState| stats.runs.iter().filter(|count| count.state == of).map(|count| count.runs).sum::<u64>();
    facts::facts(&[
        (
            "runs queued",
            html! { a href="/ui/runs?state=queued" { (link::count(open(RunState::Queued))) } @if let Some(age) = stats.queue_age_seconds { span.muted { " oldest " (format::duration(age)) } } },
        ),
        (
            "in work",
            html! { (link::count(open(RunState::Planning) + open(RunState::Running) + open(RunState::Committing))) },
        ),
        (
            "backlog",
            html! { (link::size(stats.runs.iter().map(|count| count.bytes).sum())) @if let Some(seconds) = stats.backlog_seconds.filter(|seconds| *seconds > 0.0) { span.muted { " about " (format::duration(seconds)) } } },
        ),
        (
            "converted since start",
            html! { (link::size(stats.converted.input_bytes)) span.muted { " → " (format::bytes(stats.converted.output_bytes)) " Parquet" } },
        ),
        ("rows since start", html! { (link::count(stats.converted.rows)) }),
    ])
}

/// Limit of rows of a list on this page.
const ROWS: usize = 8;

/// Number of runs in progress: that of the listed runs if all fit, otherwise the periodic count, at least the listed
/// ones.
fn in_work(overview: &Overview<'_>) -> u64 {
    if overview.running.len() <= ROWS {
        return overview.running.len() as u64;
    }
    let counted = overview.stats.runs.iter().filter(|count| RunState::OPEN.contains(&count.state));
    counted.map(|count| count.runs).sum::<u64>().max(overview.running.len() as u64)
}

fn running(overview: &Overview<'_>) -> Markup {
    html! {
        @if overview.running.is_empty() { p.muted { "Nothing is being converted." } }
        ul.rows.last {
            @for run in overview.running.iter().take(ROWS) {
                li id=(format!("now-{}", run.manifest_id)) {
                    (state::of_run(run, overview.now)) (link::run(run.manifest_id.as_str()))
                    span.push {}
                    span.muted { @match run.started_at { Some(started) => { "for " (format::between(started, overview.now)) }, None => (link::input_size(run.bytes)) } }
                }
            }
        }
        @if in_work(overview) > ROWS as u64 { p { a href=(super::runs::in_work()) { (format::count(in_work(overview) - ROWS as u64)) " more" } } }
    }
}

fn executors(overview: &Overview<'_>) -> Markup {
    if !overview.executors.leads {
        return states::standby("Who is connected");
    }
    let all: u64 = overview.executors.items.iter().map(|executor| u64::from(executor.vcores)).sum();
    let used: u64 = overview.executors.items.iter().map(Executor::slots_used).sum();
    html! {
        @if overview.executors.items.is_empty() {
            (states::empty("No executor is connected", "Runs wait until one is. Start one, with this scheduler's address for executors:", Some("millwork-executor --scheduler HOST:PORT")))
        } @else {
            (meter::share(used as f64, all as f64, "work", &format!("{used} of {all} slots in use"), "slots"))
            p.under-meter { span { strong { (used) } " of " (format::counted(all, "slot")) " in use" } span.muted { (format::counted(overview.executors.items.len() as u64, "executor")) } }
            @if overview.executors.items.len() > 1 {
                ul.rows {
                    @for executor in overview.executors.items.iter().take(6) {
                        li { span.id { (text::shown(&executor.id)) } span.push {} span.num { (super::cluster::slots(executor)) } }
                    }
                }
            }
        }
    }
}

fn latest(overview: &Overview<'_>) -> Markup {
    html! {
        @if overview.latest.is_empty() { p.muted { "No run yet." } }
        ul.rows.last {
            @for run in overview.latest.iter().take(ROWS) {
                li id=(format!("last-{}", run.manifest_id)) {
                    (state::of_run(run, overview.now)) (link::run(run.manifest_id.as_str()))
                    span.push {} span.muted { (time::ago(run.updated_at, overview.now)) }
                }
            }
        }
    }
}
