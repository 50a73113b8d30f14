//! Dates page: calendar, totals of each date, and outliers.

use crate::charts::{bars, heatmap, meter};
use crate::format;
use crate::frame::Viewer;
use crate::parts::{actions, facts, link, pager, state, states, time};
use crate::text;
use chrono::{DateTime, Datelike, NaiveDate, Utc};
use maud::{Markup, html};
use millwork_manifest::{FileState, RunState};

/// Weeks of the calendar on this page: one year.
const WEEKS: u32 = 53;
/// Weeks of the calendar on other pages.
pub const FEW_WEEKS: u32 = 30;
/// Limit of dates in the chart of rows.
const BARS: usize = 60;
/// Limit of dates on a page of the table: 20. With the calendar of a year above, the page remains below 150 kB.
const ROWS: usize = 20;
/// Number of earlier dates of the same weekday that a date is compared with, and the minimum of them with data.
const COMPARED: (usize, usize) = (14, 3);
/// Shares of the median below and above which a date is an outlier.
const ODD: (f64, f64) = (0.5, 2.0);

/// Totals of a date.
#[derive(Clone, Debug)]
pub struct DateNumbers {
    /// The date.
    pub date: NaiveDate,
    /// States with number and bytes of the files in each.
    pub files: Vec<(FileState, u64, u64)>,
    /// States with the number of runs in each.
    pub runs: Vec<(RunState, u64)>,
    /// Reasons with the number of files refused for each.
    pub refused: Vec<(String, u64)>,
    /// Rows of the committed runs.
    pub rows: u64,
    /// Lines that the committed runs rejected.
    pub rejected: u64,
    /// Bytes of Parquet output of the committed runs.
    pub output_bytes: u64,
    /// Arrival time of the oldest pending file.
    pub oldest_pending: Option<DateTime<Utc>>,
    /// Time of the last commit of a run.
    pub last_commit: Option<DateTime<Utc>>,
}

impl DateNumbers {
    /// Number of files in a state.
    pub fn of(&self, state: FileState) -> u64 {
        self.files.iter().filter(|(known, ..)| *known == state).map(|(_, files, _)| files).sum()
    }

    /// Number of input files: all except refused ones.
    pub fn known(&self) -> u64 {
        self.files.iter().filter(|(state, ..)| *state != FileState::Quarantined).map(|(_, files, _)| files).sum()
    }

    fn bytes(&self, completed_only: bool) -> u64 {
        let counts = |state: FileState| {
            if completed_only { state == FileState::Completed } else { state != FileState::Quarantined }
        };
        self.files.iter().filter(|(state, ..)| counts(*state)).map(|(.., bytes)| bytes).sum()
    }

    /// Converted share of the known bytes; of the files, if all are empty.
    fn done(&self) -> f64 {
        let (part, whole) = match self.bytes(false) {
            0 => (self.of(FileState::Completed), self.known()),
            whole => (self.bytes(true), whole),
        };
        if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
    }

    fn runs_in(&self, state: RunState) -> u64 {
        self.runs.iter().filter(|(known, _)| *known == state).map(|(_, runs)| runs).sum()
    }

    fn left(&self) -> Option<&'static str> {
        let open = self.of(FileState::Pending) + self.of(FileState::Manifested) + self.of(FileState::Processing);
        match (self.of(FileState::Failed) + self.runs_in(RunState::Failed), open, self.of(FileState::Quarantined)) {
            (1.., ..) => Some("bad"),
            (0, 1.., _) => Some("work"),
            (0, 0, 1..) => Some("warn"),
            _ => None,
        }
    }

    /// State of the date as text.
    pub fn said(&self) -> String {
        let mut parts = vec![format!(
            "{} of {} converted",
            format::percent(self.of(FileState::Completed), self.known()),
            format::counted(self.known(), "file")
        )];
        for state in [FileState::Failed, FileState::Quarantined] {
            if self.of(state) > 0 {
                parts.push(format!("{} {}", format::count(self.of(state)), state.as_str()));
            }
        }
        parts.join(", ")
    }
}

