//! Bar charts, with a name for each bar.

use super::{at, axes, largest, numbers, round_up};
use maud::{Markup, html};

/// Bar of a chart.
pub struct Bar {
    /// Name of what the bar shows.
    pub name: String,
    /// Value that the height of the bar shows.
    pub value: f64,
    /// Value, formatted for people.
    pub said: String,
    /// True if the bar is highlighted as an outlier.
    pub is_odd: bool,
    /// Target of the bar's link.
    pub link: Option<String>,
}

const HEIGHT: f64 = 96.0;
const WIDTH: f64 = 600.0;
/// Number of bars that fill the width. Fewer bars are drawn no wider than these.
const FEWEST: usize = 20;

/// Draws bars from left to right, on one scale. `said` formats the end of the scale.
pub fn bars(bars: &[Bar], name: &str, heads: [&str; 2], said: fn(f64) -> String) -> Markup {
    let top = round_up(largest(bars.iter().map(|bar| bar.value)));
    let step = WIDTH / bars.len().max(FEWEST) as f64;
    let rows: Vec<_> = bars.iter().map(|bar| vec![bar.name.clone(), bar.said.clone()]).collect();
    // Role of the SVG: assistive technology does not reach links inside an `img`.
    let role = if bars.iter().any(|bar| bar.link.is_some()) { "group" } else { "img" };
    // Empty space on the left, so that the newest bar is at the right end even if bars are few.
    let before = FEWEST.saturating_sub(bars.len());
    let drawing = html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role=(role) aria-label=(name) {
            line.grid x1="0" y1="1" x2=(WIDTH) y2="1" vector-effect="non-scaling-stroke" {}
            line.grid x1="0" y1=(HEIGHT / 2.0) x2=(WIDTH) y2=(HEIGHT / 2.0) vector-effect="non-scaling-stroke" {}
            line.axis x1="0" y1=(HEIGHT - 0.5) x2=(WIDTH) y2=(HEIGHT - 0.5) vector-effect="non-scaling-stroke" {}
            @for (index, bar) in bars.iter().enumerate() {
                (drawn(bar, (before + index) as f64 * step, step, top))
            }
        }
    };
    let (from, until) = ends(bars);
    html! {
        figure.chart {
            (axes(&said(top), &from, &until, &drawing))
            (numbers(&heads, &rows))
        }
    }
}

/// Bar at the step that begins at `x`; `top` is the value at full height.
fn drawn(bar: &Bar, x: f64, step: f64, top: f64) -> Markup {
    let height = (bar.value / top * (HEIGHT - 2.0)).max(if bar.value > 0.0 { 1.5 } else { 0.0 });
    let drawn = html! {
        rect.bar.odd[bar.is_odd] x=(at(x + step * 0.12)) y=(at(HEIGHT - 1.0 - height)) width=(at(step * 0.76)) height=(at(height)) {
            title { (bar.name) ": " (bar.said) }
        }
    };
    html! {
        @if let Some(link) = &bar.link { a href=(link) aria-label=(format!("{}: {}", bar.name, bar.said)) { (drawn) } } @else { (drawn) }
    }
}

/// Labels below the first and the last bar; if bars are few, both names below the last.
fn ends(bars: &[Bar]) -> (Markup, Markup) {
    let [first, last] = [bars.first(), bars.last()].map(|bar| bar.map_or("", |bar| bar.name.as_str()));
    match bars.len() >= FEWEST {
        true => (html! { (first) }, html! { (last) }),
        false => (html! {}, html! { (first) @if last != first { " to " (last) } }),
    }
}
