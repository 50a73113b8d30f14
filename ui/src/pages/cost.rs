//! Cost page: actual cost of conversions compared with AWS Glue.

use crate::charts::bars;
use crate::format;
use crate::parts::{facts, link, pager, states};
use chrono::NaiveDate;
use maud::{Markup, html};

/// Resources used by runs, and their cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Spent {
    /// Committed runs.
    pub runs: u64,
    /// Stored bytes of their input.
    pub input_bytes: u64,
    /// CPU seconds of their tasks; zero if not measured.
    pub cpu_seconds: f64,
    /// Requests to object storage, estimated.
    pub requests: u64,
    /// Cost of computing, in dollars.
    pub compute: f64,
    /// Cost of requests, in dollars.
    pub storage: f64,
    /// Total cost, in dollars.
    pub total: f64,
    /// Estimated cost of the same manifests as AWS Glue jobs, in dollars.
    pub glue: f64,
}

/// Content of the page.
pub struct CostPage<'a> {
    /// Resources and cost of each date, newest first.
    pub dates: &'a [(NaiveDate, Spent)],
    /// First date of the table; none for the newest.
    pub first: Option<NaiveDate>,
    /// Total of all dates.
    pub sum: Spent,
    /// Prices with their names.
    pub prices: &'a [(&'a str, f64)],
}

/// Limit of dates on a page of the table.
const ROWS: usize = 100;

fn times(spent: &Spent) -> String {
    if spent.total > 0.0 {
        format!("{} ×", format::short_count(two_digits(spent.glue / spent.total)))
    } else {
        "–".to_owned()
    }
}

/// Ratio rounded to two significant digits, because estimates are no more exact.
fn two_digits(ratio: f64) -> u64 {
    let unit = 10f64.powf((ratio.max(1.0).log10().floor() - 1.0).max(0.0));
    ((ratio / unit).round() * unit) as u64
}

/// Renders the page.
pub fn page(page: &CostPage<'_>) -> Markup {
    html! {
        div.head { h1 { "Cost" } p.muted { "What committed runs took, at the scheduler's prices; beside it, the same manifests as jobs of AWS Glue." } }
        @if page.dates.is_empty() { (states::empty("Nothing was converted yet", "What a run took is known when it is committed.", None)) } @else {
            (totals(&page.sum))
            (facts::panel("by-date", "By date", None, &chart(page)))
            (table(page))
        }
        details.panel {
            summary { "Prices" }
            dl.keys { @for (name, price) in page.prices { div { dt { code { (name) } } dd { (price) } } } }
            p.muted { "Another table of prices is named with --prices; docs/prices.toml is the one that comes with Millwork." }
        }
    }
}

fn totals(sum: &Spent) -> Markup {
    facts::facts(&[
        ("in all", html! { (format::dollars(sum.total)) }),
        (
            "computing",
            html! { (format::dollars(sum.compute)) span.muted { " " (format::duration(sum.cpu_seconds)) " of CPU" } },
        ),
        (
            "requests",
            html! { (format::dollars(sum.storage)) span.muted { @if sum.requests > 0 { " about " (format::short_count(sum.requests)) } @else { " no object storage" } } },
        ),
        ("AWS Glue", html! { (format::dollars(sum.glue)) span.muted { " " (times(sum)) " as much" } }),
        ("runs", link::count(sum.runs)),
        ("input", link::size(sum.input_bytes)),
    ])
}

fn table(page: &CostPage<'_>) -> Markup {
    let mut left = page.dates.iter().filter(|(date, _)| page.first.is_none_or(|first| *date <= first));
    let shown: Vec<_> = left.by_ref().take(ROWS).collect();
    let (first, next) = (page.first.map(|date| date.to_string()), left.next().map(|(date, _)| date.to_string()));
    html! {
        table.cards {
            caption.visually-hidden { "Cost by date, newest first" }
            thead { tr { th scope="col" { "Date" } th.num scope="col" { "Runs" } th.num scope="col" { "Input" } th.num scope="col" { "CPU" } th.num scope="col" { "Computing" } th.num scope="col" { "Requests" } th.num scope="col" { "Total" } th.num scope="col" { "AWS Glue" } th.num scope="col" { "× as much" } } }
            tbody { @for (date, spent) in shown.iter().copied() { (row(*date, spent)) } }
        }
        (pager::pager("/ui/cost", &[("cursor", first.as_deref())], next.as_deref(), shown.len(), "date"))
    }
}

fn row(date: NaiveDate, spent: &Spent) -> Markup {
    html! {
        tr {
            td.main data-label="Date" { (link::date(&date.to_string())) }
            td.num data-label="Runs" { (link::count(spent.runs)) }
            td.num data-label="Input" { (link::size(spent.input_bytes)) }
            td.num data-label="CPU" { @if spent.cpu_seconds > 0.0 { (format::duration(spent.cpu_seconds)) } @else { span.muted { "not counted" } } }
            td.num data-label="Computing" { (format::dollars(spent.compute)) }
            td.num data-label="Requests" { (format::dollars(spent.storage)) }
            td.num data-label="Total" { strong { (format::dollars(spent.total)) } }
            td.num data-label="AWS Glue" { (format::dollars(spent.glue)) }
            td.num data-label="× as much" { (times(spent)) }
        }
    }
}

fn chart(page: &CostPage<'_>) -> Markup {
    let bars: Vec<bars::Bar> = page
        .dates
        .iter()
        .take(60)
        .rev()
        .map(|(date, spent)| bars::Bar {
            name: date.to_string(),
            value: spent.total,
            said: format::dollars(spent.total),
            is_odd: false,
            link: Some(link::date_path(&date.to_string())),
        })
        .collect();
    bars::bars(&bars, "Cost by date", ["date", "cost"], format::dollars)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_has_two_digits() {
        assert_eq!([0.4, 7.6, 99.4, 1_946_764.0].map(two_digits), [0, 8, 99, 1_900_000]);
        assert_eq!(times(&Spent { total: 0.5, glue: 1_000_000.0, ..Spent::default() }), "2 M ×");
    }
}
