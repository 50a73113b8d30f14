//! `millwork files` and `millwork quarantine`: input files, as the scheduler's store remembers them.

use crate::client::Client;
use crate::list::{ListOptions, Listing, print_json};
use crate::runs::text;
use crate::table;
use clap::{Args, Subcommand};
use millwork_manifest::printable;
use std::process::ExitCode;

/// List input files: those of one state in the order of arrival.
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

async fn list(path: &'static str, status: Option<String>, options: ListOptions) -> anyhow::Result<()> {
    let files = Listing {
        path,
        name: "files",
        headings: ["FILE", "STATE", "SIZE", "REASON", "WHERE"],
        row: |file| {
            let size = table::bytes(file["size_bytes"].as_u64().unwrap_or_default());
            let place = if file["manifest_id"].is_null() { &file["quarantine_uri"] } else { &file["manifest_id"] };
            [text(&file["uri"]), text(&file["state"]), size, text(&file["reason"]), text(place)]
        },
    };
    files.print(&options, &[("status", status)]).await
}

async fn show(uri: String, options: &ListOptions) -> anyhow::Result<()> {
    let file = Client::new(&options.client)?.get("files/by-uri", &[("uri", uri)]).await?;
    if options.json {
        return print_json(&file);
    }
    println!("{}  {}", printable(&text(&file["uri"])), text(&file["state"]));
    for moment in file["timeline"].as_array().into_iter().flatten() {
        println!("  {}  {}  {}", text(&moment["at"]), text(&moment["state"]), printable(&text(&moment["detail"])));
    }
    Ok(())
}
