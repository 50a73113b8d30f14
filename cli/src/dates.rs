//! `millwork dates`: totals of dates.

use crate::client::{Client, ClientOptions};
use crate::list::{print_json, time};
use crate::plans::{self, ChangeOptions};
use crate::rounds;
use crate::table;
use clap::{Args, Subcommand};
use millwork_api::{Action, DateNumbers, DateQuery, Dates, Select, path};
use millwork_diagnosis::many;
use millwork_manifest::{DatePrefix, FileState};
use std::process::ExitCode;

/// Show dates in numbers: files by state, rows, what is refused, what waits.
///
/// The numbers are kept as files and runs change, so that no question counts them. Without a subcommand, lists them, the
/// newest first.
///
/// Examples:
///   millwork dates list --from 2025-12-01
///   millwork dates show 2025-12-23
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true, verbatim_doc_comment)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    list: ListDatesOptions,
}

#[derive(Subcommand)]
enum Command {
    /// List dates, the newest first
    #[command(
        after_help = "Examples:\n  millwork dates list --from 2025-12-01\n  millwork dates list --from 2025-12-01 --to 2025-12-31 --json"
    )]
    List(ListDatesOptions),
    /// Show one date
    #[command(after_help = "Examples:\n  millwork dates show 2025-12-23\n  millwork dates show 2025-12-23 --json")]
    Show(DateOptions),
    /// Count dates anew, which heals what a crash left wrong; it takes as long as they have files
    #[command(
        after_help = "Examples:\n  millwork dates recount 2025-12-23 --dry-run\n  millwork dates recount 2025-12-23 --yes --json"
    )]
    Recount(RecountOptions),
    Cut(rounds::CutOptions),
}

#[derive(Args)]
pub(crate) struct DateRange {
    /// The earliest date
    #[arg(long, value_name = "YYYY-MM-DD")]
    from: Option<DatePrefix>,

    /// The latest date
    #[arg(long, value_name = "YYYY-MM-DD")]
    to: Option<DatePrefix>,
}

impl DateRange {
    pub(crate) fn query(&self) -> DateQuery {
        DateQuery { from: self.from, to: self.to }
    }
}

#[derive(Args)]
struct ListDatesOptions {
    #[command(flatten)]
    range: DateRange,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct DateOptions {
    /// The date
    #[arg(value_name = "YYYY-MM-DD")]
    date: DatePrefix,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Changes are shown first, and made after a yes: on a terminal one is asked, elsewhere --yes says it.
#[derive(Args)]
struct RecountOptions {
    /// The dates
    #[arg(value_name = "YYYY-MM-DD", required = true)]
    dates: Vec<DatePrefix>,

    #[command(flatten)]
    change: ChangeOptions,
}

pub(crate) async fn dates(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        None => list(&options.list).await?,
        Some(Command::List(options)) => list(&options).await?,
        Some(Command::Show(options)) => {
            let date = Client::new(&options.client)?.get(&path::date(options.date), &()).await?;
            show(&date, options.json)?;
        }
        Some(Command::Recount(RecountOptions { dates, change })) => {
            let dates = dates.iter().map(ToString::to_string).collect();
            return plans::change(Action::Recount, Select::Ids(dates), &change).await;
        }
        Some(Command::Cut(options)) => return rounds::cut(options).await,
    }
    Ok(ExitCode::SUCCESS)
}

async fn list(options: &ListDatesOptions) -> anyhow::Result<()> {
    let dates: Dates = Client::new(&options.client)?.get(path::DATES, &options.range.query()).await?;
    if options.json {
        return print_json(&dates);
    }
    let headings = ["DATE", "PENDING", "IN WORK", "DONE", "FAILED", "REFUSED", "INPUT", "OUTPUT", "ROWS", "REJECTED"];
    let row = |date: &DateNumbers| {
        let files = |states: &[FileState]| {
            let of = date.files.iter().filter(|files| states.contains(&files.state));
            of.map(|files| files.files).sum::<u64>().to_string()
        };
        [
            date.date.to_string(),
            files(&[FileState::Pending]),
            files(&[FileState::Manifested, FileState::Processing]),
            files(&[FileState::Completed]),
            files(&[FileState::Failed]),
            files(&[FileState::Quarantined]),
            table::bytes(date.input_bytes),
            table::bytes(date.output_bytes),
            date.rows.to_string(),
            date.rejected.to_string(),
        ]
    };
    table::print(headings, &dates.items.iter().map(row).collect::<Vec<_>>());
    Ok(())
}

fn show(date: &DateNumbers, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(date);
    }
    println!("{}", date.date);
    for files in &date.files {
        println!("  {} {}, {}", many(files.files, "file"), files.state, table::bytes(files.bytes));
    }
    for refused in &date.refused {
        println!("  {} refused: {}", many(refused.files, "file"), refused.reason);
    }
    for runs in &date.runs {
        println!("  {} {}", many(runs.runs, "run"), runs.state);
    }
    let (input, output) = (table::bytes(date.input_bytes), table::bytes(date.output_bytes));
    println!(
        "  {} and {} of {input}, in {} of {output}",
        many(date.rows, "row"),
        many(date.rejected, "rejected line"),
        many(date.outputs, "file")
    );
    if let Some(at) = date.oldest_pending {
        println!("  the oldest pending file came {}", time(at));
    }
    if let Some(at) = date.last_commit {
        println!("  the last commit was {}", time(at));
    }
    Ok(())
}
