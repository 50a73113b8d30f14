//! Gantt chart of tasks, the last to end on top.

use super::{at, numbers};
use crate::format;
use maud::{Markup, html};

/// Bar of a task.
pub struct Span {
    /// Name of the task.
    pub name: String,
    /// Executor that ran the task.
    pub who: String,
    /// Start of the task, in seconds from the start of the chart.
    pub from: f64,
    /// End of the task, in seconds from the start of the chart; none while it runs.
    pub to: Option<f64>,
    /// CSS class of the colour.
    pub class: &'static str,
    /// Description of the task, such as the bytes it read.
    pub said: String,
    /// True if the task took far longer than the others.
    pub is_outlier: bool,
}

/// Marks tasks that took more than 1.5 × the median and longer than 95 % of all tasks. Marks nothing among fewer than
/// four.
pub fn mark_outliers(spans: &mut [Span]) {
    let mut took: Vec<f64> = spans.iter().filter_map(|span| Some(span.to? - span.from)).collect();
    took.sort_by(f64::total_cmp);
    if took.len() < 4 {
        return;
    }
    let (median, late) = (took[took.len() / 2], took[(took.len() * 95 / 100).min(took.len() - 1)]);
    for span in spans {
        span.is_outlier = span.to.is_some_and(|to| to - span.from >= late && to - span.from > 1.5 * median);
    }
}

const ROW: usize = 18;
const WIDTH: f64 = 600.0;

/// Draws bars below each other on one time axis.
pub fn gantt(spans: &[Span], until: f64) -> Markup {
    let until = until.max(0.001);
    let height = spans.len() * ROW + 2;
    let mut order: Vec<&Span> = spans.iter().collect();
    order.sort_by(|a, b| b.to.unwrap_or(f64::MAX).total_cmp(&a.to.unwrap_or(f64::MAX)));
    let rows: Vec<Vec<String>> = order.iter().map(|span| cells(span, until)).collect();
    html! {
        figure.chart.gantt {
            div.rows {
                ul aria-hidden="true" { @for span in &order { li { span { (span.name) } span.muted { (span.who) } } } }
                svg viewBox=(format!("0 0 {WIDTH} {height}")) height=(height) preserveAspectRatio="none" role="img" aria-label=(format!("{} over {}", format::counted(spans.len() as u64, "task"), format::duration(until))) {
                    @for part in 1..4 { line.grid x1=(at(WIDTH * f64::from(part) / 4.0)) y1="0" x2=(at(WIDTH * f64::from(part) / 4.0)) y2=(height) vector-effect="non-scaling-stroke" {} }
                    @for (index, span) in order.iter().enumerate() { (bar(span, index * ROW, until)) }
                }
            }
            figcaption { span.muted { "0 s" } span.push {} @if spans.iter().any(|span| span.is_outlier) { span.s-retry { "outlined: more than 1.5 × the median" } } span.push {} span.muted { (format::duration(until)) } }
            (numbers(&["task", "executor", "begin", "end", "took", "of it"], &rows))
        }
    }
}

fn bar(span: &Span, y: usize, until: f64) -> Markup {
    let (from, to) = (span.from / until * WIDTH, span.to.unwrap_or(until) / until * WIDTH);
    html! {
        rect.span.(span.class).outlier[span.is_outlier] x=(at(from)) y=(y + 3) width=(at((to - from).max(2.0))) height=(ROW - 6) rx="2" {
            title { (span.name) " on " (span.who) ": " (format::duration(span.to.unwrap_or(until) - span.from)) @if span.to.is_none() { " so far" } ". " (span.said) }
        }
    }
}

/// Row of the table of numbers.
fn cells(span: &Span, until: f64) -> Vec<String> {
    let end = span.to.map_or_else(|| "runs".to_owned(), format::duration);
    let took = format::duration(span.to.unwrap_or(until) - span.from);
    vec![span.name.clone(), span.who.clone(), format::duration(span.from), end, took, span.said.clone()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(to: f64) -> Span {
        Span {
            name: "t".into(),
            who: "e".into(),
            from: 0.0,
            to: Some(to),
            class: "done",
            said: String::new(),
            is_outlier: false,
        }
    }

    #[test]
    fn only_what_is_far_from_the_others_is_an_outlier() {
        let mut spans: Vec<Span> = [1.0, 1.1, 0.9, 1.0, 4.0].map(span).into();
        mark_outliers(&mut spans);
        assert_eq!(spans.iter().filter(|span| span.is_outlier).count(), 1);
        let mut even: Vec<Span> = [1.0, 1.1, 0.9, 1.0].map(span).into();
        mark_outliers(&mut even);
        assert!(!even.iter().any(|span| span.is_outlier));
    }
}
