//! `millwork audit`: audit records of changes.

use crate::client::{Client, ClientOptions};
use crate::list::{print_json, time};
use crate::table;
use clap::{Args, Subcommand};
use millwork_api::{AuditEntry, AuditQuery, path};
use millwork_manifest::DatePrefix;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Show who changed what, why, and what came of it.
///
/// Examples:
///   millwork audit list
///   millwork audit list --day 2025-12-23 --subject 2025-12-23-batch-0407-20251223-101500
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the notes of a day, the newest first
    #[command(
        after_help = "Examples:\n  millwork audit list --day 2025-12-23\n  millwork audit list --subject 2025-12-23-batch-0407-20251223-101500 --json"
    )]
    List(ListOptions),
}

#[derive(Args)]
struct ListOptions {
    /// Day, in UTC [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    day: Option<DatePrefix>,

    /// Only notes about this run or file
    #[arg(long, value_name = "ID|URI")]
    subject: Option<String>,

    /// Largest number of entries
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) async fn audit(options: Options) -> anyhow::Result<ExitCode> {
    let Command::List(options) = options.command;
    let query = AuditQuery { day: options.day, subject: options.subject, ..AuditQuery::default() };
    let client = Client::new(&options.client)?;
    let (notes, has_more) = client.list::<AuditEntry>(path::AUDIT, query, options.limit as usize).await?;
    if options.json {
        print_json(&BTreeMap::from([("notes", notes)]))?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows: Vec<_> = notes.iter().map(row).collect();
    table::print(["WHEN", "WHO", "VIA", "ACTION", "SUBJECT", "OUTCOME", "REASON"], &rows);
    if has_more {
        eprintln!("there are more: --limit shows them");
    }
    Ok(ExitCode::SUCCESS)
}

fn row(note: &AuditEntry) -> [String; 7] {
    let subject = match note.subjects.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [first, rest @ ..] => format!("{first} and {} more", rest.len()),
    };
    [
        time(note.at),
        note.actor.clone(),
        note.via.to_string(),
        note.action.clone(),
        subject,
        note.outcome.clone().unwrap_or_else(|| "not known: it goes on, or broke off".to_owned()),
        note.reason.clone().unwrap_or_default(),
    ]
}
