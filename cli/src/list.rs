//! What all listings have in common.

use crate::client::{Client, ClientOptions};
use crate::table;
use clap::Args;
use serde_json::{Value, json};

/// How a listing is cut and shown.
#[derive(Args)]
pub(crate) struct ListOptions {
    /// Only those of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,

    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// A listing: where it is asked for, what it is called, and how people see it.
pub(crate) struct Listing<const N: usize> {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) headings: [&'static str; N],
    pub(crate) row: fn(&Value) -> [String; N],
}

impl<const N: usize> Listing<N> {
    /// Prints what passes a filter.
    pub(crate) async fn print(
        &self,
        options: &ListOptions,
        filter: &[(&'static str, Option<String>)],
    ) -> anyhow::Result<()> {
        let date = [("date", options.date.clone())];
        let filter: Vec<_> = filter.iter().chain(&date).cloned().collect();
        let (items, has_more) = Client::new(&options.client)?.list(self.path, &filter, options.limit as usize).await?;
        if options.json {
            return print_json(&json!({self.name: items}));
        }
        table::print(self.headings, &items.iter().map(self.row).collect::<Vec<_>>());
        if has_more {
            eprintln!("there are more: --limit shows them");
        }
        Ok(())
    }
}

pub(crate) fn print_json(value: &Value) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}
