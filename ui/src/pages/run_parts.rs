//! Tabs of a run's page.

use super::run_page::{Part, RunPage, Tab};
use crate::charts::plan;
use crate::format;
use crate::parts::{copy, facts, link, pager, state, states};
use crate::text;
use maud::{Markup, html};
use millwork_api::{LedgerEntry, LedgerTotals, Page, RunFile};

/// Renders the selected tab.
pub(super) fn part(page: &RunPage<'_>) -> Markup {
    match (page.tab, &page.part) {
        (Tab::Files, Part::Files { files, ledger, cursor }) => self::files(page, files, ledger, cursor.as_deref()),
        (Tab::Rejected, Part::Rejected(lines)) => html! { (lines) },
        (Tab::Rejected, _) => rejected(page),
        (Tab::Tasks, _) => super::run_tasks::page(page.run, page.now),
        (Tab::Plan, _) => plan(page),
        (Tab::Output, _) => output(page),
        _ => html! {},
    }
}

fn files(page: &RunPage<'_>, files: &Page<RunFile>, ledger: &[LedgerEntry], cursor: Option<&str>) -> Markup {
    let path = Tab::Files.path(page.run.run.manifest_id.as_str());
    let of = |uri: &str| ledger.iter().find(|entry| entry.uri == uri);
    html! {
        table.cards {
            caption.visually-hidden { "Files of the run" }
            thead { tr {
                th scope="col" { "File" } th scope="col" { "State" } th.num scope="col" { "Size" }
                th.num scope="col" { "Lines" } th.num scope="col" { "Rows" } th.num scope="col" { "Rejected" } th.num scope="col" { "Blank" }
            } }
            tbody {
                @for file in &files.items { (file_row(file, of(&file.uri))) }
            }
            @if let Some(result) = &page.run.result { tfoot { (all_files(&result.ledger, result.input_bytes)) } }
        }
        (pager::pager(&path, &[("cursor", cursor)], files.next_cursor.as_deref(), files.items.len(), "file"))
    }
}

fn file_row(file: &RunFile, entry: Option<&LedgerEntry>) -> Markup {
    html! {
        tr data-id=(file.uri) {
            td.main data-label="File" { (link::file(&file.uri)) @if let Some(reason) = file.reason.as_ref().or(entry.and_then(|entry| entry.without_rows.as_ref())) { div.why { (text::brief(reason)) } } }
            td data-label="State" { @match file.state { Some(state) => (state::of_file(state)), None => span.muted { "forgotten" } } }
            td.num data-label="Size" { @match file.size_bytes { Some(bytes) => (link::size(bytes)), None => span.muted { "unknown" } } }
            @match entry {
                Some(entry) => {
                    td.num data-label="Lines" { (link::count(entry.lines)) } td.num data-label="Rows" { (link::count(entry.rows)) }
                    td.num.s-bad[entry.rejected > 0] data-label="Rejected" { (link::count(entry.rejected)) } td.num data-label="Blank" { (link::count(entry.blank)) }
                },
                None => { @for label in ["Lines", "Rows", "Rejected", "Blank"] { td.num data-label=(label) { (link::none()) } } },
            }
        }
    }
}

fn all_files(total: &LedgerTotals, input_bytes: u64) -> Markup {
    html! {
        tr {
            th scope="row" { "All " (format::counted(total.files, "file")) } td {} td.num data-label="Size" { (link::size(input_bytes)) }
            td.num data-label="Lines" { (link::count(total.lines)) } td.num data-label="Rows" { (link::count(total.rows)) }
            td.num data-label="Rejected" { (link::count(total.rejected)) } td.num data-label="Blank" { (link::count(total.blank)) }
        }
    }
}

fn rejected(page: &RunPage<'_>) -> Markup {
    match &page.run.result {
        None => states::empty("Not known yet", "Rejected lines are told when the run is committed.", None),
        Some(result) if result.rejected == 0 => {
            html! { div.empty.good { p.title { (state::sign(state::Sign::Tick)) " No line was rejected" } p { "All " (format::count(result.ledger.lines)) " lines became rows, but for blank ones." } } }
        }
        Some(result) => html! {
            p { (format::counted(result.rejected, "line")) " rejected." }
            @if let Some(place) = &result.rejected_lines { p { "They are in " code { (text::shown(place)) } (copy::button(place, "the address")) } }
        },
    }
}

fn plan(page: &RunPage<'_>) -> Markup {
    let committed = page.run.result.as_ref().map(|result| result.plan.as_str());
    let running =
        page.run.progress.iter().flat_map(|progress| &progress.stages).map(|stage| stage.plan.as_str()).next();
    match committed.or(running).filter(|plan| !plan.trim().is_empty()) {
        None => states::empty("No plan yet", "The plan is known from when an attempt converts.", None),
        Some(text) => html! {
            (facts::panel("tree", "Physical plan", Some(html! { span.muted { "data flows upwards" } }), &plan::tree(text)))
            details.panel { summary { "As text" } (copy::block(text, "the plan")) }
        },
    }
}

fn output(page: &RunPage<'_>) -> Markup {
    let Some(result) = &page.run.result else {
        return states::empty("No output yet", "Files appear here when the run is committed: all, or none.", None);
    };
    let uris: Vec<String> = result.outputs.iter().map(|file| format!("'{}'", file.uri.replace('\'', "''"))).collect();
    let query = match uris.len() {
        0..=3 => format!("SELECT count(*) FROM read_parquet([{}]);", uris.join(", ")),
        _ => format!("SELECT count(*) FROM read_parquet([\n  {}\n]);", uris.join(",\n  ")),
    };
    html! {
        table.cards {
            caption.visually-hidden { "Output files" }
            thead { tr { th scope="col" { "File" } th.num scope="col" { "Rows" } th.num scope="col" { "Size" } th scope="col" { "Written by" } } }
            tbody {
                @for file in &result.outputs {
                    tr data-id=(file.uri) {
                        td.main data-label="File" { @let (place, name) = link::split(&file.uri); span.uri { span.name { (text::shown(name)) } span.place { (text::shown(place)) } } (copy::button(&file.uri, "the file's address")) }
                        td.num data-label="Rows" { (link::count(file.rows)) }
                        td.num data-label="Size" { (link::size(file.bytes)) }
                        td data-label="Written by" { (text::shown(&file.executor)) }
                    }
                }
            }
        }
        (facts::panel("query", "Query them", Some(html! { span.muted { "DuckDB" } }), &copy::block(&query, "the query")))
    }
}
