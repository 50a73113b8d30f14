//! `millwork run`: the whole pipeline in one process, for a directory.

mod convert;
mod told;

use crate::embedded::{self, vcores};
use crate::exit::Exit;
use crate::failure::of_usage;
use crate::report::{Report, count};
use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use convert::{Heard, Left, Rounds};
use futures::StreamExt;
use millwork_conversion::{Capacity, ConversionOptions, EarlySurvey, TaskHost};
use millwork_diagnosis::shell_word;
use millwork_manifest::{Flush, printable};
use millwork_manifest_builder::{Backfilled, Builder, Rules, Settings};
use millwork_scheduler::{
    Adopted, Engine, Lease, OutputLayout, OutputLock, ReadPlaces, RunOptions, Scheduler, claim_output,
};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::{StateUrl, TrackingError};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinHandle;
use told::{note_collected, tell};

/// Convert all that is new in a directory, in one process, then exit.
///
/// Lists the input, quarantines what cannot be converted, groups the rest by date, cuts manifests, converts them and
/// publishes the output. Run it again, and only what is new is converted; after a crash it goes on where it was.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  millwork run --input ./in --output ./out\n  millwork run --input s3://acme-input/f1 --output s3://acme-output --state dynamodb:acme --json"
)]
pub(crate) struct Options {
    /// Place of the .ndjson, .ndjson.gz and .ndjson.zst files, at any depth: a directory or s3://BUCKET/FOLDER; or one such file
    #[arg(long, value_name = "PLACE")]
    input: String,

    #[command(flatten)]
    run: RunOptions,

    /// State with files and runs: sqlite:PATH or dynamodb:TABLE [default:
    /// sqlite:{output}/_millwork/state.db]
    #[arg(long, value_name = "URL")]
    state: Option<String>,

    /// Threads that convert, and tasks that run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Take the manifests of an output as converted whose state was lost, as far as their output is there
    #[arg(long)]
    adopt: bool,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    rules: Rules,
}

/// Expiry time of a date's lock, which bounds the wait after a crash.
const LOCK_TTL: chrono::Duration = chrono::Duration::seconds(10);

/// Runs the command; the exit code tells whether every manifest completed.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (started, since) = (Instant::now(), Utc::now());
    let output = options.run.output()?;
    let input = Location::parse(&options.input)?;
    let storage = Storage::from_env();
    let conversion = conversion(&options, &input, &output, &storage)?;
    if let Some(query) = conversion.query.explained() {
        return crate::explain::explain_input(
            &input,
            &options.rules,
            &conversion,
            query,
            (vcores(options.vcores), options.json),
        )
        .await;
    }
    let (state, settings) = checked(&options, &input, &output)?;
    // Installed before anything is begun, so that a signal leads to a clean end.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let host = embedded::host(vcores(options.vcores), storage.clone());
    let engine = tokio::spawn(embedded::start(host.clone()));
    let opened = tokio::select! {
        opened = open(&state, &storage, output, &options.run.layout, options.adopt) => opened.map(Some),
        _ = signals.next() => Ok(None),
    };
    let Ok(Some((lease, output))) = opened else {
        let _ = engine.await;
        return opened.map(|_| interrupted());
    };
    let conversion = (conversion, EarlySurvey::default());
    let builder = builder(&lease, storage, settings, &conversion, vcores(options.vcores));
    let begun = Begun { started, since, signals, host, engine, conversion };
    let done = begun.run_on(&lease, output, &builder, &input, &options).await;
    // Closed before the lease is released to others.
    lease.store().close().await;
    lease.release().await;
    if done.as_ref().is_ok_and(|code| *code == ExitCode::SUCCESS) {
        end();
    }
    done
}

fn conversion(
    options: &Options,
    input: &Location,
    output: &Location,
    storage: &Storage,
) -> anyhow::Result<ConversionOptions> {
    // Mended lines may have been submitted by a scheduler on the same state, and their runs be queued.
    let places = ReadPlaces::new(Places::of(input), Places::none(), Some(output));
    options.run.conversion(places.convertible(), storage.clone()).map_err(of_usage)
}

/// State and settings of the builder, checked before anything is created.
fn checked(options: &Options, input: &Location, output: &Location) -> anyhow::Result<(String, Settings)> {
    if let (None, Some(directory)) = (&options.state, input.local_path().filter(|path| !path.is_dir())) {
        // Fails if the input does not exist.
        millwork_storage::list(directory)?;
    }
    let state = options.state.clone().map_or_else(|| crate::store::of_output(output), Ok)?;
    let mut settings = settings(options, input, output, &state).map_err(of_usage)?;
    settings.check_apart(input).map_err(of_usage)?;
    // Bounds the wait of the next run after this one was killed.
    settings.lock_ttl = settings.lock_ttl.min(LOCK_TTL);
    Ok((state, settings))
}

