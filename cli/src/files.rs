//! `millwork files` and `millwork quarantine`: input files, as the scheduler's store knows them.

use crate::address::{parse_prefix, parse_uri};
use crate::client::{Client, ClientOptions};
use crate::list::{ListOptions, Listing, print_json, time};
use crate::plans::{self, ChangeOptions};
use crate::{filter, table};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millwork_api::{Action, AnyOf, File, FileDetail, FileQuery, QuarantineQuery, Select, UriQuery, path};
use millwork_manifest::{DatePrefix, FileState, ObjectUri, printable};
use std::process::ExitCode;

/// Show input files: where each is in its life.
///
/// Without a subcommand, lists them, or shows the one that is named.
///
/// Examples:
///   millwork files list --state pending --prefix s3://acme-input/f1/
///   millwork files list --state failed,quarantined --since 24h
///   millwork files show s3://acme-input/f1/2025-12-23-0193.ndjson.gz
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    /// Show this file alone, with its timeline
    #[arg(value_name = "URI", value_parser = parse_uri, conflicts_with_all = ["state", "date", "prefix", "refused_for", "since", "until"])]
    uri: Option<ObjectUri>,

    #[command(flatten)]
    list: ListFilesOptions,
}

#[derive(Subcommand)]
enum Command {
    /// List files: those of one state in the order of arrival
    #[command(
        after_help = "Examples:\n  millwork files list --state pending --prefix s3://acme-input/f1/\n  millwork files list --state failed,quarantined --since 24h --json"
    )]
    List(ListFilesOptions),
    /// Show one file, with its timeline
    #[command(
        after_help = "Examples:\n  millwork files show s3://acme-input/f1/2025-12-23-0193.ndjson.gz\n  millwork files show s3://acme-input/f1/2025-12-23-0193.ndjson.gz --json"
    )]
    Show(ShowOptions),
}

#[derive(Args)]
struct ShowOptions {
    /// URI of the file, or its path
    #[arg(value_name = "URI", value_parser = parse_uri)]
    uri: ObjectUri,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct ListFilesOptions {
    /// Only files in these states, with commas between them: pending, manifested, processing, completed, failed, quarantined
    #[arg(long, alias = "status", value_name = "STATE,…")]
    state: Option<AnyOf<FileState>>,

    /// Only files whose URI has this prefix; a path is made one
    #[arg(long, value_name = "URI", value_parser = parse_prefix)]
    prefix: Option<String>,

    /// Only files that were refused or failed for this reason
    #[arg(long, alias = "reason", value_name = "REASON")]
    refused_for: Option<String>,

    /// Only files that were first seen at this time or later: 2025-12-23T10:00:00Z, or how long ago, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = filter::time)]
    since: Option<DateTime<Utc>>,

    /// Only files that were first seen before this time
    #[arg(long, value_name = "TIME", value_parser = filter::time)]
    until: Option<DateTime<Utc>>,

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
    #[command(
        after_help = "Examples:\n  millwork quarantine list --date 2025-12-23\n  millwork quarantine list --json"
    )]
    List(ListOptions),
    /// Take quarantined and failed files back, if the rules of today accept them
    #[command(
        after_help = "Examples:\n  millwork quarantine redrive s3://acme-input/f1/2025-12-23-0193.ndjson.gz\n  millwork quarantine redrive --refused-for too-small --dry-run"
    )]
    Redrive(RedriveOptions),
}

/// Changes are shown first, and made after a yes: on a terminal one is asked, elsewhere --yes says it.
#[derive(Args)]
struct RedriveOptions {
    /// The files' URIs, or paths
    #[arg(value_name = "URI", value_parser = parse_uri)]
    uris: Vec<ObjectUri>,

    /// Only files in these states: quarantined, failed
    #[arg(long, value_name = "STATE,…", conflicts_with = "uris")]
    state: Option<AnyOf<FileState>>,

    /// Only files that were refused or failed for this reason
    #[arg(long = "refused-for", value_name = "REASON", conflicts_with = "uris")]
    refused_for: Option<String>,

    /// Only files of this date
    #[arg(long, value_name = "YYYY-MM-DD", conflicts_with = "uris")]
    date: Option<DatePrefix>,

    /// Only files whose URI has this prefix; a path is made one
    #[arg(long, value_name = "URI", value_parser = parse_prefix, conflicts_with = "uris")]
    prefix: Option<String>,

    #[command(flatten)]
    change: ChangeOptions,
}

pub(crate) async fn files(options: Options) -> anyhow::Result<ExitCode> {
    match (options.command, options.uri) {
        (Some(Command::Show(ShowOptions { uri, json, client })), _) => show(uri, json, &client).await?,
        (Some(Command::List(options)), _) => list(options).await?,
        (None, Some(uri)) => show(uri, options.list.list.json, &options.list.list.client).await?,
        (None, None) => list(options.list).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: ListFilesOptions) -> anyhow::Result<()> {
    let query = FileQuery {
        state: options.state.unwrap_or_default(),
        date: options.list.date,
        prefix: options.prefix,
        reason: options.refused_for,
        since: options.since,
        until: options.until,
        ..FileQuery::default()
    };
    listing(path::FILES).print(&options.list, query).await
}

pub(crate) async fn quarantine(options: QuarantineOptions) -> anyhow::Result<ExitCode> {
    let options = match options.command {
        QuarantineCommand::List(options) => options,
        QuarantineCommand::Redrive(options) => return redrive(options).await,
    };
    let query = QuarantineQuery { date: options.date, ..QuarantineQuery::default() };
    listing(path::QUARANTINE).print(&options, query).await?;
    Ok(ExitCode::SUCCESS)
}

async fn redrive(options: RedriveOptions) -> anyhow::Result<ExitCode> {
    let select = match options.uris.as_slice() {
        [] => Select::Files(FileQuery {
            state: options.state.unwrap_or_default(),
            reason: options.refused_for,
            date: options.date,
            prefix: options.prefix,
            ..FileQuery::default()
        }),
        uris => Select::Ids(uris.iter().map(ToString::to_string).collect()),
    };
    plans::change(Action::Redrive, select, &options.change).await
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
                table::size(file.size_bytes, file.size_bytes > 0 || !file.etag.is_empty()),
                text(file.reason.as_ref()),
                text(place),
            ]
        },
    }
}

async fn show(uri: ObjectUri, as_json: bool, client: &ClientOptions) -> anyhow::Result<()> {
    let file: FileDetail = Client::new(client)?.get(path::FILE, &UriQuery { uri }).await?;
    if as_json {
        return print_json(&file);
    }
    println!("{}  {}", printable(&file.file.uri), file.file.state);
    for moment in &file.timeline {
        println!(
            "  {}  {}  {}",
            time(moment.at),
            moment.state,
            printable(moment.detail.as_deref().unwrap_or_default())
        );
    }
    Ok(())
}
