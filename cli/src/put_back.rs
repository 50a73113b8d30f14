//! `millwork runs put-back`: converts mended lines of a run, as a new file in a new run.

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::failure::usage;
use crate::list::print_json;
use crate::plans::{Consent, confirm};
use crate::table;
use anyhow::Context;
use clap::Args;
use millwork_api::{MendedLines, PutBack, path};
use millwork_diagnosis::many;
use millwork_manifest::printable;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

/// Limit of the bytes that are read: one more than the 16 MiB the scheduler accepts, so that it reports larger input.
const MAX_READ_BYTES: u64 = (16 << 20) + 1;

/// Put mended lines of a run back.
///
/// Each line is judged first as a conversion would judge it: if one would be rejected again, it is named, and nothing is put back. The
/// lines become a file beside the output and a run of their own; the rows that are there stay as they are. The same lines are put back
/// once, however often that is asked.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork rejected 2025-12-23-batch-0407-20251223-101500 --lines > rejected.ndjson\n  millwork runs put-back 2025-12-23-batch-0407-20251223-101500 mended.ndjson --dry-run\n  millwork runs put-back 2025-12-23-batch-0407-20251223-101500 mended.ndjson --yes"
)]
pub(crate) struct Options {
    /// The manifest's id
    id: String,

    /// File of the mended lines, one JSON object a line; - for stdin
    #[arg(value_name = "FILE")]
    lines: PathBuf,

    #[command(flatten)]
    consent: Consent,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) async fn put_back(options: Options) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let place = path::run_part(&options.id, "mended");
    let asked = |dry_run, lines| MendedLines { lines, reason: options.consent.reason.clone(), dry_run };
    let lines = read(&options.lines)?;
    if !options.consent.yes {
        let would: PutBack = client.post(&place, &(), &asked(true, lines.clone())).await?;
        if would.run.is_some() {
            return told(&would, options.json);
        }
        match options.json {
            true => print_json(&would)?,
            false => describe(&would),
        }
        let what = format!("put {} back", many(would.lines, "line"));
        if options.consent.dry_run || options.json || !confirm(&what, "y")? {
            eprintln!("nothing was put back yet: --yes does it");
            return Ok(Exit::NeedsYou.into());
        }
    }
    let done: PutBack = client.post(&place, &(), &asked(false, lines)).await?;
    told(&done, options.json)
}

/// Prints the result, of this submission or an earlier one of the same lines.
fn told(done: &PutBack, as_json: bool) -> anyhow::Result<ExitCode> {
    if as_json {
        print_json(done)?;
    } else if let Some(run) = &done.run {
        println!("{}", run.manifest_id);
        eprintln!("{} in a run of their own, which is {}", many(done.lines, "mended line"), run.state);
    }
    Ok(Exit::Done.into())
}

/// Prints what a submission would do.
fn describe(would: &PutBack) {
    eprintln!(
        "{} ({}) would be put back of a run that has rejected {}, as {}",
        many(would.lines, "line"),
        table::bytes(would.bytes),
        many(would.rejected, "line"),
        printable(&would.file)
    );
    if !would.earlier.is_empty() {
        eprintln!("other lines of this run were put back before, in {}", would.earlier.join(", "));
    }
}

/// Reads the lines, up to the limit.
fn read(file: &PathBuf) -> anyhow::Result<String> {
    let shown = file.display();
    let mut bytes = Vec::new();
    let read = if file.as_os_str() == "-" {
        std::io::stdin().lock().take(MAX_READ_BYTES).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(file).and_then(|file| file.take(MAX_READ_BYTES).read_to_end(&mut bytes))
    };
    read.with_context(|| format!("cannot read the lines `{shown}`"))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            1 + error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
        usage(format!("line {line} of `{shown}` is not UTF-8: mend it, too"))
    })
}