/// Outliers: dates with less than half or more than twice the median rows of earlier dates of the same weekday, with
/// their ratio.
pub fn odd(dates: &[DateNumbers]) -> Vec<(NaiveDate, f64)> {
    let mut found = Vec::new();
    for date in dates {
        let is_compared = |other: &&DateNumbers| {
            other.date < date.date && other.date.weekday() == date.date.weekday() && other.rows > 0
        };
        let mut before: Vec<&DateNumbers> = dates.iter().filter(is_compared).collect();
        before.sort_by_key(|other| std::cmp::Reverse(other.date));
        let mut rows: Vec<u64> = before.iter().take(COMPARED.0).map(|other| other.rows).collect();
        rows.sort_unstable();
        let Some(median) = rows.get(rows.len() / 2).filter(|_| rows.len() >= COMPARED.1) else { continue };
        let share = date.rows as f64 / *median as f64;
        // Exception for a date still in conversion: few rows are expected.
        if (share < ODD.0 && date.left() != Some("work")) || share > ODD.1 {
            found.push((date.date, share));
        }
    }
    found
}

/// Calendar of a number of weeks, up to the last date with data.
pub fn calendar(dates: &[DateNumbers], weeks: u32) -> Markup {
    let odd = odd(dates);
    let days: Vec<heatmap::Day> = dates
        .iter()
        .map(|date| heatmap::Day {
            date: date.date,
            done: date.done(),
            left: date.left(),
            said: date.said(),
            is_odd: odd.iter().any(|(known, _)| *known == date.date),
        })
        .collect();
    let Some(last) = days.iter().map(|day| day.date).max() else {
        return html! { p.muted { "The first date appears by itself." } };
    };
    heatmap::calendar(&days, last, weeks, |date| link::date_path(&date.to_string()))
}

/// Renders the page of all dates, newest first. The table begins at the date `first`, or at the next older one.
pub fn page(dates: &[DateNumbers], first: Option<NaiveDate>, now: DateTime<Utc>) -> Markup {
    let odd = odd(dates);
    html! {
        div.head { h1 { "Dates" } p.muted { "Each date of data: how much of it is converted, and what is left." } }
        @if dates.is_empty() { (states::empty("No date yet", "The first date appears by itself, when a file of it arrives.", Some("millwork up --demo"))) } @else {
            (facts::panel("calendar", "Calendar", Some(key()), &html! { div.scroll.newest tabindex="0" role="group" aria-label="Calendar" { (calendar(dates, WEEKS)) } }))
            @if !odd.is_empty() {
                div.banner.warn { strong { "Unlike other weeks: " } @for (index, (date, share)) in odd.iter().take(8).enumerate() { @if index > 0 { ", " } (link::date(&date.to_string())) " has " (format!("{:.0} %", share * 100.0)) " of the usual rows" } }
            }
            (facts::panel("rows", "Rows by date", None, &rows(dates, &odd)))
            (table(dates, first, now))
        }
    }
}

fn key() -> Markup {
    html! {
        ul.key {
            @for (class, name) in [("done", "done"), ("work", "in work"), ("bad", "failed"), ("warn", "refused")] { li { span.swatch.(class) aria-hidden="true" {} (name) } }
            li { span.swatch.odd aria-hidden="true" {} "unlike other weeks" }
            li { "filled: share that is done" }
        }
    }
}

fn rows(dates: &[DateNumbers], odd: &[(NaiveDate, f64)]) -> Markup {
    let mut newest: Vec<&DateNumbers> = dates.iter().collect();
    newest.sort_by_key(|date| std::cmp::Reverse(date.date));
    let bars: Vec<bars::Bar> = newest
        .iter()
        .take(BARS)
        .rev()
        .map(|date| bars::Bar {
            name: date.date.to_string(),
            value: date.rows as f64,
            said: format!("{} rows", format::count(date.rows)),
            is_odd: odd.iter().any(|(known, _)| *known == date.date),
            link: Some(link::date_path(&date.date.to_string())),
        })
        .collect();
    bars::bars(&bars, "Rows by date", ["date", "rows"], |rows| format::short_count(rows as u64))
}

