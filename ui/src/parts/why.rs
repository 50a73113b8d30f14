//! Box with a diagnosis: cause, next step and safe actions.

use crate::parts::{copy, link, time};
use crate::text;
use crate::viewer::{Right, Viewer};
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_diagnosis::{ActionKind, Code, Diagnosis, SafeAction, Standing, Subject};

/// CSS class of a diagnosis. Unknown causes are not shown as good.
fn tone(diagnosis: &Diagnosis) -> &'static str {
    match diagnosis.standing {
        Standing::Settled if diagnosis.code == Code::Foreign => "plain",
        Standing::Settled => "good",
        Standing::Moves => "plain",
        // A refused file waits for a decision where it is: nothing is broken.
        Standing::NeedsYou if diagnosis.code == Code::Refused => "warn",
        Standing::NeedsYou => "bad",
    }
}

/// The sentence as the page of its subject has it, which names that above.
fn sentence(diagnosis: &Diagnosis) -> Markup {
    let own = match &diagnosis.subject {
        Subject::Run(id) => diagnosis.sentence.strip_prefix(&format!("run `{id}` ")),
        _ => None,
    };
    own.map_or_else(|| text::brief_sentence(&diagnosis.sentence), |rest| text::brief_sentence(&format!("it {rest}")))
}

/// Renders the box of a diagnosis.
pub fn why(diagnosis: &Diagnosis, title: &str, viewer: &Viewer, back: &str, now: DateTime<Utc>) -> Markup {
    html! {
        section.banner.why-box.(tone(diagnosis)) aria-labelledby="why" {
            h2 id="why" { (title) }
            p.sentence { (sentence(diagnosis)) }
            dl.answers {
                @if let Some(since) = diagnosis.since { div { dt { "Since" } dd { (time::moment_and_ago(since, now)) } } }
                div {
                    dt { "Next" }
                    dd {
                        (text::prose(&diagnosis.next.what))
                        @if let Some(at) = diagnosis.next.at { " · about " (time::moment_short(at, now)) }
                    }
                }
                @if diagnosis.standing != Standing::Settled { div { dt { "By itself" } dd { @if diagnosis.next.by_itself { "yes" } @else { "no" } } } }
                @if let Some(action) = &diagnosis.action { div.can { dt { "You can" } dd { (self::action(action, diagnosis, viewer, back)) } } }
            }
            @if !diagnosis.evidence.is_empty() {
                details { summary { "Evidence (" (diagnosis.evidence.len()) ")" }
                    dl.keys { @for evidence in &diagnosis.evidence { div { dt { (text::shown(&evidence.what)) } dd { (text::prose(&evidence.found)) } } } }
                }
            }
            p.muted { "cause " span.tag { (diagnosis.code.as_str()) } " · " code { (text::shown(&diagnosis.runbook)) } }
        }
    }
}

/// The list from which an action on many begins: the failed runs of a date.
fn list(action: &SafeAction, diagnosis: &Diagnosis) -> Option<String> {
    match (action.kind, &diagnosis.subject) {
        (ActionKind::Retry, Subject::Date(date)) => {
            Some(link::query("/ui/runs", &[("state", Some("failed")), ("date", Some(date.as_str()))]))
        }
        _ => None,
    }
}

/// Safe action: always as a command, and as a button if a change plan supports it.
fn action(action: &SafeAction, diagnosis: &Diagnosis, viewer: &Viewer, back: &str) -> Markup {
    let planned = match (action.kind, &diagnosis.subject) {
        (ActionKind::Retry, Subject::Run(id)) => Some(("retry", "run", id)),
        (ActionKind::Force, Subject::Run(id)) => Some(("force", "run", id)),
        (ActionKind::RaisePriority, Subject::Run(id)) => Some(("prioritise", "run", id)),
        (ActionKind::Redrive, Subject::File(uri)) => Some(("redrive", "file", uri)),
        // A file that is to blame is pending again, as one that was refused.
        (ActionKind::Reset, Subject::File(uri)) if diagnosis.code == Code::AtFault => Some(("redrive", "file", uri)),
        (ActionKind::CutNow, Subject::Date(date)) => Some(("cut", "date", date)),
        // Sweeps only if a builder is running: none would carry out the request otherwise.
        (ActionKind::SweepNow, Subject::Date(date)) if diagnosis.next.by_itself => Some(("sweep", "date", date)),
        _ => None,
    };
    html! {
        @if let Some((word, field, name)) = planned.filter(|_| viewer.right >= Right::Operate) {
            form.actions method="post" action="/ui/plans" {
                input type="hidden" name="back" value=(back);
                input type="hidden" name=(field) value=(name);
                button type="submit" name="action" value=(word) { span { (text::prose(&action.label)) "…" } }
            }
        } @else if let Some(list) = list(action, diagnosis) {
            a.button href=(list) { (text::prose(&action.label)) }
        } @else { strong { (text::prose(&action.label)) } }
        (copy::command(&text::plain(&action.command)))
    }
}
