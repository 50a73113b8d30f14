//! `millwork run`: the whole pipeline in one process, for a directory.

mod told;

use crate::embedded::{self, vcores};
use crate::exit::Exit;
use crate::failure::of_usage;
use crate::report::{Report, count};
use crate::unheard::unheard;
use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millwork_conversion::{Capacity, ConversionOptions, EarlySurvey, input_bytes_read};
use millwork_diagnosis::shell_word;
use millwork_manifest::{Flush, ManifestId, ObjectUri, printable};
use millwork_manifest_builder::{Backfilled, Builder, Rules, Settings};
use millwork_scheduler::{
    Adopted, Change, EndedRun, Engine, Lease, OutputLayout, OutputLock, ReadPlaces, RunOptions, Scheduler, claim_output,
};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::{RunCount, RunState, StateUrl, TrackingError, TrackingStore};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::collections::HashSet;
use std::io::Write;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::task::JoinHandle;
use told::{note_collected, tell, tell_gone, tell_some};

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

/// Interval at which the store is asked for remaining work.
const LOOK: Duration = Duration::from_secs(2);

/// Runs the command; the exit code tells whether every manifest completed.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let (started, since) = (Instant::now(), Utc::now());
    let output = options.run.output()?;
    let input = Location::parse(&options.input)?;
    // Mended lines may have been submitted by a scheduler on the same state, and their runs be queued.
    let places = ReadPlaces::new(Places::of(&input), Places::none(), Some(&output));
    let storage = Storage::from_env();
    let conversion = options.run.conversion(places.convertible(), storage.clone()).map_err(of_usage)?;
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
    if let (None, Some(directory)) = (&options.state, input.local_path().filter(|path| !path.is_dir())) {
        // Fails before anything is created if the input does not exist.
        millwork_storage::list(directory)?;
    }
    let state = options.state.clone().map_or_else(|| crate::store::of_output(&output), Ok)?;
    let mut settings = settings(&options, &input, &output, &state).map_err(of_usage)?;
    // Checked before anything is created.
    settings.check_apart(&input).map_err(of_usage)?;
    // Bounds the wait of the next run after this one was killed.
    settings.lock_ttl = settings.lock_ttl.min(LOCK_TTL);
    // Installed before anything is begun, so that a signal leads to a clean end.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let engine = tokio::spawn(embedded::start(vcores(options.vcores), storage.clone()));
    let opened = tokio::select! {
        opened = open(&state, &storage, output, &options.run.layout, options.adopt) => opened.map(Some),
        _ = signals.next() => Ok(None),
    };
    let Ok(Some((lease, output))) = opened else {
        let _ = engine.await;
        return opened.map(|_| interrupted());
    };
    let holder = format!("millwork-run:{}", std::process::id());
    let capacity = Capacity { executors: 1, slots: vcores(options.vcores) };
    // Files of a manifest are surveyed while the manifest is written and queued.
    let early = EarlySurvey::default();
    let (ahead, options_ahead) = (early.clone(), conversion.clone());
    let builder = Builder::new(lease.store().clone(), Arc::new(storage), settings, holder)
        .with_drafting(move |manifest| ahead.begin(manifest, &options_ahead, capacity));
    let begun = Begun { started, since, signals, engine, conversion: (conversion, early) };
    let done = begun.run_on(&lease, output, &builder, &input, &options).await;
    // Closed before the lease is released to others.
    lease.store().close().await;
    lease.release().await;
    if done.as_ref().is_ok_and(|code| *code == ExitCode::SUCCESS) {
        end();
    }
    done
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
        let Self { started, since, mut signals, engine, conversion } = self;
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
            let (scheduler, mut ended) = Scheduler::start(engine, lease, output, options.run.clone(), conversion)?;
            let mut left = left;
            let mut heard = Heard { since, told: HashSet::new(), is_behind: false, at_fault: Vec::new() };
            while left.runs > 0 {
                if !convert(&scheduler, &mut ended, left, &mut signals, &mut heard, &mut report).await? {
                    code = Exit::Interrupted.into();
                    break;
                }
                // A file at fault is left out, and the other files of its manifest are pending again. Each round
                // removes at least one file.
                left = recut(builder, &scheduler, input, &std::mem::take(&mut heard.at_fault)).await?;
            }
        }
        report.seconds = started.elapsed().as_secs_f64();
        report.sort();
        if report.failed.iter().any(|failed| !failed.files.is_empty()) {
            tell(
                "files that are at fault are tried again by the next run, each alone: mend or replace them, or move them out of the input",
            );
        }
        show(&report, options.json)?;
        Ok(if report.is_all_well() { code } else { ExitCode::FAILURE })
    }
}

fn interrupted() -> ExitCode {
    eprintln!("millwork: interrupted: the rest goes on next time");
    Exit::Interrupted.into()
}

/// Remaining work: open runs, and the bytes of their manifests.
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

