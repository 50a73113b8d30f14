//! Bars in a row, each with its name.

use super::{at, axes, largest, numbers, round_up};
use maud::{Markup, html};

/// Bar of a chart.
pub struct Bar {
    /// Name of what the bar shows.
    pub name: String,
    /// Value that the height of the bar shows.
    pub value: f64,
    /// The value in words.
    pub said: String,
    /// True if the bar stands out.
    pub is_odd: bool,
    /// Address that the bar leads to.
    pub link: Option<String>,
}

/// Bars from left to right, on one scale. `said` gives the end of the scale in words.
pub fn bars(bars: &[Bar], name: &str, heads: [&str; 2], said: fn(f64) -> String) -> Markup {
    const HEIGHT: f64 = 96.0;
    const WIDTH: f64 = 600.0;
    /// Bars that fill the width: fewer are not drawn wider than these.
    const FEWEST: usize = 20;
    let top = round_up(largest(bars.iter().map(|bar| bar.value)));
    let step = WIDTH / bars.len().max(FEWEST) as f64;
    let rows: Vec<_> = bars.iter().map(|bar| vec![bar.name.clone(), bar.said.clone()]).collect();
    // An image has nothing in it that keys lead to.
    let role = if bars.iter().any(|bar| bar.link.is_some()) { "group" } else { "img" };
    let [first, last] = [bars.first(), bars.last()].map(|bar| bar.map_or("", |bar| bar.name.as_str()));
    let is_full = bars.len() >= FEWEST;
    // The newest of few stand where time ends, as those of many do.
    let before = FEWEST.saturating_sub(bars.len());
    let drawing = html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role=(role) aria-label=(name) {
            line.grid x1="0" y1="1" x2=(WIDTH) y2="1" vector-effect="non-scaling-stroke" {}
            line.grid x1="0" y1=(HEIGHT / 2.0) x2=(WIDTH) y2=(HEIGHT / 2.0) vector-effect="non-scaling-stroke" {}
            line.axis x1="0" y1=(HEIGHT - 0.5) x2=(WIDTH) y2=(HEIGHT - 0.5) vector-effect="non-scaling-stroke" {}
            @for (index, bar) in bars.iter().enumerate() {
                @let height = (bar.value / top * (HEIGHT - 2.0)).max(if bar.value > 0.0 { 1.5 } else { 0.0 });
                @let drawn = html! {
                    rect.bar.odd[bar.is_odd] x=(at((before + index) as f64 * step + step * 0.12)) y=(at(HEIGHT - 1.0 - height)) width=(at(step * 0.76)) height=(at(height)) {
                        title { (bar.name) ": " (bar.said) }
                    }
                };
                @if let Some(link) = &bar.link { a href=(link) aria-label=(format!("{}: {}", bar.name, bar.said)) { (drawn) } } @else { (drawn) }
            }
        }
    };
    let (from, until) = match is_full {
        true => (html! { (first) }, html! { (last) }),
        false => (html! {}, html! { (first) @if last != first { " to " (last) } }),
    };
    html! {
        figure.chart {
            (axes(&said(top), &from, &until, &drawing))
            (numbers(&heads, &rows))
        }
    }
}
