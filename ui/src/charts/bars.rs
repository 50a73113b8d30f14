//! Bars in a row, each with its name.

use super::{at, largest, numbers, round_up};
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

/// Bars from left to right, on one scale.
pub fn bars(bars: &[Bar], name: &str, heads: [&str; 2]) -> Markup {
    const HEIGHT: f64 = 96.0;
    const WIDTH: f64 = 600.0;
    let top = round_up(largest(bars.iter().map(|bar| bar.value)));
    let step = WIDTH / bars.len().max(1) as f64;
    let rows: Vec<_> = bars.iter().map(|bar| vec![bar.name.clone(), bar.said.clone()]).collect();
    // An image has nothing in it that keys lead to.
    let role = if bars.iter().any(|bar| bar.link.is_some()) { "group" } else { "img" };
    html! {
        figure.chart {
            svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role=(role) aria-label=(name) {
                line.axis x1="0" y1=(HEIGHT - 0.5) x2=(WIDTH) y2=(HEIGHT - 0.5) vector-effect="non-scaling-stroke" {}
                @for (index, bar) in bars.iter().enumerate() {
                    @let height = (bar.value / top * (HEIGHT - 4.0)).max(if bar.value > 0.0 { 1.5 } else { 0.0 });
                    @let drawn = html! {
                        rect.bar.odd[bar.is_odd] x=(at(index as f64 * step + step * 0.12)) y=(at(HEIGHT - 1.0 - height)) width=(at(step * 0.76)) height=(at(height)) {
                            title { (bar.name) ": " (bar.said) }
                        }
                    };
                    @if let Some(link) = &bar.link { a href=(link) aria-label=(format!("{}: {}", bar.name, bar.said)) { (drawn) } } @else { (drawn) }
                }
            }
            (numbers(&heads, &rows))
        }
    }
}
