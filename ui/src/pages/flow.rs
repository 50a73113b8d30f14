//! The flow over time: what came, what was converted, what is left.

use crate::charts::area::{Area, Line, Point, area};
use crate::charts::round_up_bytes;
use crate::format;
use chrono::{DateTime, Utc};
use maud::{Markup, html};

/// Measurements of one span of time.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Beginning of the span.
    pub at: DateTime<Utc>,
    /// Bytes that came a second; none, if nobody watched.
    pub arrived: Option<f64>,
    /// Bytes of input converted a second.
    pub converted: Option<f64>,
    /// Bytes that were left at its end.
    pub backlog: Option<f64>,
}

/// Charts of the flow; `drained` is when the backlog is expected to be done, at the earliest and at the latest.
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
