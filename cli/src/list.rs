//! Code shared by all listings.

use crate::client::{Client, ClientOptions};
use crate::table;
use clap::Args;
use millwork_api::PagedQuery;
use millwork_manifest::DatePrefix;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;

/// Options of a listing: its limit and its form.
#[derive(Args)]
pub(crate) struct ListOptions {
    /// Only those of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<DatePrefix>,

    /// Largest number of entries
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) client: ClientOptions,
}

/// A listing: path of the API, name of its items, and table columns.
pub(crate) struct Listing<T, const N: usize> {
    pub(crate) path: &'static str,
    pub(crate) name: &'static str,
    pub(crate) headings: [&'static str; N],
    pub(crate) row: fn(&T) -> [String; N],
}

impl<T: Serialize + DeserializeOwned, const N: usize> Listing<T, N> {
    /// Prints the items that match a query.
    pub(crate) async fn print(&self, options: &ListOptions, query: impl PagedQuery + Serialize) -> anyhow::Result<()> {
        let client = Client::new(&options.client)?;
        let (items, has_more) = client.list(self.path, query, options.limit as usize).await?;
        if options.json {
            return print_json(&BTreeMap::from([(self.name, items)]));
        }
        table::print(self.headings, &items.iter().map(self.row).collect::<Vec<_>>());
        if has_more {
            eprintln!("there are more: --limit shows them");
        }
        Ok(())
    }
}

pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// A time in tables, with a precision of a second.
pub(crate) fn time(at: chrono::DateTime<chrono::Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}
