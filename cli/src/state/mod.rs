//! `millwork state`: operations on the tracking state, through a scheduler or directly.

mod ask;
mod show;
mod write;

pub(crate) use ask::operator;

use crate::address::parse_uri;
use crate::client::ClientOptions;
use crate::failure::of_usage;
use anyhow::Context;
use chrono::Duration;
use clap::{Args, Subcommand};
use millwork_manifest::{DatePrefix, FileState, ManifestId, ObjectUri};
use millwork_storage::Places;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Looks into the state, finds what is stuck or broken, and mends it.
///
/// Every operation works through a scheduler (--scheduler) or on a state itself (--state), SQLite and DynamoDB alike. Readers
/// change nothing. Writers show what would change, and change it only with --yes; each change holds only if nothing has
/// changed since it was looked at, and leaves an audit record with its reason. Names may have underscores for hyphens.
#[derive(Args)]
#[command(after_help = EXAMPLES, mut_args(|arg| arg.global(true)))]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Command,

    /// Work on this state instead of asking a scheduler: sqlite:PATH or dynamodb:TABLE
    #[arg(long, global = true, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    /// Places of input files, with commas between; used with --state only: without it no input object is looked at
    #[arg(long, global = true, env = "INPUT_PLACES", value_name = "PLACES")]
    input_places: Option<String>,

    /// Place of outputs; used with --state only, by find-orphans --objects
    #[arg(long, global = true, env = "OUTPUT_BUCKET", value_name = "PLACE")]
    output: Option<String>,

    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

const EXAMPLES: &str = "Examples:
  millwork state get-file-state s3://acme-input/f1/2025-12-23-0193.ndjson.gz
  millwork state find-orphans --state sqlite:/data/state.db
  millwork state reset-stuck-files --older-than 2h --yes --reason \"executor host lost\"

Exit codes: 0 done, or nothing to do; 1 failed; 3 something was found, or would change (say --yes); 6 something had changed since, \
and was left alone.";

#[derive(Subcommand)]
enum Command {
    /// Show all that is stored of one file, and its diagnosis
    #[command(alias = "get_file_state")]
    #[command(
        after_help = "Examples:\n  millwork state get-file-state s3://acme-input/f1/2025-12-23-0193.ndjson.gz\n  millwork state get-file-state /data/in/2025-12-23-0193.ndjson.gz --state sqlite:/data/state.db"
    )]
    GetFileState(OfFile),
    /// List files by state, date, age, prefix, reason, manifest
    #[command(alias = "query_by_status")]
    #[command(
        after_help = "Examples:\n  millwork state query-by-status pending --older-than 2h\n  millwork state query-by-status failed --date 2025-12-23 --state sqlite:/data/state.db --json"
    )]
    QueryByStatus(ByStatus),
    /// Count files and bytes by state and date, with the ages of what is not done
    #[command(alias = "get_stats")]
    #[command(
        after_help = "Examples:\n  millwork state get-stats\n  millwork state get-stats --record --state sqlite:/data/state.db"
    )]
    GetStats(Recorded),
    /// Show where the time of a file or run went, the longest wait marked
    #[command(alias = "get_processing_timeline")]
    #[command(
        after_help = "Examples:\n  millwork state get-processing-timeline 2025-12-23-batch-0407-20251223-101500\n  millwork state get-processing-timeline s3://acme-input/f1/2025-12-23-0193.ndjson.gz --json"
    )]
    GetProcessingTimeline(OfSubject),
    /// Find files, drafts and counters that nobody goes on with; with --objects, objects of nobody
    #[command(alias = "find_orphans")]
    #[command(
        after_help = "Examples:\n  millwork state find-orphans --older-than 10m\n  millwork state find-orphans --objects --input-places /data/in --state sqlite:/data/state.db"
    )]
    FindOrphans(FindOrphans),
    /// Check thirteen invariants of the state and what it names
    #[command(alias = "validate_consistency")]
    #[command(
        after_help = "Examples:\n  millwork state validate-consistency --date 2025-12-23\n  millwork state validate-consistency --fix --yes --reason \"lost\" --state sqlite:/data/state.db"
    )]
    ValidateConsistency(Validate),
    /// Put stuck files back as their runs prescribe
    #[command(alias = "reset_stuck_files")]
    #[command(
        after_help = "Examples:\n  millwork state reset-stuck-files --older-than 2h\n  millwork state reset-stuck-files --older-than 2h --yes --reason \"host lost\""
    )]
    ResetStuckFiles(Reset),
    /// Change the state of one file, if that can neither lose nor double rows
    #[command(alias = "update_state")]
    #[command(
        after_help = "Examples:\n  millwork state update-state s3://acme-input/f1/2025-12-23-0193.ndjson.gz --to quarantined\n  millwork state update-state s3://acme-input/a.ndjson --to quarantined --reason \"not ours\" --yes"
    )]
    UpdateState(Update),
    /// Change the states of many files, a JSON document a line: {"uri": …, "to": "pending"}
    #[command(alias = "batch_update")]
    #[command(
        after_help = "Examples:\n  millwork state batch-update changes.ndjson --reason \"mended\"\n  millwork state batch-update - --reason \"mended\" --yes < changes.ndjson"
    )]
    BatchUpdate(Batch),
}

