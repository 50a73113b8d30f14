//! Files page: list with filters.

use crate::parts::{filters, link, pager, state, states, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{AnyOf, File, FilesInState, Stats};
use millwork_manifest::FileState;

/// Content of the page.
pub struct Files<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Statistics of the scheduler, with the number of files in each state.
    pub stats: &'a Stats,
    /// States selected by the filter.
    pub state: &'a AnyOf<FileState>,
    /// State filter, as written in the query.
    pub chosen: Option<&'a str>,
    /// Prefix of URIs to which files are limited.
    pub prefix: Option<&'a str>,
    /// Date selected by the filter.
    pub date: Option<String>,
    /// Cursor at which this page begins.
    pub cursor: Option<String>,
    /// Files of this page.
    pub items: &'a [File],
    /// Cursor at which the next page begins.
    pub next: Option<&'a str>,
}

impl Files<'_> {
    fn parameters(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("state", self.chosen),
            ("date", self.date.as_deref()),
            ("prefix", self.prefix),
            ("cursor", self.cursor.as_deref()),
        ]
    }
}

/// Renders the page.
pub fn page(files: &Files<'_>) -> Markup {
    let parameters = files.parameters();
    let active: Vec<(&str, &str)> = parameters
        .iter()
        .filter(|(name, _)| *name != "cursor" && !(*name == "state" && one(files.state).is_some()))
        .filter_map(|(name, value)| Some((*name, (*value)?)))
        .collect();
    let fields = html! {
        (filters::text("prefix", "Address begins with", files.prefix, "s3://bucket/folder/"))
        @if let Some(state) = files.chosen { input type="hidden" name="state" value=(state); }
        (filters::date("date", "Date", files.date.as_deref()))
    };
    html! {
        div.head {
            h1 { "Files" }
            p.muted { "Input files and where each is in its life." @if one(files.state).is_some() { " The oldest first." } }
        }
        (tabs(files))
        (filters::form("/ui/files", &fields, &active, &parameters))
        @if files.items.is_empty() { (nothing(files, &active)) } @else {
            table.cards {
                caption.visually-hidden { "Files" }
                thead { tr { th scope="col" { "File" } th scope="col" { "State" } th scope="col" { "Date" } th.num scope="col" { "Size" } th scope="col" { "Manifest" } th scope="col" { "Arrived" } th scope="col" { "Changed" } } }
                tbody data-rows="yes" { @for file in files.items { (row(file, files.now)) } }
            }
            (pager::pager("/ui/files", &parameters, files.next, files.items.len(), "file"))
        }
    }
}

fn tabs(files: &Files<'_>) -> Markup {
    // Exception for refused files: the counts are by date and omit files without one, so they would be too low.
    let count = |of: FileState| {
        let counted = |count: &&FilesInState| count.state == of && of != FileState::Quarantined;
        files.stats.files.iter().find(counted).map_or(0, |count| count.files)
    };
    let to = |state: Option<FileState>| {
        link::query(
            "/ui/files",
            &[("state", state.map(FileState::as_str)), ("date", files.date.as_deref()), ("prefix", files.prefix)],
        )
    };
    html! {
        nav.tabs aria-label="Files by state" {
            a href=(to(None)) data-tab="yes" aria-current=[files.state.is_empty().then_some("true")] { "all" }
            @for state in FileState::ALL {
                a href=(to(Some(state))) data-tab="yes" aria-current=[(files.state.words() == [state]).then_some("true")] {
                    (state.as_str()) @if files.stats.files_counted_at.is_some() && count(state) > 0 { " " span.count.num { (crate::format::count(count(state))) } }
                }
            }
        }
    }
}

/// Name of the state, if exactly one is selected.
fn one(states: &AnyOf<FileState>) -> Option<&'static str> {
    match states.words() {
        [state] => Some(state.as_str()),
        _ => None,
    }
}

fn nothing(files: &Files<'_>, active: &[(&str, &str)]) -> Markup {
    match (active, one(files.state)) {
        ([], Some(state)) if files.next.is_none() => html! {
            div.empty { p.title { "No file is " (state) } p { a href="/ui/files" { "All files" } } }
        },
        ([], _) => states::empty(
            "No file yet",
            "Files are known from events, from listings, and from manifests that are submitted. To submit one:",
            Some("millwork submit manifest.json"),
        ),
        _ => {
            html! { div.empty { p.title { "No file matches" } p { "Take one of the filters above away." } } @if files.next.is_some() { (pager::pager("/ui/files", &files.parameters(), files.next, 0, "file")) } }
        }
    }
}

/// Row of a file.
pub(super) fn row(file: &File, now: DateTime<Utc>) -> Markup {
    html! {
        tr id=(format!("file-{}", file.uri)) data-id=(file.uri) {
            td.main data-label="File" { (link::file(&file.uri)) @if let Some(reason) = &file.reason { div.why { (text::begun(reason)) } } }
            td data-label="State" { (state::of_file(file.state)) @if file.overwritten_etag.is_some() { " " span.tag title="newer content was seen" { "overwritten" } } }
            td data-label="Date" { @match &file.date { Some(date) => (link::date(&date.to_string())), None => span.muted { "none" } } }
            td.num data-label="Size" { (link::size(file.size_bytes)) }
            td.wide data-label="Manifest" { @match &file.manifest_id { Some(id) => (link::run(id)), None => (link::none()) } }
            td data-label="Arrived" { (time::ago(file.arrived_at, now)) }
            td data-label="Changed" { (time::ago(file.updated_at, now)) }
        }
    }
}
