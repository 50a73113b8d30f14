//! `millwork-manifest-builder`: events and listings in, manifests out.

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use futures::StreamExt;
use millwork_manifest::{FileState, Flush, printable};
use millwork_manifest_builder::{Builder, RedriveFilter, Rules, ServiceOptions, run_lambda, serve, watch};
use millwork_process::HealthOptions;
use millwork_queue::ConsumerOptions;
use millwork_storage::{Location, Places, Storage};
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::{ErrorKind, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Turns files that arrive in object storage into manifests of one date each.
///
/// Each file is checked by its name, size and date, and tracked; when the files of a date fill a manifest, one is
/// written. Refused files are quarantined. Any number of these processes can work on one state.
///
/// On AWS Lambda (with AWS_LAMBDA_RUNTIME_API set) no command is given.
#[derive(Parser)]
#[command(version)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    common: Common,
}

#[derive(Args, Clone)]
struct Common {
    /// State with files: sqlite:PATH or dynamodb:TABLE [default: dynamodb:$TRACKING_TABLE]
    #[arg(long, global = true, env = "MILLWORK_STATE", value_name = "URL")]
    state: Option<String>,

    /// Place that manifests are written to, below manifests/: a directory or s3://BUCKET [default: s3://$MANIFEST_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_MANIFESTS", value_name = "PLACE")]
    manifests: Option<String>,

    /// Place that refused files are moved to: a directory or s3://BUCKET. Without it they stay and are only marked
    /// [default: s3://$QUARANTINE_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_QUARANTINE", value_name = "PLACE")]
    quarantine: Option<String>,

    /// Places of input files, with commas between: s3://BUCKET, s3://BUCKET/FOLDER/, /DIRECTORY. Objects elsewhere are never
    /// read, moved or tracked, whatever an event says. Needed to serve a queue and on Lambda; the other commands take what they
    /// list
    #[arg(long, global = true, env = "INPUT_PLACES", value_name = "PLACES")]
    input_places: Option<String>,

    /// Place of the output, if that is in the bucket or directory that is read: its objects are left alone
    /// [default: s3://$OUTPUT_BUCKET]
    #[arg(long, global = true, env = "MILLWORK_OUTPUT", value_name = "PLACE")]
    output: Option<String>,

    #[command(flatten)]
    rules: Rules,
}

#[derive(Subcommand)]
enum Command {
    /// Read object events from an SQS queue until told to stop
    Serve(Serve),
    /// Look at a directory or bucket at intervals until told to stop
    Watch(Watch),
    /// List a directory or bucket once, track what events missed, and say what was done
    Backfill(Backfill),
    /// Finish what a crash left, count anew what waits, make manifests of what is due
    Sweep {
        /// Print one JSON document on stdout
        #[arg(long)]
        json: bool,
    },
    /// Take back quarantined files that the rules accept by now, and failed files
    Redrive(Redrive),
}

#[derive(Args)]
struct Serve {
    /// Queue with the events of the input bucket
    #[arg(long, env = "QUEUE_URL", value_name = "URL")]
    queue_url: String,

    /// Queue for messages that can never be processed [default: that of the queue's redrive policy]
    #[arg(long, env = "DEAD_LETTER_QUEUE_URL", value_name = "URL")]
    dead_letter_queue_url: Option<String>,

    /// Batches of ten messages that are handled at once
    #[arg(long, env = "WORKERS", value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=256))]
    workers: u32,

    /// Time that a message stays hidden from others while it is handled; extended while that goes on
    #[arg(long, env = "VISIBILITY_TIMEOUT_SECONDS", value_name = "SECONDS", default_value_t = 360, value_parser = clap::value_parser!(u32).range(2..=43_200))]
    visibility_timeout_seconds: u32,

    /// Time that one receive waits for messages
    #[arg(long, env = "POLL_SECONDS", value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(0..=20))]
    poll_seconds: u32,

    /// Time that a worker tries for the lock of a date
    #[arg(long, env = "MAX_LOCK_WAIT_SECONDS", value_name = "SECONDS", default_value_t = 10)]
    max_lock_wait_seconds: u64,

    /// Time between two sweeps, each by one of all processes
    #[arg(long, env = "SWEEP_INTERVAL_SECONDS", value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    sweep_interval_seconds: u64,

    #[command(flatten)]
    listen: Listen,
}

#[derive(Args)]
struct Listen {
    /// Address for /healthz, /readyz and /metrics
    #[arg(long, env = "HTTP_LISTEN", value_name = "HOST:PORT", default_value = "127.0.0.1:8081")]
    http: SocketAddr,

    /// Serve health and metrics on an address that others can reach: they need no token
    #[arg(long, env = "INSECURE_HTTP", value_parser = clap::builder::FalseyValueParser::new())]
    insecure_http: bool,

