//! Tasks of a run: those of the current attempt, or of the committed one.

use crate::charts::gantt;
use crate::format;
use crate::parts::{facts, states};
use crate::text;
use chrono::{DateTime, Utc};
use maud::{Markup, html};
use millwork_api::{RunDetail, TaskProgress, TaskRecord, TaskState};

/// Limit of tasks on the page: the 200 that ended last. More would exceed 3,000 HTML elements.
const SHOWN: usize = 200;

/// Task with its times in milliseconds since 1970 (UTC).
struct Task {
    name: String,
    who: String,
    began: u64,
    ended: Option<u64>,
    class: &'static str,
    said: String,
}

/// Renders the tab.
pub fn page(run: &RunDetail, now: DateTime<Utc>) -> Markup {
    let mut tasks: Vec<Task> = running(run).collect();
    if tasks.is_empty() {
        tasks = run.result.iter().flat_map(|result| &result.tasks).map(of_record).collect();
    }
    let all = tasks.len();
    tasks.sort_by_key(|task| std::cmp::Reverse(task.ended.unwrap_or(u64::MAX)));
    tasks.truncate(SHOWN);
    let Some(begin) = tasks.iter().map(|task| task.began).min() else {
        return states::empty(
            "No task is known",
            "Tasks are known while an attempt converts, to the scheduler that runs the manifests; and of a committed run.",
            None,
        );
    };
    let now = u64::try_from(now.timestamp_millis()).unwrap_or(begin);
    let seconds = |ms: u64| ms.saturating_sub(begin) as f64 / 1000.0;
    let until = tasks.iter().map(|task| task.ended.unwrap_or(now)).max().map_or(0.0, seconds);
    let mut spans: Vec<gantt::Span> = tasks
        .into_iter()
        .map(|task| gantt::Span {
            from: seconds(task.began),
            to: task.ended.map(seconds),
            name: task.name,
            who: task.who,
            class: task.class,
            said: task.said,
            is_outlier: false,
        })
        .collect();
    gantt::mark_outliers(&mut spans);
    html! {
        (slowest(&spans, until))
        @if all > spans.len() { p.muted { "The " (format::count(spans.len() as u64)) " that ended last, of " (format::count(all as u64)) "." } }
        (facts::panel("tasks", "Tasks", Some(html! { span.muted { "the last to end on top" } }), &gantt::gantt(&spans, until)))
    }
}

/// Sentence about the longest task, and if it is an outlier.
fn slowest(spans: &[gantt::Span], until: f64) -> Markup {
    let took = |span: &gantt::Span| span.to.unwrap_or(until) - span.from;
    let Some(slow) = spans.iter().max_by(|a, b| took(a).total_cmp(&took(b))).filter(|_| spans.len() > 1) else {
        return html! {};
    };
    html! {
        div.banner.(if slow.is_outlier { "warn" } else { "plain" }) role="status" {
            "The slowest is " strong { (slow.name) } " on " (slow.who) ": " (format::duration(took(slow)))
            @if slow.to.is_none() { " so far" }
            ", " (slow.said) ". "
            @if slow.is_outlier { "It took more than 1.5 × the median of all." } @else { "None took far longer than the others." }
        }
    }
}

fn running(run: &RunDetail) -> impl Iterator<Item = Task> {
    run.progress.iter().flat_map(|progress| &progress.stages).flat_map(|stage| &stage.tasks).map(of_progress)
}

fn of_progress(task: &TaskProgress) -> Task {
    Task {
        name: format!("task {}", task.id),
        who: text::plain(task.executor.as_deref().unwrap_or("–")),
        began: task.launched_at_ms,
        ended: task.ended_at_ms,
        class: match task.state {
            TaskState::Running => "work",
            TaskState::Successful => "done",
            TaskState::Failed => "bad",
        },
        said: format!(
            "{} of {} read, {} rows, {}",
            format::bytes(task.read_bytes),
            format::bytes(task.input_bytes),
            format::count(task.rows),
            format::rate(task.bytes_per_second)
        ),
    }
}

fn of_record(task: &TaskRecord) -> Task {
    let seconds = task.ended_at_ms.saturating_sub(task.started_at_ms) as f64 / 1000.0;
    let rate = if seconds > 0.0 { format::rate(task.input_bytes as f64 / seconds) } else { "–".to_owned() };
    Task {
        name: format!("task {}", task.task),
        who: text::plain(&task.executor),
        began: task.started_at_ms,
        ended: Some(task.ended_at_ms),
        class: "done",
        said: format!(
            "{} read, {} rows, {rate}, {} of CPU",
            format::bytes(task.input_bytes),
            format::count(task.rows),
            format::duration(task.cpu_micros as f64 / 1e6)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slow_task_is_named() {
        let record = |task: u64, ms: u64| TaskRecord {
            task,
            executor: "e-1".to_owned(),
            started_at_ms: 1_000,
            ended_at_ms: 1_000 + ms,
            ..TaskRecord::default()
        };
        let records = [record(0, 900), record(1, 1_000), record(2, 4_000), record(3, 1_100)];
        let mut spans: Vec<gantt::Span> = records
            .iter()
            .map(of_record)
            .map(|task| gantt::Span {
                from: 0.0,
                to: task.ended.map(|ms| (ms - 1_000) as f64 / 1000.0),
                name: task.name,
                who: task.who,
                class: task.class,
                said: task.said,
                is_outlier: false,
            })
            .collect();
        gantt::mark_outliers(&mut spans);
        let html = slowest(&spans, 4.0).into_string();
        assert!(html.contains("<strong>task 2</strong> on e-1: 4") && html.contains("1.5 × the median"), "{html}");
        assert!(slowest(&spans[..1], 1.0).into_string().is_empty());
    }
}