/// Received ends of runs, and their consequences.
struct Heard {
    /// Start of the command: runs that ended earlier are ignored.
    since: DateTime<Utc>,
    told: HashSet<ManifestId>,
    /// True if ends of runs may have been missed.
    is_behind: bool,
    /// Files at fault in runs that failed in this round.
    at_fault: Vec<ObjectUri>,
}

/// Makes manifests of the files that are pending after all runs have ended. If a failed file is gone, all other missing
/// files are found now, since otherwise each would cost its manifest another round. After a crash the next listing
/// finds them.
async fn recut(
    builder: &Builder,
    scheduler: &Scheduler,
    input: &Location,
    at_fault: &[ObjectUri],
) -> anyhow::Result<Left> {
    for file in at_fault {
        if builder.is_gone(file).await {
            tell_gone(&builder.mark_all_gone(input).await?);
            break;
        }
    }
    let made = builder.cut_all(Flush::Now).await?;
    for queued in &made {
        scheduler.queued(&queued.manifest.id, false);
    }
    if made.is_empty() { Ok(Left::default()) } else { Left::in_store(scheduler.store()).await }
}

/// Runs all runs to their end. Returns false if the user interrupted.
async fn convert(
    scheduler: &Scheduler,
    ended: &mut broadcast::Receiver<EndedRun>,
    mut left: Left,
    signals: &mut Signals,
    heard: &mut Heard,
    report: &mut Report,
) -> anyhow::Result<bool> {
    let bar = progress_bar(left.bytes);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut look = tokio::time::interval(LOOK);
    let mut changes = scheduler.changes();
    // A run whose publication is delayed is reported as failed, and again when it completes.
    let add = |run: EndedRun, left: &mut Left, heard: &mut Heard, report: &mut Report| {
        if heard.told.insert(run.manifest_id.clone()) {
            left.runs = left.runs.saturating_sub(1);
        } else {
            report.forget(run.manifest_id.as_str());
        }
        if let Err(failure) = &run.outcome {
            heard.at_fault.extend(failure.files().filter_map(|file| file.parse().ok()));
            bar.suspend(|| {
                eprintln!("millwork: manifest {} failed ({}): {failure}", run.manifest_id, failure.class);
                tell_some(failure.others.iter().map(|fault| format!("of the same manifest: {}", fault.message)));
            });
        }
        report.add(run.manifest_id.as_str(), &run.outcome);
    };
    let mut is_over = false;
    while left.runs > 0 && !is_over {
        tokio::select! {
            biased;
            run = ended.recv() => match run {
                Ok(run) => add(run, &mut left, heard, report),
                // Missed runs are read from the store.
                Err(RecvError::Lagged(_)) => heard.is_behind = true,
                Err(RecvError::Closed) => anyhow::bail!("the scheduler has ended by itself: run it again to go on"),
            },
            // Reported before the retry, so that the user can fix the cause meanwhile.
            Ok(Change { manifest_id, state: RunState::Queued, attempt, failure: Some(failure), .. }) = changes.recv() => {
                let class = failure.class;
                bar.suspend(|| eprintln!("millwork: manifest {manifest_id}: attempt {attempt} failed ({class}), and is made again soon: {failure}"));
            }
            _ = signals.next() => break,
            () = scheduler.deposed().cancelled() => anyhow::bail!("another process runs the manifests of this state now"),
            () = scheduler.stopped().cancelled() => anyhow::bail!("it broke off, for the reason above: run it again to go on"),
            _ = tick.tick() => {
                bar.set_position(input_bytes_read().min(bar.length().unwrap_or(0)));
                bar.set_message(format!("{} to go", count(left.runs, "manifest")));
            }
            // A run may end without a notification, for example if another process cancels it.
            _ = look.tick() => match Left::in_store(scheduler.store()).await {
                Ok(in_store) => is_over = in_store.runs == 0 && scheduler.is_idle(),
                Err(error) => tracing::debug!(%error, "cannot ask what is left"),
            },
        }
    }
    loop {
        match ended.try_recv() {
            Ok(run) => add(run, &mut left, heard, report),
            Err(TryRecvError::Lagged(_)) => heard.is_behind = true,
            Err(TryRecvError::Empty | TryRecvError::Closed) => break,
        }
    }
    // Runs that another process has ended are not announced either.
    if std::mem::take(&mut heard.is_behind) || is_over && left.runs > 0 {
        for run in unheard(&**scheduler.store(), heard.since, &heard.told).await? {
            add(run, &mut left, heard, report);
        }
    }
    if left.runs > 0 && !is_over {
        bar.abandon();
        eprintln!("millwork: interrupted: what was finished is published, the rest goes on next time");
        // Commits that take longer continue in the next run.
        let _ = tokio::time::timeout(LAST_COMMITS, scheduler.shut_down()).await;
        return Ok(false);
    }
    bar.finish_and_clear();
    Ok(true)
}

/// Time limit for commits when the command is interrupted.
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
