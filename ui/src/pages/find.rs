//! Search page: runs and files that match a text.

use crate::parts::{facts, link, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{File, Run};

/// Content of the page.
pub struct Found<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Text to search for.
    pub text: &'a str,
    /// Matching runs.
    pub runs: &'a [Run],
    /// Matching files.
    pub files: &'a [File],
    /// Limit of runs and of files shown.
    pub shown: usize,
}

/// Renders the page.
pub fn page(found: &Found<'_>) -> Markup {
    html! {
        div.head { h1 { "Find" } p.muted { "What " code { (text::begun(found.text)) } " could mean." } }
        @if found.runs.is_empty() && found.files.is_empty() { (nothing()) }
        @if !found.runs.is_empty() { (facts::panel("runs", "Runs", more(found.runs.len(), found), &runs(found))) }
        @if !found.files.is_empty() { (facts::panel("files", "Files", more(found.files.len(), found), &files(found))) }
    }
}

fn nothing() -> Markup {
    html! {
        div.empty {
            p.title { "Nothing is called so" }
            p { "A run is found by the beginning of its id, a date as 2025-12-23, an executor by its id, a file by its address (s3://bucket/key), by the beginning of its name, or by any part of it that has the date in it. Of a date with very many files, the first 5,000 are searched." }
            p { a href="/ui/files" { "Look through the files" } " · " a href="/ui/runs" { "look through the runs" } }
        }
    }
}

fn more(number: usize, found: &Found<'_>) -> Option<Markup> {
    (number >= found.shown).then(|| html! { span.muted { "the first " (number) "; type more of the name" } })
}

fn runs(found: &Found<'_>) -> Markup {
    html! { ul.rows { @for run in found.runs { li { (state::of_run(run, found.now)) (link::run(run.manifest_id.as_str())) span.push {} span.muted { (time::ago(run.updated_at, found.now)) } } } } }
}

fn files(found: &Found<'_>) -> Markup {
    html! { ul.rows { @for file in found.files { li { (state::of_file(file.state)) (link::file(&file.uri)) span.push {} span.muted { (time::ago(file.updated_at, found.now)) } } } } }
}
