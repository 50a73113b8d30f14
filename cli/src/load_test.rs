//! `millwork load-test`: a load test of the whole pipeline, which proves that nothing was lost.

use crate::exit::Exit;
use crate::list::print_json;
use crate::table;
use anyhow::Context;
use chrono::{DateTime, Utc};
use clap::Args;
use datafusion::arrow::array::AsArray;
use datafusion::arrow::datatypes::Int64Type;
use datafusion::prelude::{ParquetReadOptions, SessionContext};
use futures::{StreamExt, TryStreamExt};
use millwork_diagnosis::many;
use millwork_manifest::{FileState, ObjectUri};
use millwork_tracking::{FileFilter, TrackingStore};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook_tokio::Signals;
use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Put files through the whole pipeline on this machine, phase by phase, and count what came out.
///
/// Each phase writes files of numbered lines, one line in a hundred no JSON, runs `millwork run` on them in a directory of its own, and reads
/// the output: rows that are missing, rows that are there twice, lines that were rejected. Times are those of the state: from the start until
/// files are pending, in a manifest, and committed. Exit code 1 if a row is lost or doubled, or if other lines are rejected than those; then,
/// and after an error, the directory is kept and named. It is removed in all other cases, also after Ctrl-C.
///
/// Examples:
///   millwork load-test --phases 10,100,1000
///   millwork load-test --phases 10000 --size-kb 16 --dir /mnt/scratch
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct Options {
    /// Number of files of each phase
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_value = "10,100,1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    phases: Vec<u32>,

    /// Size of each file, in KiB
    #[arg(long, value_name = "KB", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    size_kb: u32,

    /// Directory to work in, which needs room for the largest phase twice [default: that for temporary files]
    #[arg(long, value_name = "DIRECTORY")]
    dir: Option<PathBuf>,

    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

/// Result of a phase.
#[derive(Debug, Serialize)]
struct Phase {
    files: u64,
    manifests: u64,
    seconds: f64,
    files_per_second: f64,
    /// Times in seconds from the start until 95 of 100 files were pending, in a manifest, and completed.
    pending_p95: f64,
    manifested_p95: f64,
    completed_p95: f64,
    rows: u64,
    lost: u64,
    double: u64,
    rejected: u64,
    rejected_as_planned: bool,
}

impl Phase {
    fn is_well(&self) -> bool {
        self.lost == 0 && self.double == 0 && self.rejected_as_planned
    }
}

/// Number of attempts to remove a directory that a killed process may still be writing to, and the pause between them.
const REMOVALS: u32 = 50;
const REMOVAL_PAUSE: Duration = Duration::from_millis(100);
/// Interval of the lines that are not JSON.
const DIRTY: u64 = 100;
/// Limit of the timelines that are read concurrently.
const READS: usize = 64;
/// Page size for reading files from the state.
const PAGE: usize = 1000;
/// Date of all files.
const DATE: &str = "2025-12-23";

pub(crate) async fn load_test(options: Options) -> anyhow::Result<ExitCode> {
    // Installed before anything is written, so that a signal leads to a clean end.
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    let mut phases = Vec::new();
    for files in &options.phases {
        let place = working_directory(options.dir.as_deref())?;
        let done = tokio::select! {
            done = run_phase(*files, options.size_kb, place.path()) => done,
            _ = signals.next() => {
                remove(place).await;
                eprintln!("millwork: interrupted: what was written is removed");
                return Ok(Exit::Interrupted.into());
            }
        };
        let phase = match done {
            Ok(phase) if phase.is_well() => phase,
            Ok(phase) => {
                eprintln!("millwork: input, output and state are kept in `{}`", place.keep().display());
                phase
            }
            Err(error) => {
                let kept = place.keep();
                return Err(error.context(format!("input, output and state are kept in `{}`", kept.display())));
            }
        };
        if !options.json {
            eprintln!(
                "millwork: {}: {:.1} s, {} lost, {} double{}",
                many(phase.files, "file"),
                phase.seconds,
                phase.lost,
                phase.double,
                if phase.rejected_as_planned { "" } else { "; other lines were rejected than those that are no JSON" }
            );
        }
        phases.push(phase);
    }
    let is_well = phases.iter().all(Phase::is_well);
    if options.json {
        print_json(&phases)?;
    } else {
        print(&phases);
    }
    Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn print(phases: &[Phase]) {
    let headings = ["FILES", "RUNS", "TIME", "FILES/S", "PENDING", "MANIFEST", "DONE", "ROWS", "LOST", "DOUBLE"];
    let seconds = |seconds: f64| format!("{seconds:.1} s");
    let row = |phase: &Phase| {
        [
            phase.files.to_string(),
            phase.manifests.to_string(),
            seconds(phase.seconds),
            format!("{:.0}", phase.files_per_second),
            seconds(phase.pending_p95),
            seconds(phase.manifested_p95),
            seconds(phase.completed_p95),
            phase.rows.to_string(),
            phase.lost.to_string(),
            phase.double.to_string(),
        ]
    };
    table::print(headings, &phases.iter().map(row).collect::<Vec<_>>());
    eprintln!("PENDING, MANIFEST, DONE: time from the start until 95 of 100 files had come that far");
}

fn working_directory(dir: Option<&Path>) -> anyhow::Result<TempDir> {
    let mut place = tempfile::Builder::new();
    place.prefix("millwork-load-test-");
    let place = match dir {
        Some(dir) => place.tempdir_in(dir),
        None => place.tempdir(),
    };
    place.context("cannot make a directory to work in")
}

/// Removes the directory of an interrupted phase, whose run may still be writing for a moment while it is killed.
async fn remove(place: TempDir) {
    let path = place.keep();
    for _ in 0..REMOVALS {
        match tokio::fs::remove_dir_all(&path).await {
            Err(error) if error.kind() != ErrorKind::NotFound => tokio::time::sleep(REMOVAL_PAUSE).await,
            _ => return,
        }
    }
    eprintln!("millwork: `{}` cannot be removed: remove it by hand", path.display());
}

async fn run_phase(files: u32, size_kb: u32, place: &Path) -> anyhow::Result<Phase> {
    let (input, output, state) = (place.join("in"), place.join("out"), place.join("state.db"));
    std::fs::create_dir(&input)?;
    let (mut lines, mut dirty) = (0, 0);
    for number in 0..files {
        let (content, all, bad) = content(number, u64::from(size_kb) << 10);
        let path = input.join(format!("{DATE}-load-{number:06}.ndjson"));
        // Allows signals to be handled.
        tokio::task::yield_now().await;
        std::fs::write(&path, content).with_context(|| format!("cannot write `{}`", path.display()))?;
        (lines, dirty) = (lines + all, dirty + bad);
    }
    let (began, clock) = (Utc::now(), Instant::now());
    let report = convert(&input, &output, &state).await?;
    let seconds = clock.elapsed().as_secs_f64();
    let times = times(&state).await?;
    let (rows, different) = count(&output).await?;
    let (expected, rejected) = (lines - dirty, report.rejected);
    let p95 = |state| percentile(&times, state, began);
    Ok(Phase {
        files: files.into(),
        manifests: report.manifests,
        seconds,
        files_per_second: f64::from(files) / seconds.max(0.001),
        pending_p95: p95(FileState::Pending),
        manifested_p95: p95(FileState::Manifested),
        completed_p95: p95(FileState::Completed),
        rows,
        lost: expected.saturating_sub(different),
        double: rows - different,
        rejected,
        rejected_as_planned: rejected == dirty,
    })
}

/// Lines of a file, their number, and the number of those that are not JSON.
fn content(number: u32, bytes: u64) -> (String, u64, u64) {
    let (mut text, mut lines, mut dirty) = (String::new(), 0, 0);
    while (text.len() as u64) < bytes {
        lines += 1;
        if lines % DIRTY == 0 {
            dirty += 1;
            text.push_str("no JSON at all\n");
            continue;
        }
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "{{\"file\":{number},\"line\":{lines},\"text\":\"a line of a load test, {}\"}}",
            lines * 7919 % 1000
        );
    }
    (text, lines, dirty)
}

/// Numbers of the report of `millwork run`.
#[derive(Deserialize)]
struct Converted {
    manifests: u64,
    rejected: u64,
}

/// Runs `millwork run` in a child process, and returns its report.
async fn convert(input: &Path, output: &Path, state: &Path) -> anyhow::Result<Converted> {
    let mut command = tokio::process::Command::new(std::env::current_exe()?);
    command.args(["run", "--json", "--input"]).arg(input).arg("--output").arg(output);
    command.arg("--state").arg(format!("sqlite:{}", state.display())).env("SIZE_TOLERANCE_PERCENT", "100");
    let done = command.kill_on_drop(true).output().await.context("cannot run millwork")?;
    let errors = String::from_utf8_lossy(&done.stderr);
    anyhow::ensure!(done.status.success(), "the run failed: {}", errors.trim());
    serde_json::from_slice(&done.stdout)
        .context("the report of `millwork run` cannot be read: it is of another version")
}

/// Timelines of all files.
async fn times(state: &Path) -> anyhow::Result<Vec<(FileState, DateTime<Utc>)>> {
    let store = millwork_tracking::open(&format!("sqlite:{}", state.display())).await?;
    let mut filter = FileFilter { limit: PAGE, ..FileFilter::default() };
    let mut uris: Vec<ObjectUri> = Vec::new();
    loop {
        let page = store.list_files(&filter).await?;
        uris.extend(page.items.into_iter().map(|file| file.uri));
        filter.cursor = page.next_cursor;
        if filter.cursor.is_none() {
            break;
        }
    }
    let timeline = |uri: ObjectUri| {
        let store: Arc<dyn TrackingStore> = store.clone();
        async move { store.timeline(&uri).await }
    };
    let timelines: Vec<_> = futures::stream::iter(uris).map(timeline).buffer_unordered(READS).try_collect().await?;
    store.close().await;
    Ok(timelines.into_iter().flatten().map(|moment| (moment.state, moment.at)).collect())
}

/// Time in seconds after which 95 of 100 files had reached a state.
fn percentile(times: &[(FileState, DateTime<Utc>)], state: FileState, began: DateTime<Utc>) -> f64 {
    let mut seconds: Vec<f64> =
        times.iter().filter(|(known, _)| *known == state).map(|(_, at)| (*at - began).as_seconds_f64()).collect();
    seconds.sort_by(f64::total_cmp);
    let at = (seconds.len() * 95).div_ceil(100).saturating_sub(1);
    seconds.get(at).copied().unwrap_or(0.0).max(0.0)
}

/// Number of rows in all outputs, and number of distinct source lines among them.
async fn count(output: &Path) -> anyhow::Result<(u64, u64)> {
    let session = SessionContext::new();
    let place = output.join(format!("merged-parquet-{DATE}/"));
    session.register_parquet("outputs", place.to_string_lossy(), ParquetReadOptions::default()).await?;
    let query =
        "SELECT count(*), count(DISTINCT concat(_source_file, ' ', CAST(_source_line AS VARCHAR))) FROM outputs";
    let batches = session.sql(query).await?.collect().await?;
    let batch = batches
        .first()
        .with_context(|| format!("the outputs in `{}` could not be counted: there was no answer", place.display()))?;
    let number = |column: usize| {
        let values = batch.column(column).as_primitive_opt::<Int64Type>();
        values
            .map(|values| values.value(0))
            .and_then(|count| u64::try_from(count).ok())
            .context("the count of rows is no number")
    };
    Ok((number(0)?, number(1)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_of_the_size_that_was_asked_for_and_some_are_bad() {
        let (text, lines, dirty) = content(7, 64 << 10);
        assert!((64 << 10..66 << 10).contains(&text.len()));
        assert_eq!((lines, dirty), (text.lines().count() as u64, lines / DIRTY));
    }

    #[test]
    fn a_percentile_is_of_one_state() {
        let began = DateTime::UNIX_EPOCH;
        let at = |seconds| began + chrono::Duration::seconds(seconds);
        let times: Vec<_> =
            (1..=100).map(|n| (FileState::Pending, at(n))).chain([(FileState::Completed, at(500))]).collect();
        assert_eq!(percentile(&times, FileState::Pending, began), 95.0);
        assert_eq!(percentile(&times, FileState::Completed, began), 500.0);
        assert_eq!(percentile(&times, FileState::Failed, began), 0.0);
    }
}
