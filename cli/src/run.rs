//! `millwork run`: all of it in one process, on a directory.

use crate::embedded::{self, vcores};
use crate::report::{Report, count};
use anyhow::Context;
use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millwork_conversion::{Capacity, ConversionOptions, input_bytes_read};
use millwork_manifest::Flush;
use millwork_manifest_builder::{Backfilled, Builder, Rules, Settings};
use millwork_scheduler::{EndedRun, Engine, Lease, OutputLock, RunOptions, Scheduler};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::{RunCount, TrackingError, TrackingStore};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio::task::JoinHandle;

/// Convert all that is new in a directory, in one process, then exit.
///
/// Lists the input, quarantines what cannot be converted, groups the rest by date, cuts manifests, converts them and
/// publishes the output. Run it again, and only what is new is converted; after a crash it goes on where it was.
#[derive(Args)]
pub(crate) struct Options {
    /// Where the .ndjson, .ndjson.gz and .ndjson.zst files are, at any depth: a directory or s3://BUCKET/FOLDER
    #[arg(long, value_name = "PLACE")]
    input: String,

    #[command(flatten)]
    run: RunOptions,

    /// Where files and runs are remembered: sqlite:PATH or dynamodb:TABLE [default:
    /// sqlite:{output}/_millwork/state.db]
    #[arg(long, value_name = "URL")]
    state: Option<String>,

    /// How many threads convert, and how many tasks run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    rules: Rules,
}

/// How long a lock of a date lasts at most if nobody lets go of it.
const LOCK_TTL: chrono::Duration = chrono::Duration::seconds(10);

/// How often the store is asked what is left.
const LOOK: Duration = Duration::from_secs(2);

/// Runs it; the exit code says whether every manifest completed.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let output = options.run.output()?;
    let input = Location::parse(&options.input)?;
    let conversion = options.run.conversion(Places::of(&input))?;
    if let Some(query) = conversion.query.explained() {
        return crate::explain::explain_input(&input, &options.rules, &options.run, query, vcores(options.vcores))
            .await;
    }
    if let (None, Some(directory)) = (&options.state, input.local_path().filter(|path| !path.is_dir())) {
        // Nothing is created for an input that is not there.
        millwork_storage::list(directory)?;
    }
    let state = match (&options.state, output.local_path()) {
        (Some(state), _) => state.clone(),
        (None, Some(directory)) => format!("sqlite:{}/_millwork/state.db", directory.display()),
        (None, None) => anyhow::bail!("say where files and runs are remembered: --state sqlite:PATH or dynamodb:TABLE"),
    };
    let mut settings = settings(&options, &input, &output, &state)?;
    // Whoever runs it again after it was killed waits so long.
    settings.lock_ttl = settings.lock_ttl.min(LOCK_TTL);
    // Before anything is begun: from here on a signal ends it in order.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let engine = tokio::spawn(embedded::start(vcores(options.vcores)));
    let opened = tokio::select! {
        opened = open(&state, output) => opened.map(Some),
        _ = signals.next() => Ok(None),
    };
    let Ok(Some((lease, output))) = opened else {
        let _ = engine.await;
        return opened.map(|_| interrupted());
    };
    let holder = format!("millwork-run:{}", std::process::id());
    let capacity = Capacity { executors: 1, slots: vcores(options.vcores) };
    // Its files can be looked at while the manifest is written and queued.
    let ahead = conversion.clone();
    let builder = Builder::new(lease.store().clone(), Arc::new(Storage::from_env()), settings, holder)
        .with_drafting(move |manifest| ahead.early.begin(manifest, &ahead, capacity));
    let begun = Begun { started, signals, engine, conversion };
    let done = begun.run_on(&lease, output, &builder, &input, &options).await;
    // Before others may have it.
    lease.store().close().await;
    lease.release().await;
    if done.as_ref().is_ok_and(|code| *code == ExitCode::SUCCESS) {
        end();
    }
    done
}

/// Ends the process, which has done all it was to do. To give its memory back piece by piece first would take longer.
fn end() {
    if std::io::stdout().flush().is_ok() {
        signal_hook::low_level::exit(0);
    }
}

/// Opens the store, and takes what one process only may have.
async fn open(state: &str, output: Location) -> anyhow::Result<(Lease, OutputLock)> {
    let store = millwork_tracking::open(state).await?;
    let lease = Lease::take(state, &store).await?.with_context(|| TrackingError::InUse(state.to_owned()))?;
    Ok((lease, OutputLock::take(output)?))
}

/// What was there before the store was open.
struct Begun {
    started: Instant,
    signals: Signals,
    /// It is waited for in any case, so that it leaves nothing behind.
    engine: JoinHandle<anyhow::Result<Engine>>,
    conversion: ConversionOptions,
}

