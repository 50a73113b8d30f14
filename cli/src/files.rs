//! `millwork files` and `millwork quarantine`: input files, as the scheduler's store remembers them.

use crate::client::Client;
use crate::list::{ListOptions, Listing, print_json, time};
use crate::table;
use clap::{Args, Subcommand};
use millwork_api::{AnyOf, File, FileDetail, FileQuery, QuarantineQuery, UriQuery, path};
use millwork_manifest::{FileState, ObjectUri, printable};
use std::process::ExitCode;

/// List input files: those of one state in the order of arrival.
#[derive(Args)]
pub(crate) struct Options {
    /// Show this file alone, with its timeline
    #[arg(value_name = "URI", conflicts_with_all = ["state", "date"])]
    uri: Option<ObjectUri>,

    /// Only files in these states, with commas between them: pending, manifested, processing, completed, failed, quarantined
    #[arg(long, alias = "status", value_name = "STATE,…")]
    state: Option<AnyOf<FileState>>,

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
        None => {
            let state = options.state.unwrap_or_default();
            let query = FileQuery { state, date: options.list.date, ..FileQuery::default() };
            listing(path::FILES).print(&options.list, query).await?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) async fn quarantine(options: QuarantineOptions) -> anyhow::Result<ExitCode> {
    let QuarantineCommand::List(options) = options.command;
    let query = QuarantineQuery { date: options.date, ..QuarantineQuery::default() };
    listing(path::QUARANTINE).print(&options, query).await?;
    Ok(ExitCode::SUCCESS)
}

fn listing(path: &'static str) -> Listing<File, 5> {
    Listing {
        path,
        name: "files",
        headings: ["FILE", "STATE", "SIZE", "REASON", "WHERE"],
        row: |file| {
            let place = file.manifest_id.as_ref().or(file.quarantine_uri.as_ref());
            let text = |text: Option<&String>| text.cloned().unwrap_or_default();
            [
                file.uri.clone(),
                file.state.to_string(),
                table::bytes(file.size_bytes),
                text(file.reason.as_ref()),
                text(place),
            ]
        },
    }
}

async fn show(uri: ObjectUri, options: &ListOptions) -> anyhow::Result<()> {
    let file: FileDetail = Client::new(&options.client)?.get(path::FILE, &UriQuery { uri }).await?;
    if options.json {
        return print_json(&file);
    }
    println!("{}  {}", printable(&file.file.uri), file.file.state);
    for moment in &file.timeline {
        let detail = printable(moment.detail.as_deref().unwrap_or_default());
        println!("  {}  {}  {detail}", time(moment.at), moment.state);
    }
    Ok(())
}
