//! Quarantine: files that were refused on arrival.

use crate::charts::meter;
use crate::format;
use crate::parts::{filters, link, pager, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::File;

/// Content of the page.
pub struct Quarantine<'a> {
    /// The time of the page.
    pub now: DateTime<Utc>,
    /// The chosen date.
    pub date: Option<String>,
    /// Cursor at which this page begins.
    pub cursor: Option<String>,
    /// The files.
    pub items: &'a [File],
    /// Cursor at which the next page begins.
    pub next: Option<&'a str>,
    /// Files refused in all, if they were counted.
    pub all: Option<u64>,
}

impl Quarantine<'_> {
    fn parameters(&self) -> [(&'static str, Option<&str>); 2] {
        [("date", self.date.as_deref()), ("cursor", self.cursor.as_deref())]
    }
}

/// The page.
pub fn page(page: &Quarantine<'_>) -> Markup {
    let parameters = page.parameters();
    let active: Vec<(&str, &str)> = page.date.as_deref().map(|date| ("date", date)).into_iter().collect();
    html! {
        div.head {
            h1 { "Quarantine" }
            p.muted { "Files that were refused on arrival. " @if let Some(all) = page.all { (format::counted(all, "file")) " in all. " } "Nothing of them is in any output." }
        }
        (filters::form("/ui/quarantine", &filters::date("date", "Date", page.date.as_deref()), &active, &parameters))
        @if page.items.is_empty() {
            div.empty.good { p.title { (state::sign(state::Sign::Tick)) " Nothing is refused" } p { @if active.is_empty() { "Every file that arrived had a date, a known extension and a size that is taken." } @else { "No file of this date was refused." } } }
        } @else {
            (reasons(page.items))
            table.cards {
                caption.visually-hidden { "Refused files" }
                thead { tr { th scope="col" { "File" } th scope="col" { "Reason" } th.num scope="col" { "Size" } th scope="col" { "Date" } th scope="col" { "Refused" } } }
                tbody {
                    @for file in page.items {
                        tr id=(format!("file-{}", file.uri)) data-href=(link::file_path(&file.uri)) data-id=(file.uri) {
                            td.main data-label="File" { (link::file(&file.uri)) @if let Some(to) = &file.quarantine_uri { div.why { "moved to " (text::shown(to)) } } }
                            td data-label="Reason" { span.tag { (text::shown(file.reason.as_deref().unwrap_or("–"))) } }
                            td.num data-label="Size" { (link::size(file.size_bytes)) }
                            td data-label="Date" { @match &file.date { Some(date) => (link::date(&date.to_string())), None => span.muted { "none" } } }
                            td data-label="Refused" { (time::moment_and_ago(file.updated_at, page.now)) }
                        }
                    }
                }
            }
            (pager::pager("/ui/quarantine", &parameters, page.next, page.items.len(), "file"))
        }
    }
}

/// Reasons of the files of this page, the most frequent first.
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
