//! Shares of a whole in one bar.

use super::at;
use maud::{Markup, html};

/// A part of a bar.
pub struct Part<'a> {
    /// Amount of the part, in the unit of the whole bar.
    pub amount: f64,
    /// Class of its colour.
    pub class: &'a str,
    /// Description of the part, with its number.
    pub said: String,
}

/// Parts beside each other. What is there at all is at least seen.
pub fn bar(parts: &[Part<'_>], whole: f64, name: &str) -> Markup {
    const WIDTH: f64 = 400.0;
    const LEAST: f64 = 3.0;
    let whole = whole.max(f64::MIN_POSITIVE);
    let mut x = 0.0;
    let mut drawn = Vec::new();
    for part in parts.iter().filter(|part| part.amount > 0.0) {
        let width = (part.amount / whole * WIDTH).max(LEAST).min(WIDTH - x);
        drawn.push((x, width, part));
        x += width;
    }
    let said: Vec<&str> = parts.iter().filter(|part| part.amount > 0.0).map(|part| part.said.as_str()).collect();
    html! {
        svg.meter viewBox="0 0 400 10" preserveAspectRatio="none" role="img" aria-label=(format!("{name}: {}", said.join(", "))) {
            rect.track x="0" y="0" width="400" height="10" {}
            @for (x, width, part) in drawn {
                rect.(part.class) x=(at(x)) y="0" width=(at(width)) height="10" { title { (part.said) } }
            }
        }
    }
}

/// Bar of one share, which is full only when the share is the whole.
pub fn share(part: f64, whole: f64, class: &str, said: &str, name: &str) -> Markup {
    let part = if part < whole { part.min(whole * 0.995) } else { whole };
    bar(&[Part { amount: part, class, said: said.to_owned() }], whole, name)
}
