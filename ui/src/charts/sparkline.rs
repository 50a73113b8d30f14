//! A line without axes, beside a number.

use super::{at, largest};
use maud::{Markup, html};

/// Width and height in units of its own; the style gives the size.
const SIZE: (f64, f64) = (120.0, 24.0);

/// A line through values in order; what has no value is a gap. `name` says of what, `said` what the values are in words.
pub fn sparkline(values: &[Option<f64>], name: &str, said: &str) -> Markup {
    let top = largest(values.iter().flatten().copied());
    let step = SIZE.0 / (values.len().saturating_sub(1)).max(1) as f64;
    let y = |value: f64| SIZE.1 - 1.5 - value.max(0.0) / top * (SIZE.1 - 3.0);
    let mut lines: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    for (index, value) in values.iter().enumerate() {
        match (value, lines.last_mut()) {
            (Some(value), Some(line)) => line.push((index as f64 * step, y(*value))),
            (None, Some(line)) if !line.is_empty() => lines.push(Vec::new()),
            _ => {}
        }
    }
    lines.retain(|line| !line.is_empty());
    let end = lines.last().and_then(|line| line.last()).copied();
    html! {
        svg.spark viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) preserveAspectRatio="none" role="img" aria-label=(format!("{name}: {said}")) {
            title { (name) ": " (said) }
            @for line in &lines {
                @if line.len() > 1 { path.fill d=(area(line)) {} }
                path.line d=(path(line)) vector-effect="non-scaling-stroke" {}
            }
            @if let Some((x, y)) = end { path.end d=(format!("M{} {}h0", at(x), at(y))) vector-effect="non-scaling-stroke" {} }
        }
    }
}

fn path(line: &[(f64, f64)]) -> String {
    let points: Vec<String> = line.iter().map(|(x, y)| format!("{} {}", at(*x), at(*y))).collect();
    format!("M{}", points.join("L"))
}

fn area(line: &[(f64, f64)]) -> String {
    let (first, last) = (line.first().map_or(0.0, |point| point.0), line.last().map_or(0.0, |point| point.0));
    format!("{}L{} {}L{} {}z", path(line), at(last), SIZE.1, at(first), SIZE.1)
}
