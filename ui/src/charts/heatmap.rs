//! Calendar heat map: one cell for each date, filled by the converted share.

use chrono::{Datelike, Days, NaiveDate};
use maud::{Markup, html};

/// Date of the calendar.
pub struct Day {
    /// Date of the cell.
    pub date: NaiveDate,
    /// Converted share of the date's known input, 0 to 1.
    pub done: f64,
    /// CSS class of the remaining input: `work`, `bad` or `warn`; none if nothing remains.
    pub left: Option<&'static str>,
    /// State of the date as text.
    pub said: String,
    /// True if the date is an outlier.
    pub is_odd: bool,
}

const CELL: u32 = 16;
const LEFT: u32 = 28;
const TOP: u32 = 16;

/// Draws weeks from left to right and weekdays from top to bottom, up to a date. Dates without data are empty cells.
pub fn calendar(days: &[Day], until: NaiveDate, weeks: u32, link: fn(NaiveDate) -> String) -> Markup {
    let monday = until - Days::new(u64::from(until.weekday().num_days_from_monday()));
    let first = monday - Days::new(u64::from(weeks.saturating_sub(1)) * 7);
    let width = LEFT + weeks * CELL;
    let height = TOP + 7 * CELL;
    html! {
        svg.calendar.year[weeks > 40] viewBox=(format!("0 0 {width} {height}")) width=(width) height=(height) role="group" aria-label="Calendar of dates" {
            (labels(first, weeks))
            @for index in 0..weeks * 7 {
                @let date = first + Days::new(u64::from(index));
                @if date <= until {
                    @let (x, y) = (LEFT + index / 7 * CELL, TOP + index % 7 * CELL);
                    @match days.iter().find(|day| day.date == date) {
                        Some(day) => (cell(day, x, y, &link(date))),
                        None => rect.day.unknown x=(x) y=(y) { title { (date) ": nothing known" } },
                    }
                }
            }
        }
    }
}

/// Names of months above their first weeks, and of weekdays on the left.
fn labels(first: NaiveDate, weeks: u32) -> Markup {
    let months = (0..weeks).filter_map(|week| {
        let date = first + Days::new(u64::from(week) * 7);
        (date.day() <= 7).then(|| (LEFT + week * CELL, date.format("%b").to_string()))
    });
    html! {
        @for (x, month) in months { text.label x=(x) y="10" { (month) } }
        @for (row, name) in [(0u32, "Mo"), (2, "We"), (4, "Fr"), (6, "Su")] { text.label x="0" y=(TOP + row * CELL + 11) { (name) } }
    }
}

fn cell(day: &Day, x: u32, y: u32, link: &str) -> Markup {
    let height = (day.done.clamp(0.0, 1.0) * 13.0).round();
    html! {
        a href=(link) data-day {
            title { (day.date) ": " (day.said) }
            rect.day.known.(day.left.unwrap_or("done")) x=(x) y=(y) {}
            @if height > 0.0 { rect.fill.(day.left.unwrap_or("done")) x=(x) y=(f64::from(y) + 13.0 - height) height=(height) {} }
            @if day.left == Some("bad") { path.mark d=(format!("M{} {}l5 5m0-5l-5 5", x + 4, y + 4)) {} }
            @if day.left == Some("warn") { path.mark d=(format!("M{} {}v4m0 2v.5", x + 6, y + 3)) {} }
            @if day.is_odd { circle.odd cx=(x + 12) cy=(y + 1) r="2.5" {} }
        }
    }
}
