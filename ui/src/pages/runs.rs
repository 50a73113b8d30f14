//! Runs page: list with filters, and actions on selected runs.

use crate::format;
use crate::frame::Viewer;
use crate::parts::filters::Choice;
use crate::parts::{actions, filters, link, pager, state, states, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{AnyOf, Run, Stats};
use millwork_manifest::{FailureClass, RunState};

/// Content of the page.
pub struct Runs<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// Statistics of the scheduler, with the number of runs in each state.
    pub stats: &'a Stats,
    /// States selected by the filter.
    pub state: &'a AnyOf<RunState>,
    /// Date selected by the filter.
    pub date: Option<String>,
    /// Failure classes selected by the filter.
    pub class: &'a AnyOf<FailureClass>,
    /// Filters of states and classes, as written in the query.
    pub chosen: (Option<&'a str>, Option<&'a str>),
    /// Prefix of manifest ids to which runs are limited.
    pub prefix: Option<&'a str>,
    /// Cursor at which this page begins.
    pub cursor: Option<String>,
    /// Runs of this page.
    pub items: &'a [Run],
    /// Cursor at which the next page begins.
    pub next: Option<&'a str>,
    /// Path and query of this page, as the return address.
    pub back: &'a str,
}

/// States of runs in progress, as written in the query.
const IN_WORK: &str = "planning,running,committing";

/// Address of the list of runs in progress.
pub fn in_work() -> String {
    link::query("/ui/runs", &[("state", Some(IN_WORK))])
}

impl Runs<'_> {
    fn parameters(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("state", self.chosen.0),
            ("date", self.date.as_deref()),
            ("class", self.chosen.1),
            ("q", self.prefix),
            ("cursor", self.cursor.as_deref()),
        ]
    }
}

/// Renders the page.
pub fn page(runs: &Runs<'_>) -> Markup {
    html! {
        div.head {
            h1 { "Runs" }
            p.muted { "A run converts the files of one manifest. Newest first." }
        }
        (tabs(runs))
        (form(runs))
        @if runs.items.is_empty() { (nothing(runs)) } @else { (list(runs)) }
    }
}

fn tabs(runs: &Runs<'_>) -> Markup {
    let open = |of: RunState| runs.stats.runs.iter().find(|count| count.state == of).map_or(0, |count| count.runs);
    let to = |state: Option<&'static str>| {
        let mut parameters = filters::without(&runs.parameters(), "state");
        parameters.insert(0, ("state", state.filter(|state| !state.is_empty())));
        link::query("/ui/runs", &parameters)
    };
    let in_work = RunState::OPEN.into_iter().map(open).sum();
    let counted = |count: u64| html! { @if count > 0 { " " span.count.num { (format::count(count)) } } };
    html! {
        nav.tabs aria-label="Runs by state" {
            a href=(to(None)) data-tab="yes" aria-current=[runs.state.is_empty().then_some("true")] { "all" }
            a href=(to(Some(IN_WORK))) data-tab="yes" aria-current=[(runs.chosen.0 == Some(IN_WORK)).then_some("true")] { "in work" (counted(in_work)) }
            @for state in TABS {
                a href=(to(Some(state.as_str()))) data-tab="yes" aria-current=[(runs.state.words() == [state]).then_some("true")] {
                    (state.as_str())
                    (counted(open(state)))
                }
            }
        }
    }
}

fn form(runs: &Runs<'_>) -> Markup {
    let classes: Vec<Choice<'_>> =
        FailureClass::ALL.iter().map(|class| Choice { value: class.as_str(), name: class.as_str() }).collect();
    let parameters = runs.parameters();
    let active: Vec<(&str, &str)> = parameters
        .iter()
        .filter(|(name, _)| *name != "cursor" && !(*name == "state" && has_tab(runs)))
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    let fields = html! {
        (filters::text("q", "Id begins with", runs.prefix, "2025-12-23-batch"))
        @if let Some(state) = runs.chosen.0 { input type="hidden" name="state" value=(state); }
        (filters::date("date", "Date", runs.date.as_deref()))
        (filters::select("class", "Failure", one_class(runs.class), &classes))
    };
    filters::form("/ui/runs", &fields, &active, &parameters)
}

/// States with a tab of their own, in addition to the tab for runs in progress.
const TABS: [RunState; 4] = [RunState::Queued, RunState::Completed, RunState::Failed, RunState::Cancelled];

/// True if a tab exists for exactly the selected states.
fn has_tab(runs: &Runs<'_>) -> bool {
    runs.chosen.0 == Some(IN_WORK) || matches!(runs.state.words(), [state] if TABS.contains(state))
}

fn one_class(classes: &AnyOf<FailureClass>) -> Option<&'static str> {
    match classes.words() {
        [class] => Some(class.as_str()),
        _ => None,
    }
}