fn table(dates: &[DateNumbers], first: Option<NaiveDate>, now: DateTime<Utc>) -> Markup {
    let mut left = dates.iter().filter(|date| first.is_none_or(|first| date.date <= first));
    let shown: Vec<&DateNumbers> = left.by_ref().take(ROWS).collect();
    let (first, next) = (first.map(|date| date.to_string()), left.next().map(|date| date.date.to_string()));
    html! {
        table.cards {
            caption.visually-hidden { "Dates, newest first" }
            thead { tr { th scope="col" { "Date" } th scope="col" { "Done" } th.num scope="col" { "Files" } th.num scope="col" { "Failed" } th.num scope="col" { "Refused" } th.num scope="col" { "Rows" } th.num scope="col" { "Rejected" } th.num scope="col" { "Output" } th scope="col" { "Committed" } } }
            tbody { @for date in &shown { (row(date, now)) } }
        }
        (pager::pager("/ui/dates", &[("cursor", first.as_deref())], next.as_deref(), shown.len(), "date"))
    }
}

fn row(date: &DateNumbers, now: DateTime<Utc>) -> Markup {
    let name = date.date.to_string();
    html! {
        tr id=(format!("date-{name}")) data-href=(link::date_path(&name)) data-id=(name) {
            td.main data-label="Date" { (link::date(&name)) " " span.muted { (date.date.format("%a").to_string()) } }
            td.wide data-label="Done" { span.slots { (bar(date)) span.num { (format::percent(date.of(FileState::Completed), date.known())) } } }
            td.num data-label="Files" { (link::count(date.known())) }
            td.num.s-bad[date.of(FileState::Failed) > 0] data-label="Failed" { (link::count(date.of(FileState::Failed))) }
            td.num data-label="Refused" { (link::count(date.of(FileState::Quarantined))) }
            td.num data-label="Rows" { (link::count(date.rows)) }
            td.num data-label="Rejected" { (link::count(date.rejected)) }
            td.num data-label="Output" { (link::size(date.output_bytes)) }
            td data-label="Committed" { @match date.last_commit { Some(at) => (time::ago(at, now)), None => (link::none()) } }
        }
    }
}

fn bar(date: &DateNumbers) -> Markup {
    let part = |state: FileState, class| meter::Part {
        amount: date.of(state) as f64,
        class,
        said: format!("{} {}", format::count(date.of(state)), state.as_str()),
    };
    let parts = [
        part(FileState::Completed, "done"),
        part(FileState::Processing, "work"),
        part(FileState::Manifested, "idle"),
        part(FileState::Pending, "idle"),
        part(FileState::Failed, "bad"),
    ];
    meter::bar(&parts, date.known() as f64, "files")
}

/// Renders the page of one date. `why` is its diagnosis.
pub fn one(date: &DateNumbers, why: Option<&Markup>, viewer: &Viewer, back: &str, now: DateTime<Utc>) -> Markup {
    let name = date.date.to_string();
    html! {
        div.head.split {
            div {
            p.kicker { (date.date.format("%A").to_string()) @if let Some(at) = date.last_commit { span.muted { " · last commit " (time::ago(at, now)) } } }
            h1.num { (name) }
            }
            (actions::of_date(&name, date.of(FileState::Pending) > 0, viewer, back))
        }
        @if let Some(why) = why { (why) }
        @if !date.files.is_empty() || !date.runs.is_empty() { (known(date, now)) }
    }
}

/// Totals of a date: files, runs and refused files.
fn known(date: &DateNumbers, now: DateTime<Utc>) -> Markup {
    let name = date.date.to_string();
    html! {
        (facts::facts(&[
            ("files", link::count(date.known())),
            ("input", link::size(date.bytes(false))),
            ("rows", link::count(date.rows)),
            ("rejected lines", link::count(date.rejected)),
            ("output", link::size(date.output_bytes)),
            ("oldest pending", html! { @match date.oldest_pending { Some(at) => (time::ago(at, now)), None => span.muted { "none" } } }),
        ]))
        section.panel aria-label="Files" {
            (bar(date))
            (steps(date, &name))
        }
        div.columns {
        (runs(date, &name))
        @if !date.refused.is_empty() { (refused(date, &name)) }
        }
    }
}