#[derive(Args)]
struct OfFile {
    /// The file: s3://…, file:///… or a path
    #[arg(value_name = "URI", value_parser = parse_uri)]
    uri: ObjectUri,
}

#[derive(Args)]
struct OfSubject {
    /// The file, or the id of the run's manifest
    #[arg(value_name = "URI|RUN")]
    subject: String,
}

#[derive(Args)]
struct ByStatus {
    /// Only files in this state: pending, manifested, processing, completed, failed, quarantined
    #[arg(value_name = "STATE")]
    status: FileState,

    /// Only files of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<DatePrefix>,

    /// Only files that have changed within this time, such as 90s, 30m, 2h, 7d
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    since: Option<Duration>,

    /// Only files that have not changed within this time
    #[arg(long, value_name = "AGE", value_parser = parse_age)]
    older_than: Option<Duration>,

    /// Only files whose URI begins with this
    #[arg(long, value_name = "URI")]
    prefix: Option<String>,

    /// Only files whose reason begins with this
    #[arg(long, alias = "reason", value_name = "REASON")]
    refused_for: Option<String>,

    /// Only files in this manifest
    #[arg(long, value_name = "ID")]
    manifest: Option<String>,

    /// Largest number of entries
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Args)]
struct Recorded {
    /// Keep the numbers with those of the day, once an hour; on the state itself only (--state)
    #[arg(long)]
    record: bool,
}

#[derive(Args)]
struct FindOrphans {
    /// Least age of an orphan: what is younger may be going on
    #[arg(long, value_name = "AGE", default_value = "2m", value_parser = parse_age)]
    older_than: Duration,

    /// List objects, too: in the places of input, among the outputs, in the quarantine; on the state itself only (--state)
    #[arg(long)]
    objects: bool,

    #[command(flatten)]
    recorded: Recorded,
}

#[derive(Args)]
struct Validate {
    /// Only what is of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<DatePrefix>,

    /// Limit of files that are looked at, and of runs
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    limit: u32,

    /// Look at no objects: outputs, documents, quarantine; on the state itself only (--state)
    #[arg(long)]
    no_objects: bool,

    /// Mend what has one possible truth: counters are counted anew, expired locks let go of, files put where their runs say, timelines
    /// get the line that is missing. Without --yes it is only shown; on the state itself only (--state)
    #[arg(long)]
    fix: bool,

    #[command(flatten)]
    written: Written,
}

#[derive(Args)]
struct Written {
    /// Make the changes; without it they are only shown
    #[arg(long)]
    yes: bool,

