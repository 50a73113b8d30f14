//! Cluster page: processes with their state.

use crate::charts::meter;
use crate::format;
use crate::parts::{facts, link, state, states, time};
use crate::text;
use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};
use millwork_api::{BuilderInfo, Executor, Executors, Held, LockInfo, SchedulerInfo, Stats};

/// Content of the page.
pub struct Cluster<'a> {
    /// Time at which the page is rendered.
    pub now: DateTime<Utc>,
    /// Statistics of the scheduler.
    pub stats: &'a Stats,
    /// Executors, with their tasks.
    pub executors: &'a Executors,
    /// Schedulers that share the state, the active one first.
    pub schedulers: &'a [SchedulerInfo],
    /// Builders, most recently seen first.
    pub builders: &'a [BuilderInfo],
    /// Locks of runs and of dates with pending files.
    pub locks: &'a [LockInfo],
}

/// Renders the page.
pub fn page(page: &Cluster<'_>) -> Markup {
    html! {
        div.head { h1 { "Cluster" } p.muted { "Who runs the manifests, and with what." } }
        (facts::panel("scheduler", "This scheduler", None, &scheduler(page)))
        @if page.schedulers.len() > 1 { (facts::panel("schedulers", &format!("Schedulers ({})", page.schedulers.len()), None, &schedulers(page))) }
        (facts::panel("executors", &executors_title(page.executors), None, &executors(page)))
        @if !page.executors.gone.is_empty() { (facts::panel("gone", &format!("Left since yesterday ({})", page.executors.gone.len()), None, &gone(page))) }
        (facts::panel("builders", &format!("Builders ({})", page.builders.len()), None, &builders(page)))
        @if !page.locks.is_empty() { (facts::panel("locks", "Locks", None, &locks(page))) }
        p.muted { a href="/ui/cluster/queues" { "Queues and dead letters" } " have a page of their own. Clocks and space are looked at by the " a href="/ui/doctor" { "doctor" } "." }
    }
}

fn executors_title(executors: &Executors) -> String {
    match executors.leads {
        true => format!("Executors ({})", executors.items.len()),
        false => "Executors".to_owned(),
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

fn schedulers(page: &Cluster<'_>) -> Markup {
    html! {
        table.cards {
            caption.visually-hidden { "Schedulers of this state" }
            thead { tr { th scope="col" { "Scheduler" } th scope="col" { "Role" } th scope="col" { "Address" } th scope="col" { "Version" } th scope="col" { "Seen" } } }
            tbody { @for scheduler in page.schedulers {
                tr data-id=(text::plain(&scheduler.name)) {
                    td.main data-label="Scheduler" { span.id { (text::shown(&scheduler.name)) } }
                    td data-label="Role" {
                        @if scheduler.leads { (state::state(state::Sign::Half, "leader", "s-done")) } @else { (state::state(state::Sign::Empty, "stands by", "s-idle")) }
                        @if let Some(until) = scheduler.lease_until { span.muted { " until " (time::moment_short(until, page.now)) } }
                    }
                    td data-label="Address" { span.id { (text::shown(&scheduler.http)) } }
                    td data-label="Version" { (text::shown(&scheduler.version)) }
                    td data-label="Seen" { (time::ago(scheduler.last_seen, page.now)) }
                }
            } }
        }
    }
}

fn gone(page: &Cluster<'_>) -> Markup {
    const SHOWN: usize = 50;
    html! {
        table.cards {
            caption.visually-hidden { "Executors that left" }
            thead { tr { th scope="col" { "Executor" } th scope="col" { "Left" } th scope="col" { "Why" } th.num scope="col" { "Tasks again" } } }
            tbody { @for executor in page.executors.gone.iter().take(SHOWN) {
                tr {
                    td.main data-label="Executor" { span.id { (text::shown(&executor.id)) } }
                    td data-label="Left" { (time::moment_and_ago(executor.left_at, page.now)) }
                    td data-label="Why" { (text::shown(&executor.reason)) }
                    td.num.s-warn[executor.lost_tasks > 0] data-label="Tasks again" { (link::count(executor.lost_tasks)) }
                }
            } }
        }
        @if page.executors.gone.len() > SHOWN { p.muted { (page.executors.gone.len() - SHOWN) " more" } }
    }
}

fn builders(page: &Cluster<'_>) -> Markup {
    if page.builders.is_empty() {
        return html! { p.muted { "None has ever shown itself: manifests come from elsewhere, or from this very process." } };
    }
    let is_there = |builder: &BuilderInfo| BuilderInfo::is_alive_at(builder.seen_at, page.now);
    html! {
        table.cards {
            caption.visually-hidden { "Builders" }
            thead { tr { th scope="col" { "Builder" } th scope="col" { "State" } th scope="col" { "Reads" } th scope="col" { "Seen" } th scope="col" { "Version" } } }
            tbody { @for builder in page.builders {
                tr data-id=(text::plain(&builder.id)) {
                    td.main data-label="Builder" { span.id { (text::shown(&builder.id)) } @if let Some(mode) = &builder.mode { div.why { (text::shown(mode)) } } }
                    td data-label="State" { @if is_there(builder) { (state::state(state::Sign::Half, "there", "s-done")) } @else { (state::state(state::Sign::Empty, "gone", "s-warn")) } }
                    td data-label="Reads" { @match &builder.queue { Some(queue) => span.id { (text::shown(queue)) }, None => span.muted { "places" } } }
                    td data-label="Seen" { (time::ago(builder.seen_at, page.now)) }
                    td data-label="Version" { (text::shown(builder.version.as_deref().unwrap_or("–"))) }
                }
            } }
        }
    }
}

fn locks(page: &Cluster<'_>) -> Markup {
    html! {
        table.cards {
            caption.visually-hidden { "Locks of the runs and of dates that wait" }
            thead { tr { th scope="col" { "Lock" } th scope="col" { "State" } th scope="col" { "Holder" } th.num scope="col" { "Token" } } }
            tbody { @for lock in page.locks {
                tr data-id=(text::plain(&lock.name)) {
                    td.main data-label="Lock" { span.id { (text::shown(&lock.name)) } }
                    td.wide data-label="State" {
                        @match (lock.held, lock.until) {
                            (Held::Free, _) | (Held::Until, None) => span.muted { "free" },
                            (Held::Process, _) => "held while its process runs",
                            (Held::Until, Some(until)) if until > page.now => { "held until " (time::moment_short(until, page.now)) },
                            (Held::Until, Some(until)) => span.s-warn { "expired " (time::ago(until, page.now)) },
                        }
                    }
                    td.wide data-label="Holder" { span.id { (text::shown(&lock.holder)) } @if lock.held == Held::Free { span.muted { " last" } } }
                    td.num data-label="Token" { (link::count(lock.token)) }
                }
            } }
        }
    }
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
            tbody { @for executor in &page.executors.items { (executor_row(executor, page.now)) } }
        }
    }
}

