//! Bars that show shares of a whole.

use super::at;
use maud::{Markup, html};

/// Part of a bar.
pub struct Part<'a> {
    /// Amount of the part, in the unit of the whole bar.
    pub amount: f64,
    /// CSS class of the colour.
    pub class: &'a str,
    /// Description of the part, with its value.
    pub said: String,
}

/// Draws parts next to each other. Every part above zero is drawn wide enough to be visible.
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

/// Draws a bar of one share. It is full only if the share is the whole.
pub fn share(part: f64, whole: f64, class: &str, said: &str, name: &str) -> Markup {
    let part = if part < whole { part.min(whole * 0.995) } else { whole };
    bar(&[Part { amount: part, class, said: said.to_owned() }], whole, name)
}
