//! Activity page: audit log of changes, with authors and reasons.

use crate::format;
use crate::parts::{filters, link, pager, time};
use crate::text;
use chrono::{DateTime, Days, NaiveDate, Utc};
use maud::{Markup, html};
use millwork_api::AuditEntry;

/// Limit of the subjects of an entry that are shown by name; of more, the number is shown.
const SUBJECTS: usize = 3;

/// Content of the page.
pub struct Activity<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Day shown.
    pub day: NaiveDate,
    /// Run or file to which entries are limited.
    pub subject: Option<&'a str>,
    /// Cursor at which this page begins.
    pub cursor: Option<&'a str>,
    /// Entries, newest first.
    pub items: &'a [AuditEntry],
    /// Cursor at which the next page begins.
    pub next: Option<&'a str>,
}

/// Renders the page.
pub fn page(page: &Activity<'_>) -> Markup {
    let day = page.day.to_string();
    let parameters = [("day", Some(day.as_str())), ("subject", page.subject), ("cursor", page.cursor)];
    let active: Vec<(&str, &str)> = page.subject.map(|subject| ("subject", subject)).into_iter().collect();
    let fields = html! {
        (filters::date("day", "Day (UTC)", Some(&day)))
        (filters::text("subject", "Run or file", page.subject, "id or address"))
    };
    html! {
        div.head.split {
            div { h1 { "Activity" } p.muted { "What people and services changed on " (day) ", newest first." } }
            (days(page))
        }
        (filters::form("/ui/activity", &fields, &active, &parameters))
        @if page.items.is_empty() {
            div.empty { p.title { "No one has changed anything on this day" } p { "Retries, cancellations, priorities and the like are noted here, with who asked and why." } }
        } @else {
            table.cards {
                caption.visually-hidden { "Changes" }
                thead { tr { th scope="col" { "When" } th scope="col" { "Who" } th scope="col" { "What" } th scope="col" { "Of" } th scope="col" { "Result" } } }
                tbody { @for entry in page.items { (row(entry, page.now)) } }
            }
            (pager::pager("/ui/activity", &parameters, page.next, page.items.len(), "entry"))
        }
    }
}

/// Links to the day before and to the day after.
fn days(page: &Activity<'_>) -> Markup {
    let to =
        |day: NaiveDate| link::query("/ui/activity", &[("day", Some(&day.to_string())), ("subject", page.subject)]);
    let (before, after) = (page.day.checked_sub_days(Days::new(1)), page.day.checked_add_days(Days::new(1)));
    html! {
        nav.actions aria-label="Days" {
            @if let Some(before) = before { a.button href=(to(before)) { "← " (before) } }
            @if let Some(after) = after.filter(|after| *after <= page.now.date_naive()) { a.button href=(to(after)) { (after) " →" } }
        }
    }
}

fn row(entry: &AuditEntry, now: DateTime<Utc>) -> Markup {
    let more = entry.subjects.len().saturating_sub(SUBJECTS);
    html! {
        tr data-id=(text::plain(&entry.id)) {
            td data-label="When" { (time::moment_short(entry.at, now)) }
            td data-label="Who" { (text::shown(&entry.actor)) " " span.tag { (entry.via) } }
            td.wide data-label="What" {
                strong { (text::shown(&entry.action)) }
                @if let (Some(before), Some(after)) = (&entry.before, &entry.after) { span.muted { " " (text::shown(before)) " → " (text::shown(after)) } }
                @if let Some(reason) = &entry.reason { div.why { "“" (text::shown(reason)) "”" } }
            }
            td.main data-label="Of" {
                @for subject in entry.subjects.iter().take(SUBJECTS) { div { (subject_link(subject)) } }
                @if more > 0 { div.muted { (format::count(more as u64)) " more" } }
            }
            td.wide data-label="Result" {
                @match &entry.outcome { Some(outcome) => (text::shown(outcome)), None => span.muted { "goes on, or broke off" } }
                @if let Some(plan) = &entry.plan { div { a href=(format!("/ui/plans/{}", link::escaped(plan))) { "plan " (text::shown(plan)) } } }
            }
        }
    }
}

/// Link to the page of a subject: a file, a date or a run.
fn subject_link(subject: &str) -> Markup {
    if subject.contains("://") || subject.starts_with('/') {
        link::file(subject)
    } else if subject.parse::<NaiveDate>().is_ok() {
        link::date(subject)
    } else if subject.contains('/') {
        // Dead letter, given by its queue and message id: it has no page.
        html! { span.id { (text::shown(subject)) } }
    } else {
        link::run(subject)
    }
}