impl Begun {
    /// Collects and converts, and shows what came of it.
    async fn run_on(
        self,
        lease: &Lease,
        output: OutputLock,
        builder: &Builder,
        input: &Location,
        options: &Options,
    ) -> anyhow::Result<ExitCode> {
        let Self { started, mut signals, engine, conversion } = self;
        let collected = tokio::select! {
            collected = collect(builder, input) => Some(collected),
            _ = signals.next() => None,
        };
        // The engine has started meanwhile.
        let started_engine = engine.await;
        let Some(collected) = collected else {
            return Ok(interrupted());
        };
        let collected = collected?;
        let left = Left::in_store(lease.store()).await?;
        let mut report = Report::default();
        note_collected(&mut report, &collected);
        let mut code = ExitCode::SUCCESS;
        if left.runs == 0 {
            let nothing = if collected.listed == 0 { "the input is empty" } else { "nothing new in the input" };
            eprintln!("millwork: {nothing}: {input}");
        } else {
            let engine = started_engine??;
            let (scheduler, ended) = Scheduler::start(engine, lease, output, options.run.clone(), conversion)?;
            if !convert(&scheduler, ended, left, signals, &mut report).await? {
                code = ExitCode::from(130);
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        report.sort();
        show(&report, options.json)?;
        Ok(if report.failed.is_empty() { code } else { ExitCode::FAILURE })
    }
}

fn interrupted() -> ExitCode {
    eprintln!("millwork: interrupted: the rest goes on next time");
    ExitCode::from(130)
}

/// What is still to be converted.
#[derive(Clone, Copy, Default)]
struct Left {
    runs: u64,
    bytes: u64,
}

impl Left {
    async fn in_store(store: &Arc<dyn TrackingStore>) -> anyhow::Result<Self> {
        let add = |left: Self, count: RunCount| Self { runs: left.runs + count.runs, bytes: left.bytes + count.bytes };
        Ok(store.count_runs().await?.into_iter().fold(Self::default(), add))
    }
}

fn settings(options: &Options, input: &Location, output: &Location, state: &str) -> anyhow::Result<Settings> {
    let (output, quarantine) = (output.to_string(), options.run.quarantine.as_deref());
    options.rules.settings(Places::of(input), &format!("{output}/_millwork"), quarantine, Some(&output), state)
}

/// Tracks what is new in the input, and makes manifests of all that waits: the process ends, nothing waits for more.
async fn collect(builder: &Builder, input: &Location) -> anyhow::Result<Backfilled> {
    let collected = builder.backfill(input).await?;
    builder.sweep_all().await?;
    builder.cut_all(Flush::Now).await?;
    builder.cut_failed(input).await?;
    Ok(collected)
}

fn note_collected(report: &mut Report, collected: &Backfilled) {
    report.quarantined = collected.quarantined.len() as u64;
    report.quarantined_files.clone_from(&collected.quarantined);
    report.overwritten = collected.overwritten.iter().map(ToString::to_string).collect();
    if !collected.too_old.is_empty() {
        let (files, example) = (count(collected.too_old.len() as u64, "file"), &collected.too_old[0]);
        eprintln!("millwork: {files} older than the state remembers left alone, such as {example}; see --max-age-days");
    }
    report.foreign.clone_from(&collected.foreign);
    for file in &collected.foreign {
        eprintln!("millwork: refused, and left as it is: {}: {}", file.uri, file.detail);
    }
    for uri in &collected.missing {
        eprintln!("millwork: a file that was waiting is gone: {uri}");
    }
}

/// Takes every run to its end. False if the user interrupted it.
async fn convert(
    scheduler: &Scheduler,
    mut ended: broadcast::Receiver<EndedRun>,
    mut left: Left,
    mut signals: Signals,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let bar = progress_bar(left.bytes);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut look = tokio::time::interval(LOOK);
    // One whose publication takes long is told of as failed, and once more when it is completed.
    let mut told = HashSet::new();
    let mut add = |run: EndedRun, left: &mut Left, report: &mut Report| {
        if told.insert(run.manifest_id.clone()) {
            left.runs = left.runs.saturating_sub(1);
        } else {
            report.forget(run.manifest_id.as_str());
        }
        if let Err(failure) = &run.outcome {
            bar.suspend(|| eprintln!("millwork: manifest {} failed ({}): {failure}", run.manifest_id, failure.class));
        }
        report.add(run.manifest_id.as_str(), &run.outcome);
    };
    let mut is_over = false;
    while left.runs > 0 && !is_over {
        tokio::select! {
            biased;
            // One that was told too late to be heard is in the store.
            Ok(run) = ended.recv() => add(run, &mut left, report),
            _ = signals.next() => break,
            () = scheduler.deposed().cancelled() => anyhow::bail!("another process runs the manifests of this state now"),
            () = scheduler.stopped().cancelled() => anyhow::bail!("it broke off, for the reason above: run it again to go on"),
            _ = tick.tick() => {
                bar.set_position(input_bytes_read().min(bar.length().unwrap_or(0)));
                bar.set_message(format!("{} to go", count(left.runs, "manifest")));
            }
            // A run may end without a word here, such as one that another process has cancelled.
            _ = look.tick() => match Left::in_store(scheduler.store()).await {
                Ok(in_store) => is_over = in_store.runs == 0 && scheduler.is_idle(),
                Err(error) => tracing::debug!(%error, "cannot ask what is left"),
            },
        }
    }
    while let Ok(run) = ended.try_recv() {
        add(run, &mut left, report);
    }
    if left.runs > 0 && !is_over {
        bar.abandon();
        eprintln!("millwork: interrupted: what was finished is published, the rest goes on next time");
        // What takes longer goes on next time, too.
        let _ = tokio::time::timeout(LAST_COMMITS, scheduler.shut_down()).await;
        return Ok(false);
    }
    bar.finish_and_clear();
    Ok(true)
}

/// Time that commits have to come to their end when the command is interrupted.
const LAST_COMMITS: std::time::Duration = std::time::Duration::from_secs(10);

fn progress_bar(bytes: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style =
        ProgressStyle::with_template("{bar:32} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} {eta} {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
    } else if report.manifests > 0 || report.quarantined > 0 || !report.overwritten.is_empty() {
        print!("{}", report.to_text());
    }
    Ok(())
}