fn executor_row(executor: &Executor, now: DateTime<Utc>) -> Markup {
    html! {
        tr data-id=(text::plain(&executor.id)) {
            td.main data-label="Executor" { span.id { (text::shown(&executor.id)) } div.why { (text::shown(&executor.machine)) @if executor.host != executor.machine { " · " (text::shown(&executor.host)) } } }
            td.wide data-label="Slots" {
                span.slots { (meter::share(executor.slots_used() as f64, f64::from(executor.vcores), "work", &format!("{} of {} slots in use", executor.slots_used(), executor.vcores), "slots")) span.num { (slots(executor)) } }
            }
            td.wide data-label="Memory" { @match executor.memory_bytes { Some(bytes) => { (format::bytes(bytes)) @if let Some(limit) = executor.memory_limit_bytes { span.muted { " of " (format::bytes(limit)) } } }, None => span.muted { "–" } } }
            td.num data-label="Rate" { (format::rate(executor.bytes_per_second)) }
            td.wide data-label="Works on" { (work(executor, now)) }
            td data-label="Seen" { (time::ago(executor.last_seen, now)) }
            td data-label="Version" { (text::shown(&executor.version)) }
        }
    }
}

/// Slots in use of an executor, and its tasks beyond them.
pub(super) fn slots(executor: &Executor) -> Markup {
    let used = executor.slots_used();
    html! { (used) "/" (executor.vcores) @if executor.tasks > used { span.muted title="tasks that wait for a slot of this executor" { " + " (executor.tasks - used) } } }
}

/// Runs of an executor, and signs that it drains or has failed tasks.
fn work(executor: &Executor, now: DateTime<Utc>) -> Markup {
    html! {
        @if let Some(since) = executor.draining_since { span.s-warn { "drains since " (time::moment_short(since, now)) } " " }
        @for run in executor.runs.iter().take(3) { div { (link::run(run)) } }
        @if executor.runs.len() > 3 { div.muted { (executor.runs.len() - 3) " more" } }
        @if executor.runs.is_empty() && executor.draining_since.is_none() { span.muted { "nothing" } }
        @if executor.failed_tasks > 0 { div.s-warn { (format::counted(executor.failed_tasks, "task")) " failed so far" } }
    }
}