fn steps(date: &DateNumbers, name: &str) -> Markup {
    html! {
        div.steps.spaced {
            @for state in FileState::ALL {
                @let (sign, class) = state::file_sign(state);
                a.step.(class).none[date.of(state) == 0] href=(link::query("/ui/files", &[("state", Some(state.as_str())), ("date", Some(name))])) {
                    (state::sign(sign)) strong.num { (format::count(date.of(state))) } span { (state.as_str()) }
                }
            }
        }
    }
}

fn runs(date: &DateNumbers, name: &str) -> Markup {
    let all = html! { a href=(link::query("/ui/runs", &[("date", Some(name))])) { "all runs of this date" } };
    let list = html! {
        @if date.runs.is_empty() { p.muted { "None has ended yet." } }
        ul.rows { @for (state, runs) in &date.runs { li { a href=(link::query("/ui/runs", &[("state", Some(state.as_str())), ("date", Some(name))])) { (state::of_run_state(*state)) } span.push {} span.num { (format::count(*runs)) } } } }
    };
    facts::panel("runs", "Runs", Some(all), &list)
}

fn refused(date: &DateNumbers, name: &str) -> Markup {
    let all = html! { a href=(link::query("/ui/quarantine", &[("date", Some(name))])) { "all" } };
    let list = html! {
        ul.rows { @for (reason, files) in &date.refused { li { span.tag { (text::shown(reason)) } span.push {} span.num { (format::count(*files)) } } } }
    };
    facts::panel("refused", "Refused", Some(all), &list)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(day: u32, rows: u64, state: FileState) -> DateNumbers {
        let date = NaiveDate::from_ymd_opt(2025, 12, day).unwrap();
        let files = vec![(state, 10, 1000)];
        DateNumbers {
            date,
            files,
            runs: Vec::new(),
            refused: Vec::new(),
            rows,
            rejected: 0,
            output_bytes: 0,
            oldest_pending: None,
            last_commit: None,
        }
    }

    #[test]
    fn an_absent_upload_is_odd_and_one_in_work_is_not() {
        let mut dates: Vec<DateNumbers> = [1, 8, 15].map(|day| date(day, 1000, FileState::Completed)).into();
        dates.push(date(22, 300, FileState::Completed));
        assert_eq!(odd(&dates).iter().map(|(date, _)| date.day()).collect::<Vec<_>>(), [22]);
        dates.pop();
        dates.push(date(22, 300, FileState::Processing));
        assert!(odd(&dates).is_empty());
    }

    #[test]
    fn a_table_of_many_dates_has_pages() {
        let newest_first: Vec<DateNumbers> = (1..=31).rev().map(|day| date(day, 1, FileState::Completed)).collect();
        let shown = |first: Option<u32>| {
            let first = first.and_then(|day| NaiveDate::from_ymd_opt(2025, 12, day));
            page(&newest_first, first, "2025-12-31T00:00:00Z".parse().unwrap()).0
        };
        let newest = shown(None);
        assert!(newest.contains("id=\"date-2025-12-31\"") && newest.contains("id=\"date-2025-12-12\""));
        assert!(!newest.contains("id=\"date-2025-12-11\"") && newest.contains("/ui/dates?cursor=2025-12-11"));
        let older = shown(Some(11));
        assert!(older.contains("id=\"date-2025-12-11\"") && !older.contains("id=\"date-2025-12-12\""));
        assert!(!older.contains("rel=\"next\""));
    }

    #[test]
    fn a_date_is_as_full_as_its_bytes_are_converted() {
        let mut half = date(1, 1, FileState::Completed);
        half.files.push((FileState::Pending, 1, 1000));
        assert!((half.done() - 0.5).abs() < 1e-9 && half.left() == Some("work"));
        assert_eq!(half.said(), "90 % of 11 files converted");
    }
}