    /// Reason, for the audit record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
}

#[derive(Args)]
struct Reset {
    /// Only files that have not changed within this time
    #[arg(long, value_name = "AGE", default_value = "2h", value_parser = parse_age)]
    older_than: Duration,

    /// Only files of this date
    #[arg(long, value_name = "YYYY-MM-DD")]
    date: Option<DatePrefix>,

    /// Only files in this state: manifested or processing
    #[arg(long = "in-state", value_name = "STATE")]
    in_state: Option<FileState>,

    /// These files alone, whatever their age
    #[arg(long = "uri", value_name = "URI", value_parser = parse_uri)]
    uris: Vec<ObjectUri>,

    #[command(flatten)]
    written: Written,
}

#[derive(Args)]
struct Update {
    /// The file: s3://…, file:///… or a path
    #[arg(value_name = "URI", value_parser = parse_uri)]
    uri: ObjectUri,

    /// The state it is to get: pending or quarantined
    #[arg(long, value_name = "STATE")]
    to: FileState,

    /// Change it only if it is in this state
    #[arg(long, value_name = "STATE")]
    expect_state: Option<FileState>,

    /// Change it only if it has this version
    #[arg(long, value_name = "N")]
    expect_version: Option<u64>,

    /// Convert a converted file once more, though its old rows stay: rows that are in both stand twice
    #[arg(long)]
    reprocess: bool,

    #[command(flatten)]
    written: Written,
}

#[derive(Args)]
struct Batch {
    /// File with the changes; - reads them from standard input
    #[arg(value_name = "FILE", default_value = "-")]
    file: PathBuf,

    /// Refuse to change more files than this
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    max: u32,

    #[command(flatten)]
    written: Written,
}

/// Parses a duration: a number with s, m, h or d; at most a year.
fn parse_age(text: &str) -> Result<Duration, String> {
    const YEAR_SECONDS: i64 = 366 * 86_400;
    let wrong = || format!("`{text}` is no span of time: say 90s, 30m, 2h or 7d, at most 366d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let factor = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| i64::from(number).checked_mul(factor));
    seconds.filter(|seconds| *seconds <= YEAR_SECONDS).map(Duration::seconds).ok_or_else(wrong)
}

/// A named file, or else a run.
enum Named {
    File(ObjectUri),
    Run(ManifestId),
}

fn named(text: &str) -> anyhow::Result<Named> {
    if text.contains('/') || Path::new(text).exists() {
        return Ok(Named::File(parse_uri(text).map_err(anyhow::Error::msg)?));
    }
    Ok(Named::Run(text.parse()?))
}

pub(crate) async fn state(options: Options) -> anyhow::Result<ExitCode> {
    let source = ask::Source::open(&options).await?;
    match options.command {
        Command::ResetStuckFiles(reset) => write::reset(&source, reset, options.json).await,
        Command::UpdateState(update) => write::update(&source, update, options.json).await,
        Command::BatchUpdate(batch) => write::batch(&source, batch, options.json).await,
        reader => show::read(&source, reader, options.json).await,
    }
}

/// Parses `--input-places`; `None` if the option is not given.
fn places(text: Option<&str>) -> anyhow::Result<Option<Places>> {
    let places = text.filter(|text| !text.is_empty()).map(str::parse).transpose();
    places.context("--input-places or INPUT_PLACES").map_err(of_usage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_of_time_are_read_and_bounded() {
        for (text, seconds) in [("90s", 90), ("30m", 1800), ("2h", 7200), ("7d", 604_800), ("0s", 0)] {
            assert_eq!(parse_age(text), Ok(Duration::seconds(seconds)));
        }
        for bad in ["", "s", "2", "-1s", "1.5h", "367d", "4294967295d", "2é", "h2"] {
            assert!(parse_age(bad).is_err(), "{bad}");
        }
    }
}
