//! Charts of the flow over time: input arrived and converted, and the backlog.

use crate::charts::area::{Area, Line, Point, area};
use crate::charts::round_up_bytes;
use crate::format;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

/// Measurements of one interval.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Start of the interval.
    pub at: DateTime<Utc>,
    /// Bytes per second that arrived; none if not measured.
    pub arrived: Option<f64>,
    /// Input bytes per second converted; none if not measured.
    pub converted: Option<f64>,
    /// Bytes of the backlog at the end of the interval; none if not measured.
    pub backlog: Option<f64>,
}

/// Draws the charts. `drained` is the earliest and latest expected end of the backlog.
pub fn charts(measured: &[Measured], drained: Option<(DateTime<Utc>, DateTime<Utc>)>) -> Markup {
    let line =
        |of: fn(&Measured) -> Option<f64>| -> Vec<Point> { measured.iter().map(|span| (span.at, of(span))).collect() };
    let (arrived, converted, backlog) =
        (line(|span| span.arrived), line(|span| span.converted), line(|span| span.backlog));
    let left = measured.iter().rev().find_map(|span| span.backlog);
    let forecast = drained.zip(left).map(|((early, late), left)| (left, early, late));
    html! {
        div.columns.charts {
            (area(&Area {
                name: "In and out",
                lines: &[
                    Line { name: "arrived", class: "c-in", points: &arrived, is_filled: true },
                    Line { name: "converted", class: "c-out", points: &converted, is_filled: false },
                ],
                until: None,
                forecast: None,
                said: format::rate,
                round_up: round_up_bytes,
            }))
            (area(&Area {
                name: "Backlog",
                lines: &[Line { name: "backlog", class: "c-left", points: &backlog, is_filled: true }],
                until: drained.map(|(_, late)| late),
                forecast,
                said: format::bytes_f64,
                round_up: round_up_bytes,
            }))
        }
    }
}