/// Builder that has the files of a manifest surveyed while the manifest is written and queued.
fn builder(
    lease: &Lease,
    storage: Storage,
    settings: Settings,
    conversion: &(ConversionOptions, EarlySurvey),
    slots: usize,
) -> Builder {
    let holder = format!("millwork-run:{}", std::process::id());
    let (options, early) = conversion.clone();
    let capacity = Capacity { executors: 1, slots };
    Builder::new(lease.store().clone(), Arc::new(storage), settings, holder)
        .with_drafting(move |manifest| early.begin(manifest, &options, capacity))
}

/// Ends the process at once, since freeing its memory piece by piece would take longer.
fn end() {
    if std::io::stdout().flush().is_ok() {
        signal_hook::low_level::exit(0);
    }
}

/// Opens the store, and takes its exclusive locks.
async fn open(
    state: &str,
    storage: &Storage,
    output: Location,
    layout: &OutputLayout,
    adopt: bool,
) -> anyhow::Result<(Lease, OutputLock)> {
    let store = millwork_tracking::open(state).await?;
    let lease = Lease::take(&store).await?.with_context(|| TrackingError::InUse(state.to_owned()))?;
    let lock = OutputLock::take(output.clone())?;
    tell_adopted(adopt, &claim_output(&lease, storage, &output, layout, adopt).await?);
    Ok((lease, lock))
}

/// Prints the manifests of another state that were adopted, if that was requested.
pub(crate) fn tell_adopted(adopt: bool, adopted: &Adopted) {
    if adopt {
        eprintln!("millwork: {} taken as converted", count(adopted.completed.len() as u64, "manifest"));
    }
    for (manifest, why) in &adopted.left {
        eprintln!("millwork: manifest {} is not taken over: {}", printable(manifest), printable(why));
    }
}

/// Parts that are started before the store is open.
struct Begun {
    started: Instant,
    since: DateTime<Utc>,
    signals: Signals,
    host: Arc<TaskHost>,
    /// Start of the engine, always awaited, so that it leaves nothing behind.
    engine: JoinHandle<anyhow::Result<Engine>>,
    /// Options of the conversion, and the survey that is begun ahead.
    conversion: (ConversionOptions, EarlySurvey),
}

impl Begun {
    /// Collects and converts the input, and prints the report.
    async fn run_on(
        self,
        lease: &Lease,
        output: OutputLock,
        builder: &Builder,
        input: &Location,
        options: &Options,
    ) -> anyhow::Result<ExitCode> {
        let Self { started, since, mut signals, host, engine, conversion } = self;
        let collected = tokio::select! {
            collected = collect(builder, input) => Some(collected),
            _ = signals.next() => None,
        };
        // The engine has been starting meanwhile.
        let started_engine = engine.await;
        let Some(collected) = collected else {
            return Ok(interrupted());
        };
        let collected = collected?;
        let left = Left::in_store(lease.store()).await?;
        let state = options.state.clone().map_or_else(|| crate::store::of_output(&options.run.output()?), Ok)?;
        let found_by = format!("--state {} --input-places {}", shell_word(&state), shell_word(&input.to_string()));
        let mut report = Report { found_by, ..Report::default() };
        note_collected(&mut report, &collected);
        let mut code = ExitCode::SUCCESS;
        if left.runs == 0 {
            let nothing = match collected.listed {
                0 => "the input is empty",
                _ => "nothing new to convert in the input",
            };
            eprintln!("millwork: {nothing}: {input}");
        } else {
            let engine = started_engine??;
            let (scheduler, ended) = Scheduler::start(engine, lease, output, options.run.clone(), conversion)?;
            let heard = Heard::since(since);
            let (signals, report) = (&mut signals, &mut report);
            let rounds = Rounds { scheduler: &scheduler, host: &host, ended, signals, left, heard, report };
            if !rounds.convert(builder, input).await? {
                code = Exit::Interrupted.into();
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        report.sort();
        show(&report, options.json)?;
        Ok(if report.is_all_well() { code } else { ExitCode::FAILURE })
    }
}

fn interrupted() -> ExitCode {
    eprintln!("millwork: interrupted: the rest goes on next time");
    Exit::Interrupted.into()
}

fn settings(options: &Options, input: &Location, output: &Location, state: &str) -> anyhow::Result<Settings> {
    let quarantine = options.run.quarantine()?.map(|place| place.to_string());
    let (output, quarantine) = (output.to_string(), quarantine.as_deref());
    let state: StateUrl = state.parse()?;
    options.rules.settings(Places::of(input), &format!("{output}/_millwork"), quarantine, Some(&output), state.file())
}

/// Tracks new files, and makes manifests of all pending ones without waiting for more, since the process ends.
async fn collect(builder: &Builder, input: &Location) -> anyhow::Result<Backfilled> {
    let collected = builder.backfill(input).await?;
    builder.sweep_all().await?;
    builder.take_back_blameless(input).await?;
    builder.cut_all(Flush::Now).await?;
    builder.cut_failed(input).await?;
    Ok(collected)
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if report.failed.iter().any(|failed| !failed.files.is_empty()) {
        tell(
            "files that are at fault are tried again by the next run, each alone: mend or replace them, or move them out of the input",
        );
    }
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else if report.manifests > 0 || report.quarantined > 0 || !report.overwritten.is_empty() {
        print!("{}", report.to_text());
    }
    Ok(())
}
