//! Quarantine page: files that were refused on arrival.

use super::preview;
use super::run_page::Tab;
use crate::charts::meter;
use crate::format;
use crate::frame::Viewer;
use crate::parts::filters::Choice;
use crate::parts::{actions, facts, filters, link, pager, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{File, Run};
use millwork_manifest::QuarantineReason;

/// Content of the page.
pub struct Quarantine<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// Date selected by the filter.
    pub date: Option<String>,
    /// Reason selected by the filter.
    pub reason: Option<&'a str>,
    /// Cursor at which this page begins.
    pub cursor: Option<String>,
    /// Refused files of this page.
    pub items: &'a [File],
    /// Cursor at which the next page begins.
    pub next: Option<&'a str>,
    /// Number of all refused files; none if not counted.
    pub all: Option<u64>,
    /// Recent runs with rejected lines. Only a limited number of runs is examined.
    pub runs: &'a [Run],
    /// Path and query of this page, as the return address.
    pub back: &'a str,
}

impl Quarantine<'_> {
    fn parameters(&self) -> [(&'static str, Option<&str>); 3] {
        [("date", self.date.as_deref()), ("reason", self.reason), ("cursor", self.cursor.as_deref())]
    }
}

/// Renders the page.
pub fn page(page: &Quarantine<'_>) -> Markup {
    let parameters = page.parameters();
    let active: Vec<(&str, &str)> = parameters
        .iter()
        .filter(|(name, _)| *name != "cursor")
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    let known = QuarantineReason::ALL.map(QuarantineReason::as_str);
    // Operators refuse files for a reason that is no rule's.
    let other = page.reason.filter(|reason| !known.contains(reason));
    let choices: Vec<Choice<'_>> =
        known.into_iter().chain(other).map(|reason| Choice { value: reason, name: reason }).collect();
    let fields = html! {
        (filters::date("date", "Date", page.date.as_deref()))
        (filters::select("reason", "Reason", page.reason, &choices))
    };
    html! {
        div.head {
            h1 { "Quarantine" }
            p.muted { "Files that were refused on arrival. " @if let Some(all) = page.all.filter(|all| *all >= page.items.len() as u64) { (format::counted(all, "file")) " in all. " } "Nothing of them is in any output." }
        }
        (filters::form("/ui/quarantine", &fields, &active, &parameters))
        @if page.items.is_empty() { (nothing(page, active.is_empty())) } @else { (list(page, &parameters)) }
        (facts::panel("rejected", "Rejected lines", None, &rejected(page)))
    }
}

fn nothing(page: &Quarantine<'_>, is_all: bool) -> Markup {
    html! {
        @if page.next.is_some() {
            div.empty { p.title { "No file matches on this page" } p { "The store was searched as far as one page goes. Go on with older ones." } }
            (pager::pager("/ui/quarantine", &page.parameters(), page.next, 0, "file"))
        } @else {
            div.empty.good {
                p.title { (state::sign(state::Sign::Tick)) @if is_all { " Nothing is refused" } @else { " No file like that was refused" } }
                p { @if is_all { "Every file that arrived had a date, a known extension and a size that is taken." } @else { "Take one of the filters above away to see others." } }
            }
        }
    }
}

fn list(page: &Quarantine<'_>, parameters: &[(&str, Option<&str>)]) -> Markup {
    html! {
        (reasons(page.items))
        form.list method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(page.back);
            @for (name, value) in parameters { @if let Some(value) = value.filter(|_| *name != "cursor") { input type="hidden" name=(format!("where-{name}")) value=(value); } }
            table.cards {
                caption.visually-hidden { "Refused files" }
                thead { tr {
                    th.tick scope="col" { input type="checkbox" data-act="all" aria-label="choose all files of this page"; }
                    th scope="col" { "File" } th scope="col" { "Reason" } th.num scope="col" { "Size" } th scope="col" { "Date" } th scope="col" { "Refused" } th scope="col" { "Content" }
                } }
                tbody { @for file in page.items { (row(file, page.now)) } }
            }
            (actions::of_files(page.viewer, page.next.is_some() || page.cursor.is_some()))
        }
        (pager::pager("/ui/quarantine", parameters, page.next, page.items.len(), "file"))
    }
}

fn row(file: &File, now: DateTime<Utc>) -> Markup {
    html! {
        tr id=(format!("file-{}", file.uri)) data-id=(file.uri) {
            td.tick { input type="checkbox" name="file" data-pick="yes" value=(file.uri) aria-label=(format!("choose {}", text::plain(link::split(&file.uri).1))); }
            td.main data-label="File" { (link::file(&file.uri)) @if let Some(to) = &file.quarantine_uri { div.why { "moved to " (text::shown(to)) } } }
            td data-label="Reason" { span.tag { (text::shown(file.reason.as_deref().unwrap_or("–"))) } }
            td.num data-label="Size" { (link::size(file.size_bytes)) }
            td data-label="Date" { @match &file.date { Some(date) => (link::date(&date.to_string())), None => span.muted { "none" } } }
            td.wide data-label="Refused" { (time::moment_and_ago(file.updated_at, now)) }
            td data-label="Content" { a href=(preview::path(&file.uri, 0)) { "look inside" span.visually-hidden { " " (text::shown(link::split(&file.uri).1)) } } }
        }
    }
}

/// Runs with rejected lines, with links to them.
fn rejected(page: &Quarantine<'_>) -> Markup {
    html! {
        @if page.runs.is_empty() {
            p.muted { "The newest completed runs" @if let Some(date) = &page.date { " of " (date) } " rejected no line." }
        } @else {
            p.muted { "Lines that were no rows, of the newest completed runs" @if let Some(date) = &page.date { " of " (date) } ". Their other lines are converted." }
            table.cards {
                caption.visually-hidden { "Runs with rejected lines" }
                thead { tr { th scope="col" { "Run" } th scope="col" { "Date" } th.num scope="col" { "Rejected" } th.num scope="col" { "Rows" } th scope="col" { "Completed" } th scope="col" { "Lines" } } }
                tbody { @for run in page.runs { @if let Some(summary) = &run.summary {
                    tr data-id=(run.manifest_id) {
                        td.main data-label="Run" { (link::run(run.manifest_id.as_str())) }
                        td data-label="Date" { (link::date(&run.date.to_string())) }
                        td.num.s-bad data-label="Rejected" { (link::count(summary.rejected)) }
                        td.num data-label="Rows" { (link::count(summary.rows)) }
                        td data-label="Completed" { (time::ago(run.updated_at, page.now)) }
                        td data-label="Lines" { a href=(Tab::Rejected.path(run.manifest_id.as_str())) { "look at them" span.visually-hidden { " of " (run.manifest_id) } } }
                    }
                } } }
            }
        }
    }
}

/// Reasons of the files on this page, most frequent first.
fn reasons(items: &[File]) -> Markup {
    let mut counts: Vec<(&str, u64)> = Vec::new();
    for file in items {
        let reason = file.reason.as_deref().unwrap_or("–");
        match counts.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => counts.push((reason, 1)),
        }
    }
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    html! {
        ul.shares aria-label="Reasons on this page" {
            @for (reason, count) in &counts {
                li { span.tag { (text::shown(reason)) } strong.num { (count) } (meter::bar(&[meter::Part { amount: *count as f64, class: "warn", said: format!("{count} of {}", items.len()) }], items.len() as f64, &text::plain(reason))) }
            }
        }
    }
}
