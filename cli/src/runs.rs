//! `millwork runs`: what becomes of manifests, and what is to become of them.

use crate::client::{Client, ClientOptions};
use crate::list::{ListOptions, Listing, print_json, time};
use crate::table;
use clap::{Args, Subcommand};
use millwork_api::{AnyOf, EventData, Priority, PriorityChange, Run, RunDetail, RunQuery, path};
use millwork_manifest::{FailureClass, RunState};
use std::process::ExitCode;

/// Show and steer the runs of manifests.
///
/// Without a subcommand, lists them, the newest first.
#[derive(Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    command: Option<Command>,

    #[command(flatten)]
    list: ListRunsOptions,
}

#[derive(Subcommand)]
enum Command {
    /// List runs, the newest first
    List(ListRunsOptions),
    /// Show one run: its attempts, what it produced, how far it is
    Show(RunOptions),
    /// End a run: at once if it waits, else as soon as its attempt has stopped
    Cancel(RunOptions),
    /// Queue a run that failed or was cancelled once more
    Retry(RunOptions),
    /// Convert a completed run once more; the new output takes the place of the one it has
    Force(RunOptions),
    /// Change the place of a queued run in the queue
    Prioritise(PriorityOptions),
    /// Print changes of runs as they happen, until interrupted. When the scheduler goes, its return is waited for
    Watch(WatchOptions),
}

#[derive(Args)]
struct ListRunsOptions {
    /// Only runs in these states, with commas between them: draft, queued, planning, running, committing, completed, failed,
    /// cancelled
    #[arg(long, alias = "status", value_name = "STATE,…")]
    state: Option<AnyOf<RunState>>,

    /// Only runs with failures of these kinds: input, storage, resources, lost-executor, timeout, cancelled, bug
    #[arg(long, value_name = "CLASS,…")]
    failure_class: Option<AnyOf<FailureClass>>,

    #[command(flatten)]
    list: ListOptions,
}

#[derive(Args)]
struct RunOptions {
    /// The manifest's id
    id: String,

    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

#[derive(Args)]
struct PriorityOptions {
    #[command(flatten)]
    run: RunOptions,

    /// Runs of higher priority start first; of the same, the oldest. 0 unless told
    #[arg(allow_negative_numbers = true)]
    priority: i32,
}

#[derive(Args)]
struct WatchOptions {
    /// Print a JSON document a line
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

pub(crate) async fn runs(options: Options) -> anyhow::Result<ExitCode> {
    match options.command {
        None => list(options.list).await?,
        Some(Command::List(options)) => list(options).await?,
        Some(Command::Show(options)) => show(&options).await?,
        Some(Command::Cancel(options)) => act(&options, "cancel").await?,
        Some(Command::Retry(options)) => act(&options, "retry").await?,
        Some(Command::Force(options)) => act(&options, "force").await?,
        Some(Command::Prioritise(options)) => prioritise(&options).await?,
        Some(Command::Watch(options)) => watch(&options).await?,
    }
    Ok(ExitCode::SUCCESS)
}

const RUNS: Listing<Run, 8> = Listing {
    path: path::RUNS,
    name: "runs",
    headings: ["RUN", "STATE", "PRIORITY", "ATTEMPTS", "FILES", "SIZE", "CHANGED", "FAILURE"],
    row: |run| {
        [
            run.manifest_id.to_string(),
            run.state.to_string(),
            run.priority.to_string(),
            run.attempts.to_string(),
            run.files.to_string(),
            table::bytes(run.bytes),
            time(run.updated_at),
            run.failure.as_ref().map(|failure| failure.message.clone()).unwrap_or_default(),
        ]
    },
};

async fn list(options: ListRunsOptions) -> anyhow::Result<()> {
    let query = RunQuery {
        state: options.state.unwrap_or_default(),
        failure_class: options.failure_class.unwrap_or_default(),
        date: options.list.date,
        ..RunQuery::default()
    };
    RUNS.print(&options.list, query).await
}

async fn show(options: &RunOptions) -> anyhow::Result<()> {
    let run: RunDetail = Client::new(&options.client)?.get(&path::run(&options.id), &()).await?;
    if options.json {
        return print_json(&run);
    }
    println!("{}", detail_line(&run));
    for moment in &run.timeline {
        let attempt = moment.attempt.map_or(String::new(), |attempt| format!(" (attempt {attempt})"));
        println!("  {}  {}{attempt}", time(moment.at), moment.what);
    }
    if let Some(progress) = &run.progress {
        let (read, all) = (table::bytes(progress.read_bytes), table::bytes(progress.bytes));
        let left = progress.eta_seconds.map_or(String::new(), |seconds| format!(", about {seconds:.0} s left"));
        let (step, percent) = (progress.phase.name.as_str(), progress.percent);
        let (done, tasks) = (progress.tasks_done, progress.tasks);
        println!("  {step}: {read} of {all} read ({percent} %), {done} of {tasks} tasks done{left}");
    }
    for output in run.result.iter().flat_map(|result| &result.outputs) {
        println!("  {}  {} rows, {}", output.uri, output.rows, table::bytes(output.bytes));
    }
    Ok(())
}

async fn act(options: &RunOptions, what: &str) -> anyhow::Result<()> {
    let client = Client::new(&options.client)?;
    let run = client.post_text(&path::run_part(&options.id, what), &(), "{}".to_owned()).await?;
    print_run(&run, options.json)
}

async fn prioritise(options: &PriorityOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.run.client)?;
    let change = PriorityChange { priority: Priority(options.priority) };
    let run = client.put(&path::run_part(&options.run.id, "priority"), &change).await?;
    print_run(&run, options.run.json)
}

async fn watch(options: &WatchOptions) -> anyhow::Result<()> {
    let print = |event: &EventData| match event {
        EventData::Run(change) if options.json => {
            if let Ok(text) = serde_json::to_string(change) {
                println!("{text}");
            }
        }
        EventData::Run(change) => {
            let failure = change.failure.as_ref().map_or(String::new(), |failure| format!("  {}", failure.message));
            println!("{}  {}  {}{failure}", time(change.at), change.manifest_id, change.state);
        }
        EventData::Role(role) if !role.leads => {
            eprintln!("this scheduler stands by: changes come when it takes over");
        }
        EventData::Role(_) | EventData::Progress(_) | EventData::Stats(_) => {}
        EventData::Lagged(lagged) => {
            eprintln!("{} changes were missed: `millwork runs` shows how it is", lagged.missed);
        }
    };
    Client::new(&options.client)?.watch(print).await
}

fn print_run(run: &Run, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(run);
    }
    println!("{}", line(run));
    Ok(())
}

/// A run in one line.
pub(crate) fn line(run: &Run) -> String {
    match &run.failure {
        Some(failure) => format!("{}  {}  {}", run.manifest_id, run.state, failure.message),
        None => format!("{}  {}", run.manifest_id, run.state),
    }
}

/// The same, with what it produced.
pub(crate) fn detail_line(detail: &RunDetail) -> String {
    match (&detail.result, &detail.run.failure) {
        (Some(result), None) => format!(
            "{}  {} rows in {} files, {} lines rejected",
            line(&detail.run),
            result.rows,
            result.outputs.len(),
            result.rejected
        ),
        _ => line(&detail.run),
    }
}