fn nothing(runs: &Runs<'_>) -> Markup {
    let has_filter = runs.parameters().iter().any(|(_, value)| value.is_some());
    if !has_filter {
        return states::empty(
            "No run yet",
            "A run begins when enough files of a date have arrived, or when a manifest is submitted:",
            Some("millwork submit MANIFEST.json --wait"),
        );
    }
    let more = runs.next.is_some();
    let is_state_alone =
        has_tab(runs) && !more && runs.parameters().iter().all(|(name, value)| *name == "state" || value.is_none());
    if is_state_alone {
        let none = match runs.state.words() {
            [RunState::Failed] => "No run has failed",
            [RunState::Cancelled] => "No run was cancelled",
            [RunState::Completed] => "No run is completed yet",
            [RunState::Queued] => "No run waits",
            _ => "No run is in work",
        };
        return html! { div.empty { p.title { (none) } p { a href="/ui/runs" { "All runs" } } } };
    }
    html! {
        div.empty {
            p.title { "No run matches" @if more { " on this page" } }
            @if more { p { "The store was searched as far as one page goes. Go on with older ones below." } }
            @else { p { "Take one of the filters above away." } }
        }
        @if more { (pager::pager("/ui/runs", &runs.parameters(), runs.next, 0, "run")) }
    }
}

fn list(runs: &Runs<'_>) -> Markup {
    html! {
        form.list method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(runs.back);
            @for (name, value) in runs.parameters() { @if let Some(value) = value.filter(|_| name != "cursor") { input type="hidden" name=(format!("where-{name}")) value=(value); } }
            p.new-rows hidden { button type="button" data-act="show-new" { span data-new-count {} " new: show" kbd aria-hidden="true" { "." } } }
            table.cards {
                caption.visually-hidden { "Runs, newest first" }
                thead { tr {
                    th.tick scope="col" { input type="checkbox" data-act="all" aria-label="choose all runs of this page"; }
                    th scope="col" { "Run" } th scope="col" { "State" } th scope="col" { "Date" }
                    th.num scope="col" { "Files" } th.num scope="col" { "Input" } th.num scope="col" { "Took" } th.num scope="col" { "Rows" } th.num scope="col" { "Rejected" } th.num scope="col" { "Rate" } th scope="col" { "Changed" }
                } }
                tbody data-rows="yes" { @for run in runs.items { (row(run, runs.now)) } }
            }
            (actions::of_selection(runs.viewer, runs.next.is_some() || runs.cursor.is_some()))
        }
        (pager::pager("/ui/runs", &runs.parameters(), runs.next, runs.items.len(), "run"))
    }
}

/// Row of a run. The element id contains that of the run, so that refreshes update the row in place.
fn row(run: &Run, now: DateTime<Utc>) -> Markup {
    let id = run.manifest_id.as_str();
    html! {
        tr id=(format!("run-{id}")) data-id=(id) {
            td.tick { input type="checkbox" name="run" data-pick="yes" value=(id) aria-label=(format!("choose {id}")); }
            td.main data-label="Run" { (link::run(id)) (failure(run)) }
            td data-label="State" { (state::of_run(run, now)) @if run.attempts > 1 { " " span.muted { "attempt " (run.attempts) } } }
            td data-label="Date" { (link::date(&run.date.to_string())) }
            td.num data-label="Files" { (link::count(run.files)) }
            td.num data-label="Input" { (link::input_size(run.bytes)) }
            td.num data-label="Took" { (took(run, now)) }
            @match &run.summary {
                Some(summary) => { td.num data-label="Rows" { (link::count(summary.rows)) } td.num data-label="Rejected" { (link::count(summary.rejected)) } },
                None => { td.num data-label="Rows" { (link::none()) } td.num data-label="Rejected" { (link::none()) } },
            }
            td.num data-label="Rate" { @if let Some(rate) = rate(run) { (format::rate(rate)) } @else { (link::none()) } }
            td data-label="Changed" { (time::ago(run.updated_at, now)) }
        }
    }
}

/// Class and message of the failure of a run that is not completed.
fn failure(run: &Run) -> Markup {
    html! {
        @if let Some(failure) = run.failure.as_ref().filter(|_| run.state != RunState::Completed) { div.why { span.tag { (failure.class.as_str()) } " " (text::begun(&failure.message)) } }
    }
}

/// Duration of the newest attempt, so far if it still runs.
pub fn took(run: &Run, now: DateTime<Utc>) -> Markup {
    match (run.started_at, run.ended_at) {
        (Some(started), Some(ended)) if ended >= started => html! { (format::between(started, ended)) },
        (Some(started), None) if RunState::OPEN.contains(&run.state) => {
            html! { (format::between(started, now)) span.muted { " so far" } }
        }
        _ => link::none(),
    }
}

/// Input bytes per second of a completed run.
fn rate(run: &Run) -> Option<f64> {
    let seconds = (run.ended_at? - run.started_at?).as_seconds_f64();
    (run.state == RunState::Completed && seconds > 0.0).then_some(run.bytes? as f64 / seconds)
}
