//! Charts as SVG rendered on the server. Attributes define the geometry, CSS classes the colours. Each chart has a
//! name, and its numbers as text or as a table.

pub mod area;
pub mod bars;
pub mod conservation;
pub mod gantt;
pub mod heatmap;
pub mod meter;
pub mod plan;

use maud::{Markup, html};

/// Collapsed table of a chart's numbers.
pub(crate) fn numbers(heads: &[&str], rows: &[Vec<String>]) -> Markup {
    html! {
        details.numbers {
            summary { "Numbers" }
            div.scroll tabindex="0" role="group" aria-label="Numbers of the chart" {
                table {
                    thead { tr { @for head in heads { th scope="col" { (head) } } } }
                    tbody { @for row in rows { tr { @for cell in row { td { (cell) } } } } }
                }
            }
        }
    }
}

/// Puts a drawing between its axes: the largest value on the left, start and end below. Labels are HTML outside the
/// SVG, because the SVG is stretched.
pub(crate) fn axes(top: &str, from: &Markup, until: &Markup, drawing: &Markup) -> Markup {
    html! {
        div.plot {
            div.scale aria-hidden="true" { span.num { (top) } span.num { "0" } }
            (drawing)
            div.span { span { (from) } span { (until) } }
        }
    }
}

/// Coordinate with the digits that matter.
pub(crate) fn at(value: f64) -> String {
    let value = if value.is_finite() { value } else { 0.0 };
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Largest of the finite values. At least the smallest positive `f64`, because callers divide by it.
pub(crate) fn largest(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().filter(|value| value.is_finite()).fold(f64::MIN_POSITIVE, f64::max)
}

/// Rounds up to 1, 2 or 5 × 10ⁿ for the end of an axis; 1 for values that are not positive.
pub(crate) fn round_up(value: f64) -> f64 {
    if !value.is_finite() || value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let digit = value / power;
    let step = [1.0, 2.0, 5.0, 10.0].into_iter().find(|step| digit <= *step + 1e-9);
    step.map_or(value, |step| step * power)
}

/// Rounds up to the end of an axis of bytes, in units of powers of 1,024; at least 1,024 bytes.
pub(crate) fn round_up_bytes(value: f64) -> f64 {
    let value = value.max(1024.0);
    let unit = 1024f64.powf((value.log2() / 10.0 + 1e-9).floor());
    match round_up(value / unit) {
        digits if digits >= 1024.0 || !digits.is_finite() => unit * 1024.0,
        digits => digits * unit,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!([0.0, 0.9, 1.0, 3.0, 51.0].map(round_up), [1.0, 1.0, 1.0, 5.0, 100.0]);
        let mib = f64::from(1 << 20);
        assert_eq!([3.0 * mib, 717.0 * mib, 1023.0 * mib].map(round_up_bytes), [5.0 * mib, 1000.0 * mib, 1024.0 * mib]);
        assert_eq!([0.0, 1.0, 1024.0].map(round_up_bytes), [1024.0; 3]);
        assert_eq!((at(1.5), at(2.0), at(f64::NAN)), ("1.5".into(), "2".into(), "0".into()));
    }
}
