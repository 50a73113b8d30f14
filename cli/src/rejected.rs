//! `millwork rejected`: rejected lines of a run, with positions and reasons.

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::print_json;
use crate::table;
use clap::Args;
use millwork_api::{RejectedLine, RejectedLines, RejectedQuery, path};
use millwork_manifest::printable;
use std::io::IsTerminal;
use std::process::ExitCode;

/// Show the rejected lines of a run: file, line, byte and reason of each.
///
/// Prints each line as it stood, too, with --json: `raw`, or `base64` where it is not text; and nothing but the lines with --lines, to be
/// mended: `millwork runs put-back` takes them.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork rejected 2025-12-23-batch-0407-20251223-101500\n  millwork rejected 2025-12-23-batch-0407-20251223-101500 --limit 1000 --json\n  millwork rejected 2025-12-23-batch-0407-20251223-101500 --lines > rejected.ndjson"
)]
pub(crate) struct Options {
    /// The manifest's id
    id: String,

    /// Largest number of lines
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    /// Print all lines as they stood, and nothing else; bytes that are no UTF-8 as U+FFFD
    #[arg(long, conflicts_with_all = ["json", "limit"])]
    lines: bool,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) async fn rejected(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let (place, limit) = (path::run_part(&options.id, "rejected"), options.limit as usize);
    if options.lines {
        return print_lines(&client, &place).await;
    }
    let mut found: RejectedLines = client.get(&place, &RejectedQuery::default()).await?;
    while let Some(next) = found.next.filter(|_| found.items.len() < limit) {
        let more: RejectedLines = client.get(&place, &RejectedQuery { from: Some(next) }).await?;
        found.items.extend(more.items);
        found.next = more.next;
    }
    let has_more = found.next.is_some() || found.items.len() > limit;
    found.items.truncate(limit);
    if options.json {
        print_json(&found)?;
        return Ok(Exit::Done.into());
    }
    table::print(
        ["FILE", "LINE", "BYTE", "LENGTH", "REASON", "MESSAGE"],
        &found.items.iter().map(row).collect::<Vec<_>>(),
    );
    if has_more {
        eprintln!("{} in all: --limit shows more", millwork_diagnosis::many(found.all, "rejected line"));
    }
    if let Some(place) = &found.place {
        eprintln!("all of them are in {}", printable(place));
    }
    Ok(Exit::Done.into())
}

/// Prints the original lines of a run, page by page. Lines that were not kept in full cannot be mended from this
/// output, and are reported.
async fn print_lines(client: &Client, place: &str) -> anyhow::Result<ExitCode> {
    let is_terminal = std::io::stdout().is_terminal();
    let (mut from, mut cut) = (None, 0_u64);
    loop {
        let found: RejectedLines = client.get(place, &RejectedQuery { from }).await?;
        for line in &found.items {
            match line.whole() {
                // Escape sequences in lines must not reach a terminal.
                Some(text) if is_terminal => println!("{}", printable(&text)),
                Some(text) => println!("{text}"),
                None => {
                    cut += 1;
                    let (file, number, length) = (printable(&line.file), line.line, line.length);
                    eprintln!(
                        "line {number} of {file} has {length} bytes, and is not kept whole: take it from that file"
                    );
                }
            }
        }
        from = found.next;
        if from.is_none() {
            return Ok(if cut == 0 { Exit::Done } else { Exit::NeedsYou }.into());
        }
    }
}

fn row(line: &RejectedLine) -> [String; 6] {
    let numbers = [line.line, line.offset, line.length].map(|number| number.to_string());
    let [number, offset, length] = numbers;
    [line.file.clone(), number, offset, length, line.reason.clone(), line.message.clone()]
}