    /// Has a successor
    #[arg(long, hide = true)]
    insecure: bool,
}

#[derive(Args)]
struct Watch {
    /// Place that is looked at: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    input: String,

    /// Time between two looks
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    interval_seconds: u64,

    #[command(flatten)]
    listen: Listen,
}

#[derive(Args)]
struct Backfill {
    /// Place that is listed: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    prefix: String,

    /// Make manifests of every rest too, however small
    #[arg(long)]
    flush: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Redrive {
    /// Place that the files came from: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    prefix: String,

    /// Only files refused for this reason, such as too-small
    #[arg(long, alias = "reason", value_name = "REASON")]
    refused_for: Option<String>,

    /// Only files in this state: quarantined or failed
    #[arg(long, value_name = "STATE", value_parser = taken_back)]
    only: Option<FileState>,

    /// Take them back; without it, only say what would be
    #[arg(long)]
    yes: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let options: Options = millwork_process::parse();
    let done = millwork_process::block_on(async {
        millwork_process::start_logs("millwork-manifest-builder", "info")?;
        run(options).await
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millwork-manifest-builder: {}", printable(&format!("{error:#}")));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: Options) -> anyhow::Result<()> {
    let builder = builder(&options.common, input(&options)?).await?;
    match options.command {
        Some(Command::Serve(serve)) => serve_queue(builder, serve).await,
        Some(Command::Watch(options)) => {
            let http = options.listen.address()?;
            let interval = Duration::from_secs(options.interval_seconds);
            watch(builder, Location::parse(&options.input)?, interval, Some(http), stop_signal()?).await
        }
        Some(Command::Backfill(backfill)) => backfill_once(&builder, &backfill).await,
        Some(Command::Sweep { json }) => show(&builder.sweep().await?, json),
        Some(Command::Redrive(redrive)) => {
            let place = Location::parse(&redrive.prefix)?;
            let filter = RedriveFilter { state: redrive.only, reason: redrive.refused_for.as_deref() };
            let done = builder.redrive(&place, filter, !redrive.yes).await?;
            show(&done, redrive.json)?;
            if !redrive.yes && !done.pending.is_empty() {
                eprintln!("nothing was changed: say --yes to take them back");
            }
            let failed = done.failed.len();
            anyhow::ensure!(failed == 0, "{failed} files could not be taken back, for the reasons above");
            Ok(())
        }
        None if is_on_lambda() => {
            let seconds = env_or("MAX_LOCK_WAIT_SECONDS", 10)?;
            let dead_letters = std::env::var("DEAD_LETTER_QUEUE_URL").ok();
            run_lambda(builder, dead_letters, Duration::from_secs(seconds)).await
        }
        None => anyhow::bail!("say what to do: serve, watch, backfill, sweep or redrive; see --help"),
    }
}

/// Returns the places that files may be in: those of the option, else the place that the command lists. A sweep looks at no file.
fn input(options: &Options) -> anyhow::Result<Places> {
    // A variable that is empty is as good as none.
    let said = options.common.input_places.as_deref().filter(|places| !places.is_empty());
    if let Some(places) = said {
        return places.parse().context("--input-places or INPUT_PLACES");
    }
    let listed = match &options.command {
        Some(Command::Watch(options)) => &options.input,
        Some(Command::Backfill(options)) => &options.prefix,
        Some(Command::Redrive(options)) => &options.prefix,
        Some(Command::Sweep { .. }) => return Ok(Places::none()),
        None if !is_on_lambda() => return Ok(Places::none()),
        Some(Command::Serve(_)) | None => anyhow::bail!(
            "say where input files may be: --input-places PLACES or INPUT_PLACES, such as s3://acme-input or \
             s3://acme-data/in/; events of other objects are refused"
        ),
    };
    Ok(Places::of(&Location::parse(listed)?))
}

fn is_on_lambda() -> bool {
    std::env::var_os("AWS_LAMBDA_RUNTIME_API").is_some()
}

async fn builder(common: &Common, input: Places) -> anyhow::Result<Builder> {
    let place = |said: &Option<String>, variable| match said {
        Some(place) => Ok(Some(place.clone())),
        None => Location::of_variable(variable).map(|place| place.map(|place| place.to_string())),
    };
    let manifests = place(&common.manifests, "MANIFEST_BUCKET")?;
    let manifests = manifests.context("say where manifests go: --manifests PLACE, or MANIFEST_BUCKET")?;
    let quarantine = place(&common.quarantine, "QUARANTINE_BUCKET")?;
    let output = place(&common.output, "OUTPUT_BUCKET")?;
    let table = std::env::var("TRACKING_TABLE").ok().map(|table| format!("dynamodb:{table}"));
    let state = common.state.clone().or(table);
    let state =
        state.context("say where files are remembered: --state sqlite:PATH or dynamodb:TABLE, or TRACKING_TABLE")?;
    let settings = common.rules.settings(input, &manifests, quarantine.as_deref(), output.as_deref(), &state)?;
    let store = millwork_tracking::open(&state).await?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let holder = format!("{}:{}", host.trim(), std::process::id());
    Ok(Builder::new(store, Arc::new(Storage::from_env()), settings, holder))
}

fn env_or(name: &str, default: u64) -> anyhow::Result<u64> {
    match std::env::var(name) {
        Ok(text) => text.parse().with_context(|| format!("{name} is `{text}`, which is no number of seconds")),
        Err(_) => Ok(default),
    }
}

impl Listen {
    fn address(&self) -> anyhow::Result<SocketAddr> {
        anyhow::ensure!(!self.insecure, "--insecure is no longer there: say --insecure-http");
        Ok(HealthOptions { address: self.http, insecure: self.insecure_http }.check()?.address)
    }
}

async fn serve_queue(builder: Builder, options: Serve) -> anyhow::Result<()> {
    let service = ServiceOptions {
        http: Some(options.listen.address()?),
        queue: ConsumerOptions {
            queue_url: options.queue_url,
            dead_letter_queue_url: options.dead_letter_queue_url,
            visibility_seconds: options.visibility_timeout_seconds,
            poll_seconds: options.poll_seconds,
        },
        workers: options.workers as usize,
        max_lock_wait: Duration::from_secs(options.max_lock_wait_seconds),
        sweep_interval: Duration::from_secs(options.sweep_interval_seconds),
    };
    serve(builder, service, stop_signal()?).await
}

/// Exit code that a shell reports of a process that the signal SIGTERM has ended.
const CODE_OF_A_SECOND_SIGNAL: i32 = 143;

/// Told to stop by SIGTERM or Ctrl-C.
fn stop_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut signals, told) = (Signals::new([SIGINT, SIGTERM])?, stop.clone());
    tokio::spawn(async move {
        signals.next().await;
        tracing::info!("stopping: what was received is finished first; another signal ends it at once");
        told.cancel();
        signals.next().await;
        tracing::warn!("told to stop again: what was received comes again");
        std::process::exit(CODE_OF_A_SECOND_SIGNAL);
    });
    Ok(stop)
}

async fn backfill_once(builder: &Builder, options: &Backfill) -> anyhow::Result<()> {
    #[derive(Serialize)]
    struct Report {
        #[serde(flatten)]
        found: millwork_manifest_builder::Backfilled,
        manifests: Vec<String>,
    }
    let place = Location::parse(&options.prefix)?;
    let found = builder.backfill(&place).await?;
    let flush = if options.flush { Flush::Now } else { Flush::WhenAged(chrono::Utc::now()) };
    let manifests = builder.cut_all(flush).await?.into_iter().map(|queued| queued.uri).collect();
    show(&Report { found, manifests }, options.json)
}

/// A state that files are taken back from.
fn taken_back(text: &str) -> Result<FileState, String> {
    let state = text.parse().ok().filter(|state| matches!(state, FileState::Quarantined | FileState::Failed));
    state.ok_or_else(|| format!("`{text}` is neither quarantined nor failed"))
}

/// Prints a report: as JSON for programs, else a line for each of its numbers and lists.
fn show(report: &impl Serialize, json: bool) -> anyhow::Result<()> {
    if json {
        return print(&format!("{}\n", serde_json::to_string_pretty(report)?));
    }
    let mut text = String::new();
    let value = serde_json::to_value(report)?;
    for (name, value) in value.as_object().into_iter().flatten() {
        let name = name.replace('_', " ");
        match value {
            serde_json::Value::Array(items) => {
                text.push_str(&format!("{name}: {}\n", items.len()));
                for item in items {
                    text.push_str(&format!("  {}\n", printable(&line(item))));
                }
            }
            value => text.push_str(&format!("{name}: {value}\n")),
        }
    }
    print(&text)
}

/// Writes to stdout. Whoever reads it may go, as `head` does.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => Ok(()),
        written => written.context("cannot write to stdout"),
    }
}

fn line(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(fields) => {
            fields.values().filter(|value| !value.is_null()).map(line).collect::<Vec<_>>().join("  ")
        }
        serde_json::Value::Array(items) => items.iter().map(line).collect::<Vec<_>>().join("  "),
        value => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn every_option_has_a_variable() {
        assert_eq!(millwork_process::unnamed(Options::command()), Vec::<String>::new());
    }
}
