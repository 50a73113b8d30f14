//! Area and line charts of amounts over time, with an optional forecast.

use super::{at, axes, largest, numbers};
use crate::parts::time;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

/// Value at a time; none if nothing was measured then.
pub type Point = (DateTime<Utc>, Option<f64>);

/// Line of a chart.
pub struct Line<'a> {
    /// Name of the quantity that the line shows.
    pub name: &'a str,
    /// CSS class of the colour.
    pub class: &'a str,
    /// Values of the line, by ascending time.
    pub points: &'a [Point],
    /// True if the area below the line is filled.
    pub is_filled: bool,
}

/// Area chart.
pub struct Area<'a> {
    /// Name of the chart.
    pub name: &'a str,
    /// Lines of the chart.
    pub lines: &'a [Line<'a>],
    /// Last time on the axis if later than the last value; the chart leaves room for the future in between.
    pub until: Option<DateTime<Utc>>,
    /// Forecast from the last value on: that value, and the earliest and latest times at which zero is reached.
    pub forecast: Option<(f64, DateTime<Utc>, DateTime<Utc>)>,
    /// Formats a value for people.
    pub said: fn(f64) -> String,
    /// Rounds the largest value up to the end of the axis.
    pub round_up: fn(f64) -> f64,
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;

struct Scale {
    from: DateTime<Utc>,
    seconds: f64,
    top: f64,
}

impl Scale {
    fn x(&self, time: DateTime<Utc>) -> f64 {
        (time - self.from).as_seconds_f64() / self.seconds * WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - 1.0 - value.max(0.0) / self.top * (HEIGHT - 2.0)
    }
}

/// Draws the chart with its legend, axes and table of numbers.
pub fn area(chart: &Area<'_>) -> Markup {
    let times = || chart.lines.iter().flat_map(|line| line.points).map(|point| point.0);
    let (Some(from), Some(last)) = (times().min(), times().max()) else {
        return html! { p.muted { (chart.name) ": nothing measured yet." } };
    };
    let until = chart.until.map_or(last, |until| until.max(last));
    let values = chart.lines.iter().flat_map(|line| line.points).filter_map(|point| point.1);
    let top = (chart.round_up)(largest(values.chain(chart.forecast.map(|forecast| forecast.0))));
    let scale = Scale { from, seconds: (until - from).as_seconds_f64().max(1.0), top };
    html! {
        figure.chart {
            (legend(chart))
            @if from == until { p.muted { "Lines are drawn from the second minute on." } } @else {
                (axes(&(chart.said)(top), &html! { (time::minute(from)) }, &html! { (time::minute(until)) }, &drawing(chart, &scale, last)))
            }
            (table(chart))
        }
    }
}

fn legend(chart: &Area<'_>) -> Markup {
    html! {
        figcaption {
            @for line in chart.lines {
                span.legend.(line.class) { span.swatch aria-hidden="true" {} (line.name) @if let Some(value) = newest(line) { " " strong { ((chart.said)(value)) } } }
            }
        }
    }
}

/// Lines of the chart, and the forecast from the time of the last value on.
fn drawing(chart: &Area<'_>, scale: &Scale, last: DateTime<Utc>) -> Markup {
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(said(chart)) {
            @for value in [scale.top, scale.top / 2.0] { line.grid x1="0" y1=(at(scale.y(value))) x2=(WIDTH) y2=(at(scale.y(value))) vector-effect="non-scaling-stroke" {} }
            line.axis x1="0" y1=(HEIGHT - 0.5) x2=(WIDTH) y2=(HEIGHT - 0.5) vector-effect="non-scaling-stroke" {}
            @for line in chart.lines { (drawn(line, scale)) }
            @if let Some((value, early, late)) = chart.forecast {
                path.forecast d=(format!("M{} {}L{} {}L{} {}z", at(scale.x(last)), at(scale.y(value)), at(scale.x(early)), at(HEIGHT - 1.0), at(scale.x(late)), at(HEIGHT - 1.0))) {
                    title { "expected" }
                }
            }
        }
    }
}

fn newest(line: &Line<'_>) -> Option<f64> {
    line.points.iter().rev().find_map(|point| point.1)
}

fn said(chart: &Area<'_>) -> String {
    let lines: Vec<String> = chart
        .lines
        .iter()
        .map(|line| {
            let newest = newest(line)
                .map_or_else(|| "nothing measured".to_owned(), |value| format!("now {}", (chart.said)(value)));
            format!(
                "{}: {newest}, at most {}",
                line.name,
                (chart.said)(largest(line.points.iter().filter_map(|point| point.1)))
            )
        })
        .collect();
    format!("{}. {}", chart.name, lines.join("; "))
}

fn drawn(line: &Line<'_>, scale: &Scale) -> Markup {
    let mut runs: Vec<Vec<String>> = vec![Vec::new()];
    let mut ends: Vec<(f64, f64)> = Vec::new();
    for (time, value) in line.points {
        match value {
            Some(value) => {
                let x = scale.x(*time);
                if let Some(run) = runs.last_mut() {
                    match run.is_empty() {
                        true => ends.push((x, x)),
                        false => ends.iter_mut().last().into_iter().for_each(|end| end.1 = x),
                    }
                    run.push(format!("{} {}", at(x), at(scale.y(*value))));
                }
            }
            None if runs.last().is_some_and(|run| !run.is_empty()) => runs.push(Vec::new()),
            None => {}
        }
    }
    html! {
        g.(line.class) {
            @for (run, (begin, end)) in runs.iter().filter(|run| !run.is_empty()).zip(&ends) {
                @if line.is_filled { path.fill d=(format!("M{}L{} {HEIGHT}L{} {HEIGHT}z", run.join("L"), at(*end), at(*begin))) {} }
                path.line d=(format!("M{}h.01", run.join("L"))) vector-effect="non-scaling-stroke" {}
            }
        }
    }
}

/// Table of at most 60 values, evenly spaced.
fn table(chart: &Area<'_>) -> Markup {
    const ROWS: usize = 60;
    let longest = chart.lines.iter().map(|line| line.points.len()).max().unwrap_or(0);
    let step = longest.div_ceil(ROWS).max(1);
    let heads: Vec<&str> = ["time (UTC)"].into_iter().chain(chart.lines.iter().map(|line| line.name)).collect();
    let rows: Vec<Vec<String>> = (0..longest)
        .rev()
        .step_by(step)
        .map(|index| {
            let time = chart
                .lines
                .iter()
                .find_map(|line| line.points.get(index))
                .map(|point| point.0.format("%Y-%m-%d %H:%M").to_string());
            let values = chart.lines.iter().map(|line| {
                line.points
                    .get(index)
                    .and_then(|point| point.1)
                    .map_or_else(|| "–".to_owned(), |value| (chart.said)(value))
            });
            time.into_iter().chain(values).collect()
        })
        .collect();
    numbers(&heads, &rows)
}
