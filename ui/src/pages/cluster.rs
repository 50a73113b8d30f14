//! Cluster: the processes and what they do.

use crate::charts::meter;
use crate::format;
use crate::parts::{facts, link, state, states, time};
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use millwork_api::{Executors, Stats};

/// Content of the page.
pub struct Cluster<'a> {
    /// The time of the page.
    pub now: DateTime<Utc>,
    /// Numbers.
    pub stats: &'a Stats,
    /// Executors.
    pub executors: &'a Executors,
}

/// The page.
pub fn page(page: &Cluster<'_>) -> Markup {
    html! {
        div.head { h1 { "Cluster" } p.muted { "Who runs the manifests, and with what." } }
        (facts::panel("scheduler", "This scheduler", None, &scheduler(page)))
        (facts::panel("executors", &format!("Executors ({})", page.executors.items.len()), None, &executors(page)))
    }
}

fn scheduler(page: &Cluster<'_>) -> Markup {
    let up = TimeDelta::seconds(i64::try_from(page.stats.uptime_seconds).unwrap_or(0));
    facts::facts(&[
        (
            "role",
            if page.stats.leads {
                state::state(state::Sign::Half, "leader", "s-done")
            } else {
                state::state(state::Sign::Empty, "stands by", "s-idle")
            },
        ),
        ("up for", html! { (format::duration(format::seconds(up))) }),
        ("since", time::moment_short(page.now - up, page.now)),
        ("version", html! { (page.stats.version) }),
        (
            "rate",
            html! { @match page.stats.bytes_per_second { Some(rate) => (format::rate(rate)), None => span.muted { "not measured yet" } } },
        ),
    ])
}

fn executors(page: &Cluster<'_>) -> Markup {
    if !page.executors.leads {
        return states::standby("Who is connected");
    }
    if page.executors.items.is_empty() {
        return states::empty(
            "No executor is connected",
            "Runs wait until one is. Start one, with this scheduler's address for executors:",
            Some("millwork-executor --scheduler HOST:PORT"),
        );
    }
    html! {
        table.cards {
            caption.visually-hidden { "Executors" }
            thead { tr { th scope="col" { "Executor" } th scope="col" { "Slots" } th scope="col" { "Memory" } th.num scope="col" { "Rate" } th scope="col" { "Works on" } th scope="col" { "Seen" } th scope="col" { "Version" } } }
            tbody {
                @for executor in &page.executors.items {
                    tr data-id=(text::plain(&executor.id)) {
                        td.main data-label="Executor" { span.id { (text::shown(&executor.id)) } div.why { (text::shown(&executor.machine)) " " (text::shown(&executor.host)) } }
                        td data-label="Slots" {
                            span.slots { (meter::share(executor.tasks as f64, f64::from(executor.vcores), "work", &format!("{} of {} slots in use", executor.tasks, executor.vcores), "slots")) span.num { (executor.tasks) "/" (executor.vcores) } }
                        }
                        td data-label="Memory" { @match executor.memory_bytes { Some(bytes) => { (format::bytes(bytes)) @if let Some(limit) = executor.memory_limit_bytes { span.muted { " of " (format::bytes(limit)) } } }, None => span.muted { "–" } } }
                        td.num data-label="Rate" { (format::rate(executor.bytes_per_second)) }
                        td data-label="Works on" {
                            @if let Some(since) = executor.draining_since { span.s-warn { "drains since " (time::moment_short(since, page.now)) } " " }
                            @for run in executor.runs.iter().take(3) { div { (link::run(run)) } }
                            @if executor.runs.len() > 3 { div.muted { (executor.runs.len() - 3) " more" } }
                            @if executor.runs.is_empty() && executor.draining_since.is_none() { span.muted { "nothing" } }
                        }
                        td data-label="Seen" { (time::ago(executor.last_seen, page.now)) @if executor.failed_tasks > 0 { div.s-warn { (format::counted(executor.failed_tasks, "task")) " failed" } } }
                        td data-label="Version" { (text::shown(&executor.version)) }
                    }
                }
            }
        }
    }
}
