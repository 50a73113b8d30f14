//! `millwork cost`: costs of runs, compared with AWS Glue.

use crate::client::{Client, ClientOptions};
use crate::dates::DateRange;
use crate::list::print_json;
use crate::table::{self, dollars};
use clap::{Args, ValueEnum};
use millwork_api::{Cost, Costs, Prices, RunCost, Used, path};
use millwork_scheduler::read_prices;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Show what runs cost, beside AWS Glue at the settings of the pipeline that Millwork replaces.
///
/// CPU seconds and requests are what the runs took; the prices are the scheduler's, or those of a file of your own in the form
/// of docs/prices.toml. Each sum can be reckoned by hand: CPU seconds / 3,600 x vcpu_hour, requests / 1,000 x their price.
///
/// Examples:
///   millwork cost --by date --from 2025-12-01
///   millwork cost 2025-12-23-batch-0001 --prices my-prices.toml
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Run to show instead of dates
    #[arg(value_name = "RUN", conflicts_with_all = ["from", "to", "by"])]
    run: Option<String>,

    #[command(flatten)]
    range: DateRange,

    /// Subject of the sums
    #[arg(long, value_enum, default_value_t = By::Date)]
    by: By,

    /// File of prices, as docs/prices.toml is written [default: the scheduler's]
    #[arg(long, env = "MILLWORK_PRICES", value_name = "FILE")]
    prices: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Grouping of sums.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum By {
    /// The runs of each date
    Date,
    /// The runs of each month
    Month,
}

pub(crate) async fn cost(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    match &options.run {
        Some(run) => {
            let mut cost: RunCost = client.get(&path::run_part(run, "cost"), &()).await?;
            reprice(options.prices.as_deref(), &mut cost.prices)?;
            cost.cost = Cost::of(&cost.used, &cost.prices);
            if options.json {
                print_json(&cost)?;
            } else {
                print(&[(cost.manifest_id.to_string(), cost.used)], &cost.prices, "RUN");
            }
        }
        None => {
            let mut costs: Costs = client.get(path::COST, &options.range.query()).await?;
            reprice(options.prices.as_deref(), &mut costs.prices)?;
            let prices = costs.prices;
            costs.cost = Cost::of(&costs.used, &prices);
            costs.items.iter_mut().for_each(|date| date.cost = Cost::of(&date.used, &prices));
            if options.json {
                print_json(&costs)?;
            } else {
                print(&rows(&costs, options.by), &prices, if options.by == By::Date { "DATE" } else { "MONTH" });
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn reprice(path: Option<&Path>, prices: &mut Prices) -> anyhow::Result<()> {
    if path.is_some() {
        *prices = read_prices(path)?;
    }
    Ok(())
}

/// Resources used on each date, or in each month, with a total.
fn rows(costs: &Costs, by: By) -> Vec<(String, Used)> {
    let mut rows: Vec<(String, Used)> = Vec::new();
    for date in &costs.items {
        let mut name = date.date.to_string();
        if by == By::Month {
            name.truncate("2025-12".len());
        }
        match rows.last_mut().filter(|(last, _)| *last == name) {
            Some((_, used)) => *used = used.plus(date.used),
            None => rows.push((name, date.used)),
        }
    }
    if rows.len() > 1 {
        rows.push(("all".to_owned(), costs.used));
    }
    rows
}

fn print(rows: &[(String, Used)], prices: &Prices, what: &'static str) {
    let headings = [what, "RUNS", "INPUT", "CPU S", "COMPUTE", "REQUESTS", "USD", "GLUE", "TIMES"];
    let row = |(name, used): &(String, Used)| {
        let cost = Cost::of(used, prices);
        [
            name.clone(),
            used.runs.to_string(),
            table::bytes(used.input_bytes),
            cpu_seconds(used.cpu_seconds),
            dollars(cost.compute),
            dollars(cost.requests),
            dollars(cost.total),
            dollars(cost.glue),
            cost.times.map_or_else(|| "-".to_owned(), times),
        ]
    };
    table::print(headings, &rows.iter().map(row).collect::<Vec<_>>());
}

/// CPU seconds, with three decimals if small.
fn cpu_seconds(seconds: f64) -> String {
    if seconds < 10.0 { format!("{seconds:.3}") } else { format!("{seconds:.1}") }
}

/// Ratio of the cost of AWS Glue to this cost as text, in millions if it is large.
fn times(times: f64) -> String {
    if times < 1e6 { format!("{times:.0}") } else { format!("{:.0} M", times / 1e6) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_costs_something() {
        assert_eq!([0.003_549, 9.5, 2640.0].map(cpu_seconds), ["0.004", "9.500", "2640.0"]);
        assert_eq!([1.4, 2086.2, 46_674_291.0].map(times), ["1", "2086", "47 M"]);
    }
}
