//! Flow diagram of the ledger: lines read on the left, their outcomes on the right, in proportion.

use super::at;
use crate::format;
use maud::{Markup, html};

/// Numbers of input lines, of the rows converted from them, and of rows filtered out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lines {
    /// Lines read.
    pub lines: u64,
    /// Lines converted to rows.
    pub rows: u64,
    /// Lines that were rejected.
    pub rejected: u64,
    /// Blank lines.
    pub blank: u64,
    /// Rows filtered out by a query.
    pub left_out: u64,
    /// Rows in the output.
    pub written: u64,
}

impl Lines {
    /// Lines read minus accounted lines: 0 if the ledger balances, negative if too many are accounted.
    pub fn lines_missing(&self) -> i128 {
        i128::from(self.lines) - i128::from(self.rows) - i128::from(self.rejected) - i128::from(self.blank)
    }

    /// Rows minus accounted rows: 0 if the ledger balances, negative if too many are accounted.
    pub fn rows_missing(&self) -> i128 {
        i128::from(self.rows) - i128::from(self.left_out) - i128::from(self.written)
    }
}

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 120.0;
/// Height of the smallest band: one line among a million remains visible.
const LEAST: f64 = 3.0;
const GAP: f64 = 8.0;

/// Outcome of lines: name, number of lines, and CSS class of the colour.
type Branch = (&'static str, u64, &'static str);

/// Draws the diagram, with the equation as text.
pub fn conservation(lines: &Lines) -> Markup {
    let branches: Vec<Branch> = [
        ("rows written", lines.written, "done"),
        ("left out by the query", lines.left_out, "idle"),
        ("rejected", lines.rejected, "bad"),
        ("blank", lines.blank, "idle"),
    ]
    .into_iter()
    .filter(|branch| branch.1 > 0)
    .collect();
    html! {
        figure.conservation {
            @if branches.is_empty() { p.muted { "No lines were read." } } @else {
                svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) preserveAspectRatio="none" role="img" aria-label=(format!("{} lines: {}", format::count(lines.lines), words(&branches))) {
                    @for (path, (name, amount, class)) in bands(&branches).iter().zip(&branches) { path.band.(class) d=(path) { title { (format::count(*amount)) " " (name) } } }
                    rect.source x="0" y="0" width="8" height=(HEIGHT) {}
                }
                ul.ends {
                    @for (name, amount, class) in &branches { li.(class) { span.swatch aria-hidden="true" {} strong.num { (format::count(*amount)) } " " (name) } }
                }
            }
            figcaption { (equation(lines)) }
        }
    }
}

/// Paths of the bands of all branches, from top to bottom.
fn bands(branches: &[Branch]) -> Vec<String> {
    let space = HEIGHT - GAP * branches.len().saturating_sub(1) as f64;
    let all = branches.iter().map(|branch| branch.1).sum::<u64>().max(1) as f64;
    let small: f64 = branches.iter().map(|branch| LEAST.max(branch.1 as f64 / all * space)).sum();
    let shrink = space / small.max(space);
    let mut y = 0.0;
    let mut from = 0.0;
    let mut bands = Vec::new();
    for (_, amount, _) in branches {
        let height = LEAST.max(*amount as f64 / all * space) * shrink;
        let left = *amount as f64 / all * HEIGHT;
        bands.push(band(from, left, y, height));
        y += height + GAP;
        from += left;
    }
    bands
}

fn band(from: f64, left: f64, y: f64, height: f64) -> String {
    const BEGIN: f64 = 8.0;
    const MIDDLE: f64 = 260.0;
    let (bottom, end) = (from + left, y + height);
    format!(
        "M{BEGIN} {}C{MIDDLE} {} {MIDDLE} {} {WIDTH} {}V{}C{MIDDLE} {} {MIDDLE} {} {BEGIN} {}z",
        at(from),
        at(from),
        at(y),
        at(y),
        at(end),
        at(end),
        at(bottom),
        at(bottom)
    )
}

fn words(branches: &[Branch]) -> String {
    let words: Vec<String> =
        branches.iter().map(|(name, amount, _)| format!("{} {name}", format::count(*amount))).collect();
    words.join(", ")
}

fn equation(lines: &Lines) -> Markup {
    let closes = |missing: i128, noun: &str| match missing {
        0 => html! { span.s-done { " ✓" } },
        missing => html! { strong.s-bad { " ✗ " (missing) " " (noun) " unaccounted for" } },
    };
    html! {
        p.equation {
            (format::count(lines.lines)) " lines = " (format::count(lines.rows)) " rows + " (format::count(lines.rejected)) " rejected + "
            (format::count(lines.blank)) " blank" (closes(lines.lines_missing(), "lines"))
        }
        p.equation {
            (format::count(lines.rows)) " rows "
            @if lines.left_out > 0 { "− " (format::count(lines.left_out)) " left out by the query " }
            "= " (format::count(lines.written)) " written" (closes(lines.rows_missing(), "rows"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_close_is_said_in_red() {
        let good = Lines { lines: 100, rows: 98, rejected: 1, blank: 1, left_out: 0, written: 98 };
        assert!(!conservation(&good).into_string().contains("unaccounted"));
        let bad = conservation(&Lines { rows: 97, ..good }).into_string();
        assert!(bad.contains("✗ 1 lines unaccounted") && bad.contains("✗ -1 rows unaccounted"), "{bad}");
    }

    #[test]
    fn one_line_of_a_million_is_seen() {
        let html = conservation(&Lines {
            lines: 1_000_000,
            rows: 999_999,
            rejected: 1,
            blank: 0,
            left_out: 0,
            written: 999_999,
        });
        assert!(html.into_string().contains("band bad"));
    }
}
