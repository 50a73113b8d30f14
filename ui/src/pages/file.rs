//! Page of one file: diagnosis, state and timeline.

use super::preview;
use crate::format;
use crate::parts::{copy, facts, link, state, states, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{File, FileDetail, FileMoment};
use millwork_manifest::{FileState, ManifestId};

/// Numbers of entries shown from the beginning and the end of a timeline.
const SHOWN: (usize, usize) = (20, 50);

/// Content of the page.
pub struct FilePage<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// URI in the request.
    pub uri: &'a str,
    /// File with its timeline; none if unknown.
    pub file: Option<&'a FileDetail>,
    /// Diagnosis of an unconverted file.
    pub why: Option<Markup>,
}

/// Renders the page.
pub fn page(page: &FilePage<'_>) -> Markup {
    let (place, name) = link::split(page.uri);
    html! {
        div.head {
            p.kicker { @match page.file { Some(file) => (state::of_file(file.file.state)), None => (state::state(state::Sign::Empty, "not known", "s-idle")) } span.muted { " file" } }
            div.titled { h1.id { (text::shown(name)) } (copy::button(page.uri, "the file's address")) }
            p.place { (text::shown(place)) }
        }
        @if let Some(why) = &page.why { (why) }
        @match page.file {
            Some(file) => (known(page, file)),
            None if page.why.is_none() => (states::empty("No such file is known", "Neither an event nor a listing has told of it. Check the address; a file is known a few seconds after its event.", None)),
            None => {},
        }
    }
}

fn known(page: &FilePage<'_>, detail: &FileDetail) -> Markup {
    let file = &detail.file;
    html! {
        (steps(detail, page.now))
        @if let Some(reason) = file.reason.as_ref().filter(|_| page.why.is_none()) {
            div.banner.(if file.state == FileState::Failed { "bad" } else { "warn" }) { strong { (file.state.as_str()) ": " } (text::shown(reason)) }
        }
        @if let Some(etag) = &file.overwritten_etag {
            div.banner.warn { "Newer content was seen, with the entity tag " code { (text::shown(etag)) } ": the rows in the output are of the content from before." }
        }
        (properties(file, page.now))
        @if matches!(file.state, FileState::Quarantined | FileState::Failed) { p.after { a.button href=(preview::path(&file.uri, 0)) { "Look inside" } } }
        (facts::panel("story", "Story", None, &story(&detail.timeline, page.now)))
    }
}

/// Size, date, times and tags of a file.
fn properties(file: &File, now: DateTime<Utc>) -> Markup {
    let none = link::none;
    let mut items = vec![
        (
            "date",
            match &file.date {
                Some(date) => link::date(&date.to_string()),
                None => none(),
            },
        ),
        ("size", link::size(file.size_bytes)),
        (
            "run",
            match &file.manifest_id {
                Some(id) => link::run(id),
                None => none(),
            },
        ),
        ("arrived", time::moment_and_ago(file.arrived_at, now)),
        ("changed", time::moment_and_ago(file.updated_at, now)),
        ("entity tag", html! { code { (text::shown(&file.etag)) } }),
    ];
    if let Some(version) = &file.version_id {
        items.push(("version", html! { code { (text::shown(version)) } }));
    }
    if let Some(to) = &file.quarantine_uri {
        items.push(("moved to", html! { (text::shown(to)) (copy::button(to, "where it was moved to")) }));
    }
    facts::facts(&items)
}

/// States that a file passes through, each with the time at which the file last reached it.
fn steps(detail: &FileDetail, now: DateTime<Utc>) -> Markup {
    let way = [FileState::Pending, FileState::Manifested, FileState::Processing, FileState::Completed];
    let last = |of: FileState| detail.timeline.iter().rev().find(|moment| moment.state == of);
    let reached = way.iter().position(|of| *of == detail.file.state);
    let is_shown = |of: &FileState| reached.is_some() || last(*of).is_some();
    html! {
        ol.way aria-label="The file's way" {
            @for (index, of) in way.into_iter().enumerate().filter(|(_, of)| is_shown(of)) {
                @let is_past = reached.is_none_or(|reached| index <= reached);
                @let (sign, class) = state::file_sign(of);
                li.(if is_past { class } else { "ahead" }) aria-current=[(reached == Some(index)).then_some("step")] {
                    (state::sign(if is_past { sign } else { state::Sign::Empty }))
                    span.what { (of.as_str()) }
                    @match last(of).filter(|_| is_past) { Some(moment) => span.at { (time::moment_short(moment.at, now)) }, None => span.at.muted { "–" } }
                }
            }
            @if reached.is_none() { @let (sign, class) = state::file_sign(detail.file.state); li.(class) aria-current="step" { (state::sign(sign)) span.what { (detail.file.state.as_str()) } span.at { (time::moment_short(detail.file.updated_at, now)) } } }
        }
    }
}

/// Detail of a timeline entry: a link to the run for files in a manifest, otherwise text.
fn said(moment: &FileMoment) -> Markup {
    let is_in_manifest = matches!(moment.state, FileState::Manifested | FileState::Processing | FileState::Completed);
    match moment.detail.as_deref() {
        Some(detail) if is_in_manifest && detail.parse::<ManifestId>().is_ok() => link::run(detail),
        Some(detail) => text::brief(detail),
        None => link::none(),
    }
}

fn story(timeline: &[FileMoment], now: DateTime<Utc>) -> Markup {
    let hidden = timeline.len().saturating_sub(SHOWN.0 + SHOWN.1);
    html! {
        table.cards {
            caption.visually-hidden { "Story" }
            thead { tr { th scope="col" { "When" } th.num scope="col" { "After" } th scope="col" { "State" } th scope="col" { "What" } } }
            tbody {
                @for (index, moment) in timeline.iter().enumerate().filter(|(index, _)| hidden == 0 || *index < SHOWN.0 || *index >= timeline.len() - SHOWN.1) {
                    @if hidden > 0 && index == timeline.len() - SHOWN.1 { tr { td colspan="4" { (format::counted(hidden as u64, "entry")) " between are not shown" } } }
                    tr {
                        td data-label="When" { (time::moment_short(moment.at, now)) }
                        td.num data-label="After" { @if let Some(before) = index.checked_sub(1).and_then(|before| timeline.get(before)) { (format::between(before.at, moment.at)) } @else { (link::none()) } }
                        td data-label="State" { (state::of_file(moment.state)) }
                        td.wide data-label="What" { (said(moment)) }
                    }
                }
            }
        }
    }
}
