//! Queues page: event queues and their dead letters.

use crate::frame::Viewer;
use crate::parts::{actions, facts, link, state, time};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{DeadLetter, DeadLetters, EventQueue, QueueInfo};

/// Content of the page.
pub struct QueuesPage<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// User that the page is rendered for.
    pub viewer: &'a Viewer,
    /// Queues of the most recently seen builder, with their message counts.
    pub queues: &'a [QueueInfo],
    /// Dead letters of one queue.
    pub letters: &'a DeadLetters,
    /// True if there may be more dead letters than shown.
    pub is_full: bool,
    /// Address of this page, as the return address.
    pub back: &'a str,
}

/// Renders the page.
pub fn page(page: &QueuesPage<'_>) -> Markup {
    let queue = page.letters.queue;
    html! {
        div.head { p.kicker { a href="/ui/cluster" { "Cluster" } } h1 { "Queues" } p.muted { "Messages that wait, and those that nobody could process." } }
        (facts::panel("queues", "Messages", None, &queues(page)))
        nav.tabs aria-label="Dead letters" {
            @for known in [EventQueue::Files, EventQueue::Manifests] {
                a href=(link::query("/ui/cluster/queues", &[("queue", Some(known.as_str()))])) aria-current=[(known == queue).then_some("page")] { "of " (known.as_str()) }
            }
        }
        (facts::panel("letters", &format!("Dead letters of {}", queue.as_str()), None, &letters(page)))
    }
}

fn queues(page: &QueuesPage<'_>) -> Markup {
    if page.queues.is_empty() {
        return html! { p.muted { "No builder that reads a queue has shown itself." } };
    }
    html! {
        table.cards {
            caption.visually-hidden { "Queues" }
            thead { tr { th scope="col" { "Queue" } th.num scope="col" { "Waiting" } th.num scope="col" { "In work" } th scope="col" { "Address" } } }
            tbody { @for queue in page.queues {
                tr {
                    td.main data-label="Queue" { (queue.kind.to_string()) }
                    td.num data-label="Waiting" { @match queue.waiting { Some(number) => (link::count(number)), None => span.muted { "–" } } }
                    td.num data-label="In work" { @match queue.in_work { Some(number) => (link::count(number)), None => span.muted { "–" } } }
                    td data-label="Address" { span.id { (text::shown(&queue.url)) } @if let Some(error) = &queue.error { div.why { (text::prose(error)) } } }
                }
            } }
        }
    }
}

fn letters(page: &QueuesPage<'_>) -> Markup {
    if let Some(error) = &page.letters.error {
        return html! { p.muted { "They cannot be looked at: " (text::prose(error)) } };
    }
    if page.letters.items.is_empty() {
        return html! { div.empty.good { p.title { (state::sign(state::Sign::Tick)) " No message is among the dead letters" } p { "One that somebody else looks at just now is hidden for ten seconds." } } };
    }
    html! {
        p.muted { "Mend the cause first: a message that is put back is tried anew, and comes back here if nothing has changed." }
        form.list method="post" action="/ui/plans" {
            input type="hidden" name="back" value=(page.back);
            input type="hidden" name="where-queue" value=(page.letters.queue.as_str());
            table.cards {
                caption.visually-hidden { "Dead letters" }
                thead { tr {
                    th.tick scope="col" { input type="checkbox" data-act="all" aria-label="choose all messages of this page"; }
                    th scope="col" { "Message" } th scope="col" { "Reason" } th scope="col" { "About" } th scope="col" { "Since" }
                } }
                tbody { @for letter in &page.letters.items { (row(letter, page.now)) } }
            }
            (actions::of_letters(page.viewer, page.is_full))
        }
    }
}

fn row(letter: &DeadLetter, now: DateTime<Utc>) -> Markup {
    html! {
        tr data-id=(text::plain(&letter.subject)) {
            td.tick { input type="checkbox" name="message" data-pick="yes" value=(letter.subject) aria-label=(format!("choose {}", text::plain(&letter.subject))); }
            td.main data-label="Message" { span.id { (text::shown(&letter.subject)) } }
            td data-label="Reason" { span.tag { (text::shown(&letter.reason)) } @if !letter.detail.is_empty() { div.why { (text::prose(&letter.detail)) } } }
            td data-label="About" {
                @match letter.objects.first() { Some(uri) => (link::file(uri)), None => span.muted { "–" } }
                @if letter.objects.len() > 1 { span.muted { " and " (letter.objects.len() - 1) " more" } }
            }
            td data-label="Since" { @match letter.at { Some(at) => (time::moment_and_ago(at, now)), None => span.muted { "–" } } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Right;

    #[test]
    fn letters_are_put_back_by_those_who_may() {
        let letter = DeadLetter {
            subject: "files/4a1c".to_owned(),
            at: None,
            reason: "bad-record".to_owned(),
            detail: "<b>no entity tag</b>".to_owned(),
            objects: vec!["s3://in/2025-12-23-a.ndjson".to_owned()],
        };
        let letters = DeadLetters { queue: EventQueue::Files, items: vec![letter], error: None };
        let shown = |right| {
            let viewer = Viewer { name: "ana".to_owned(), right };
            let now = "2025-12-23T14:00:00Z".parse().unwrap();
            let back = "/ui/cluster/queues";
            page(&QueuesPage { now, viewer: &viewer, queues: &[], letters: &letters, is_full: false, back }).0
        };
        let operator = shown(Right::Operate);
        assert!(operator.contains("value=\"files/4a1c\"") && operator.contains("redrive-dead-letters"), "{operator}");
        assert!(operator.contains("&lt;b&gt;no entity tag"), "{operator}");
        assert!(!shown(Right::Read).contains("value=\"redrive-dead-letters\""));
    }
}
