//! `millwork runs`: shows and controls the runs of manifests.

use crate::client::{Client, ClientOptions};
use crate::failure::usage;
use crate::list::{ListOptions, Listing, print_json, time};
use crate::plans::{self, ChangeOptions};
use crate::{filter, put_back, table};
use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use millwork_api::{Action, AnyOf, EventData, Priority, Run, RunDetail, RunQuery, Select, path};
use millwork_diagnosis::many;
use millwork_manifest::{FailureClass, RunState, printable};
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
    #[command(
        after_help = "Examples:\n  millwork runs list --state failed --since 24h\n  millwork runs list --date 2025-12-23 --limit 1000 --json"
    )]
    List(ListRunsOptions),
    /// Show one run: its attempts, what it produced, how far it is
    #[command(
        after_help = "Examples:\n  millwork runs show 2025-12-23-batch-0407-20251223-101500\n  millwork runs show 2025-12-23-batch-0407-20251223-101500 --json"
    )]
    Show(RunOptions),
    /// End runs: at once if they wait, else as soon as their attempt has stopped
    #[command(
        after_help = "Examples:\n  millwork runs cancel 2025-12-23-batch-0407-20251223-101500\n  millwork runs cancel --where 'state=queued date=2025-12-23' --dry-run"
    )]
    Cancel(ActOptions),
    /// Queue runs that failed or were cancelled once more
    #[command(
        after_help = "Examples:\n  millwork runs retry 2025-12-23-batch-0407-20251223-101500 --reason \"the bucket is back\"\n  millwork runs retry --where 'state=failed class=storage since=24h' --dry-run"
    )]
    Retry(ActOptions),
    /// Convert completed runs once more; the new output takes the place of the one they have
    #[command(
        after_help = "Examples:\n  millwork runs force 2025-12-23-batch-0407-20251223-101500\n  millwork runs force --where 'state=completed date=2025-12-23' --dry-run"
    )]
    Force(ActOptions),
    /// Change the place of queued runs in the queue
    #[command(
        after_help = "Examples:\n  millwork runs prioritise 2025-12-23-batch-0407-20251223-101500 100\n  millwork runs prioritise --where 'state=queued date=2025-12-23' -10"
    )]
    Prioritise(PriorityOptions),
    PutBack(put_back::Options),
    /// Print changes of runs as they happen, until interrupted. When the scheduler goes, its return is waited for
    #[command(after_help = "Examples:\n  millwork runs watch\n  millwork runs watch --json")]
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

    /// Only runs whose manifest's id begins so
    #[arg(long, value_name = "TEXT")]
    prefix: Option<String>,

    /// Only runs that were queued first at this time or later: 2025-12-23T10:00:00Z, or how long ago, such as 90m, 24h or 7d
    #[arg(long, value_name = "TIME", value_parser = filter::time)]
    since: Option<DateTime<Utc>>,

    /// Only runs that were queued first before this time
    #[arg(long, value_name = "TIME", value_parser = filter::time)]
    until: Option<DateTime<Utc>>,

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

/// Changes are shown first, and made after a yes: on a terminal one is asked, elsewhere --yes says it.
#[derive(Args)]
struct ActOptions {
    /// The manifests' ids
    #[arg(value_name = "ID", required_unless_present = "filter", conflicts_with = "filter")]
    ids: Vec<String>,

    /// All runs that match, such as 'state=failed class=storage' or 'date=2025-12-23'
    #[arg(long = "where", value_name = "FILTER", value_parser = filter::runs)]
    filter: Option<RunQuery>,

    #[command(flatten)]
    change: ChangeOptions,
}

impl ActOptions {
    async fn act(self, action: Action) -> anyhow::Result<ExitCode> {
        let select = self.filter.map_or(Select::Ids(self.ids), Select::Runs);
        plans::change(action, select, &self.change).await
    }
}

#[derive(Args)]
struct PriorityOptions {
    /// The manifests' ids, unless --where tells which; then the priority: -1000 to 1000. Runs of higher priority start first; of
    /// the same, the oldest
    #[arg(value_name = "ID… PRIORITY", required = true, allow_negative_numbers = true)]
    words: Vec<String>,

    /// All runs that match, such as 'state=queued date=2025-12-23'
    #[arg(long = "where", value_name = "FILTER", value_parser = filter::runs)]
    filter: Option<RunQuery>,

    #[command(flatten)]
    change: ChangeOptions,
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
        Some(Command::Cancel(options)) => return options.act(Action::Cancel).await,
        Some(Command::Retry(options)) => return options.act(Action::Retry).await,
        Some(Command::Force(options)) => return options.act(Action::Force).await,
        Some(Command::Prioritise(options)) => return prioritise(options).await,
        Some(Command::PutBack(options)) => return put_back::put_back(options).await,
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
            run.bytes.map_or_else(|| "-".to_owned(), table::bytes),
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
        prefix: options.prefix,
        since: options.since,
        until: options.until,
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
        println!("  {}  {}, {}", printable(&output.uri), many(output.rows, "row"), table::bytes(output.bytes));
    }
    Ok(())
}

async fn prioritise(mut options: PriorityOptions) -> anyhow::Result<ExitCode> {
    let word = options.words.pop().unwrap_or_default();
    let priority = word.parse().ok().and_then(|number: i64| Priority::try_from(number).ok());
    let limit = Priority::LIMIT;
    let priority = priority.ok_or_else(|| {
        usage(format!("the last word is the priority, -{limit} to {limit}, not `{}`", printable(&word)))
    })?;
    let select = match (options.filter, options.words) {
        (Some(filter), ids) if ids.is_empty() => Select::Runs(filter),
        (None, ids) if !ids.is_empty() => Select::Ids(ids),
        (Some(_), _) => return Err(usage("name runs, or say --where, not both")),
        (None, _) => return Err(usage("name the runs before the priority, or say --where")),
    };
    plans::change(Action::Priority(priority), select, &options.change).await
}

async fn watch(options: &WatchOptions) -> anyhow::Result<()> {
    let print = |event: &EventData| match event {
        EventData::Run(change) if options.json => {
            if let Ok(text) = serde_json::to_string(change) {
                println!("{text}");
            }
        }
        EventData::Run(change) => {
            let failure =
                change.failure.as_ref().map_or(String::new(), |failure| format!("  {}", printable(&failure.message)));
            println!("{}  {}  {}{failure}", time(change.at), change.manifest_id, change.state);
        }
        EventData::Role(role) if !role.leads => {
            eprintln!("this scheduler stands by: changes come when it takes over");
        }
        EventData::Role(_) | EventData::Progress(_) | EventData::Stats(_) => {}
        EventData::Lagged(lagged) => {
            eprintln!("{} missed: `millwork runs` shows how it is", many(lagged.missed, "change"));
        }
    };
    Client::new(&options.client)?.watch(print).await
}

/// Summary of a run in one line.
pub(crate) fn line(run: &Run) -> String {
    match &run.failure {
        Some(failure) => format!("{}  {}  {}", run.manifest_id, run.state, printable(&failure.message)),
        None => format!("{}  {}", run.manifest_id, run.state),
    }
}

/// Line of a run's details, with its output once there is one.
pub(crate) fn detail_line(detail: &RunDetail) -> String {
    match (&detail.result, &detail.run.failure) {
        (Some(result), None) => format!(
            "{}  {} in {}, {} rejected",
            line(&detail.run),
            many(result.rows, "row"),
            many(result.outputs.len() as u64, "file"),
            many(result.rejected, "line")
        ),
        _ => line(&detail.run),
    }
}
