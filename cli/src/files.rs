//! `millwork files` and `millwork quarantine`: input files, as the scheduler's store remembers them.

use crate::client::{Client, ClientOptions};
use crate::runs::text;
use crate::table;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
use std::process::ExitCode;

/// List input files, in the order of arrival.
#[derive(Args)]
pub(crate) struct Options {
    /// Show this file alone, with its timeline
    #[arg(value_name = "URI", conflicts_with_all = ["status", "date"])]
    uri: Option<String>,

    /// Only files in this state: pending, manifested, processing, completed, failed, quarantined
    #[arg(long, value_name = "STATE")]
    status: Option<String>,

    #[command(flatten)]
    list: ListOptions,
}

#[derive(Args)]
struct ListOptions {
    /// Only files of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<String>,

    /// How many files at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Show files that were refused on arrival.
#[derive(Args)]
pub(crate) struct QuarantineOptions {
    #[command(subcommand)]
    command: QuarantineCommand,
}

#[derive(Subcommand)]
enum QuarantineCommand {
    /// List them, with the reason and where they were moved to
    List(ListOptions),
}

pub(crate) async fn files(options: Options) -> anyhow::Result<ExitCode> {
    match options.uri {
        Some(uri) => show(uri, &options.list).await?,
        None => list("files", options.status, options.list).await?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn quarantine(options: QuarantineOptions) -> anyhow::Result<ExitCode> {
    let QuarantineCommand::List(options) = options.command;
    list("quarantine", None, options).await?;
    Ok(ExitCode::SUCCESS)
}

async fn list(path: &str, status: Option<String>, options: ListOptions) -> anyhow::Result<()> {
    let filter = [("status", status), ("date", options.date)];
    let (items, has_more) = Client::new(&options.client)?.list(path, &filter, options.limit as usize).await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&json!({"files": items}))?);
        return Ok(());
    }
    let row = |file: &Value| {
        let size = table::bytes(file["size_bytes"].as_u64().unwrap_or_default());
        let place = if file["manifest_id"].is_null() { &file["quarantine_uri"] } else { &file["manifest_id"] };
        [text(&file["uri"]), text(&file["state"]), size, text(&file["reason"]), text(place)]
    };
    table::print(["FILE", "STATE", "SIZE", "REASON", "WHERE"], &items.iter().map(row).collect::<Vec<_>>());
    if has_more {
        eprintln!("there are more: --limit shows them");
    }
    Ok(())
}

async fn show(uri: String, options: &ListOptions) -> anyhow::Result<()> {
    let file = Client::new(&options.client)?.get("files/by-uri", &[("uri", uri)]).await?;
    if options.json {
        println!("{}", serde_json::to_string_pretty(&file)?);
        return Ok(());
    }
    println!("{}  {}", text(&file["uri"]), text(&file["state"]));
    for moment in file["timeline"].as_array().into_iter().flatten() {
        println!("  {}  {}  {}", text(&moment["at"]), text(&moment["state"]), text(&moment["detail"]));
    }
    Ok(())
}
