//! `millwork run`: all of it in one process, on a directory.

use crate::embedded::Embedded;
use crate::report::{Report, count};
use anyhow::Context;
use chrono::Utc;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use millwork_conversion::input_bytes_read;
use millwork_manifest::{BatchCaps, FileRules, Flush, MissingDate};
use millwork_manifest_builder::{Collected, Intake};
use millwork_scheduler::{RunOptions, Scheduler};
use millwork_storage::absolute;
use millwork_tracking::{QueuedManifest, SqliteStore};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

/// Convert all that is new in a directory, in one process, then exit.
///
/// Lists the input, quarantines what cannot be converted, groups the rest by date, cuts manifests, converts them and
/// publishes the output. Run it again, and only what is new is converted; after a crash it goes on where it was.
#[derive(Args)]
pub(crate) struct Options {
    /// Directory with .ndjson, .ndjson.gz and .ndjson.zst files, at any depth
    #[arg(long, value_name = "DIR")]
    input: PathBuf,

    #[command(flatten)]
    run: RunOptions,

    /// Where files and runs are remembered [default: sqlite:{output}/_millwork/state.db]
    #[arg(long, value_name = "sqlite:PATH")]
    state: Option<String>,

    /// How many tasks run at once [default: the number of cores]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024))]
    vcores: Option<u32>,

    /// Print one JSON document on stdout
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    rules: Rules,
}

/// What a file must be, and how large manifests get.
#[derive(Args)]
#[command(next_help_heading = "Files and manifests")]
pub(crate) struct Rules {
    /// Size a file is expected to have, in MiB
    #[arg(long, env = "EXPECTED_FILE_SIZE_MB", value_name = "MB", default_value_t = 10.0)]
    expected_file_size_mb: f64,

    /// How far from that it may be, in percent: 99 accepts 0.1 to 19.9 MiB of 10; 100 accepts empty files
    #[arg(long, env = "SIZE_TOLERANCE_PERCENT", value_name = "PERCENT", default_value_t = 99.0)]
    size_tolerance_percent: f64,

    /// What becomes of a file without a date in its key: quarantine, or today (UTC)
    #[arg(long, env = "MISSING_DATE", value_name = "RULE", default_value = "quarantine")]
    missing_date: MissingDate,

    /// Size of a manifest's files at most, in GiB
    #[arg(long, env = "MAX_BATCH_SIZE_GB", value_name = "GB", default_value_t = 0.7)]
    max_batch_size_gb: f64,

    /// Number of a manifest's files at most
    #[arg(long, env = "MAX_FILES_PER_MANIFEST", value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    max_files_per_manifest: u32,
}

impl Rules {
    fn file_rules(&self) -> anyhow::Result<FileRules> {
        anyhow::ensure!(
            self.expected_file_size_mb > 0.0 && self.size_tolerance_percent >= 0.0 && self.max_batch_size_gb > 0.0,
            "the expected size and the batch size must be above 0, the tolerance not below"
        );
        Ok(FileRules {
            expected_file_size_mb: self.expected_file_size_mb,
            size_tolerance_percent: self.size_tolerance_percent,
            missing_date: self.missing_date,
        })
    }
}

/// Runs it; the exit code says whether every manifest completed.
pub(crate) async fn run(options: Options) -> anyhow::Result<ExitCode> {
    let started = Instant::now();
    let output = absolute(&options.run.output)?;
    let intake = intake(&options, &output)?;
    if let Some(query) = options.run.conversion()?.query.explained() {
        return crate::explain::explain_input(&intake, &options.run, query, vcores(&options)).await;
    }
    let (path, is_default) = state_path(&options, &output)?;
    if is_default && !intake.input.is_dir() {
        // Nothing is created for an input that is not there.
        millwork_storage::list(&intake.input)?;
    }
    let store = Arc::new(SqliteStore::open_as_owner(&path)?);
    let collecting = {
        let (intake, store) = (intake.clone(), store.clone());
        tokio::task::spawn_blocking(move || -> anyhow::Result<(Collected, Vec<QueuedManifest>)> {
            let collected = intake.collect(&store, Utc::now())?;
            Ok((collected, store.unfinished()?))
        })
    };
    let (collected, unfinished) = collecting.await??;
    let mut report = Report::default();
    note_collected(&mut report, &collected);
    let mut code = ExitCode::SUCCESS;
    if unfinished.is_empty() {
        let nothing = if collected.listed == 0 { "the input is empty" } else { "nothing new in the input" };
        eprintln!("millwork: {nothing}: {}", intake.input.display());
    } else {
        let embedded = Embedded::start(vcores(&options)).await?;
        let scheduler = Scheduler::new(embedded.engine.clone(), store, options.run.clone())?;
        if !convert(&scheduler, &unfinished, &mut report).await? {
            code = ExitCode::from(130);
        }
    }
    report.seconds = started.elapsed().as_secs_f64();
    report.sort();
    show(&report, options.json)?;
    Ok(if report.failed.is_empty() { code } else { ExitCode::FAILURE })
}

fn vcores(options: &Options) -> usize {
    options.vcores.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), |n| n as usize)
}

fn intake(options: &Options, output: &Path) -> anyhow::Result<Intake> {
    let quarantine = options.run.quarantine.as_deref().map(absolute).transpose()?;
    let rules = &options.rules;
    let intake = Intake {
        input: absolute(&options.input)?,
        quarantine,
        manifests: output.join("_millwork"),
        rules: rules.file_rules()?,
        caps: BatchCaps::new(rules.max_batch_size_gb, rules.max_files_per_manifest as usize, 0),
        // The process ends: nothing waits for more.
        flush: Flush::Now,
    };
    intake.check_loops(&[("the output", output)])?;
    Ok(intake)
}

fn state_path(options: &Options, output: &Path) -> anyhow::Result<(PathBuf, bool)> {
    match &options.state {
        None => Ok((output.join("_millwork/state.db"), true)),
        Some(url) => {
            let path = url.strip_prefix("sqlite:").context("--state is sqlite:PATH")?;
            Ok((absolute(path.as_ref())?, false))
        }
    }
}

fn note_collected(report: &mut Report, collected: &Collected) {
    report.quarantined = collected.quarantined.len() as u64;
    report.quarantined_files.clone_from(&collected.quarantined);
    report.overwritten = collected.overwritten.iter().map(ToString::to_string).collect();
    for uri in &collected.missing {
        eprintln!("millwork: a file that was waiting is gone: {uri}");
    }
}

/// Takes every unfinished run to its end. False if the user interrupted it.
async fn convert(scheduler: &Scheduler, unfinished: &[QueuedManifest], report: &mut Report) -> anyhow::Result<bool> {
    let mut events = scheduler.events();
    scheduler.resume()?;
    let bar = progress_bar(unfinished);
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut left = unfinished.len();
    let mut terminate = signal(SignalKind::terminate())?;
    while left > 0 {
        tokio::select! {
            ended = events.recv() => {
                let ended = ended?;
                left -= 1;
                if let Err(failure) = &ended.outcome {
                    bar.suspend(|| eprintln!("millwork: manifest {} failed ({}): {failure}", ended.manifest_id, failure.class));
                }
                report.add(ended.manifest_id.as_str(), &ended.outcome);
            }
            _ = tick.tick() => {
                bar.set_position(input_bytes_read().min(bar.length().unwrap_or(0)));
                bar.set_message(format!("{} to go", count(left as u64, "manifest")));
            }
            _ = tokio::signal::ctrl_c() => break,
            _ = terminate.recv() => break,
        }
    }
    if left > 0 {
        bar.abandon();
        eprintln!("millwork: interrupted: what was finished is published, the rest goes on next time");
        scheduler.shut_down().await;
        return Ok(false);
    }
    bar.finish_and_clear();
    Ok(true)
}

fn progress_bar(unfinished: &[QueuedManifest]) -> ProgressBar {
    let bytes = unfinished.iter().map(|queued| queued.manifest.total_bytes()).sum();
    let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template(
        "{bar:32} {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta} {msg}",
    );
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
