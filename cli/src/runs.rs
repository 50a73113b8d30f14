//! `millwork runs`: what becomes of manifests, and what is to become of them.

use crate::client::{Client, ClientOptions, ServerEvent};
use crate::list::{ListOptions, Listing, print_json};
use crate::table;
use clap::{Args, Subcommand};
use serde_json::{Value, json};
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
    /// Only runs in this state: draft, queued, planning, running, committing, completed, failed, cancelled
    #[arg(long, value_name = "STATE")]
    status: Option<String>,

    /// Only runs with a failure of this kind: input, storage, resources, lost-executor, timeout, cancelled, bug
    #[arg(long, value_name = "CLASS")]
    failure_class: Option<String>,

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

const RUNS: Listing<8> = Listing {
    path: "runs",
    name: "runs",
    headings: ["RUN", "STATE", "PRIORITY", "ATTEMPTS", "FILES", "SIZE", "CHANGED", "FAILURE"],
    row: |run| {
        [
            text(&run["manifest_id"]),
            text(&run["state"]),
            text(&run["priority"]),
            text(&run["attempts"]),
            text(&run["files"]),
            table::bytes(run["bytes"].as_u64().unwrap_or_default()),
            text(&run["updated_at"]),
            text(&run["failure"]["message"]),
        ]
    },
};

async fn list(options: ListRunsOptions) -> anyhow::Result<()> {
    RUNS.print(&options.list, &[("status", options.status), ("failure_class", options.failure_class)]).await
}

async fn show(options: &RunOptions) -> anyhow::Result<()> {
    let run = Client::new(&options.client)?.get(&path(&options.id, ""), &[]).await?;
    if options.json {
        return print_json(&run);
    }
    println!("{}", line(&run));
    for moment in run["timeline"].as_array().into_iter().flatten() {
        let attempt = moment["attempt"].as_u64().map_or(String::new(), |attempt| format!(" (attempt {attempt})"));
        println!("  {}  {}{attempt}", text(&moment["at"]), text(&moment["what"]));
    }
    for stage in run["progress"]["stages"].as_array().into_iter().flatten() {
        let tasks = stage["tasks"].as_array().map_or(&[][..], Vec::as_slice);
        let done = tasks.iter().filter(|task| task["state"] == "successful").count();
        println!("  stage {}: {done} of {} tasks done", stage["id"], stage["partitions"]);
    }
    for output in run["result"]["outputs"].as_array().into_iter().flatten() {
        let size = table::bytes(output["bytes"].as_u64().unwrap_or_default());
        println!("  {}  {} rows, {size}", text(&output["uri"]), output["rows"]);
    }
    Ok(())
}

async fn act(options: &RunOptions, what: &str) -> anyhow::Result<()> {
    let run = Client::new(&options.client)?.post(&path(&options.id, what), &[], &json!({})).await?;
    print_run(&run, options.json)
}

async fn prioritise(options: &PriorityOptions) -> anyhow::Result<()> {
    let client = Client::new(&options.run.client)?;
    let run = client.put(&path(&options.run.id, "priority"), &json!({"priority": options.priority})).await?;
    print_run(&run, options.run.json)
}

async fn watch(options: &WatchOptions) -> anyhow::Result<()> {
    let print = |event: &ServerEvent| {
        let data = &event.data;
        match event.name.as_str() {
            "run" if options.json => println!("{data}"),
            "run" => {
                let failure = data["failure"]["message"].as_str().map_or(String::new(), |text| format!("  {text}"));
                println!("{}  {}  {}{failure}", text(&data["at"]), text(&data["manifest_id"]), text(&data["state"]));
            }
            "role" if data["leads"] == false => eprintln!("this scheduler stands by: changes come when it takes over"),
            "lagged" => eprintln!("{} changes were missed: `millwork runs` shows how it is", data["missed"]),
            _ => {}
        }
    };
    Client::new(&options.client)?.watch(print).await
}

/// The path of a run. An id that is none is refused by the scheduler.
fn path(id: &str, what: &str) -> String {
    let escaped = |byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    let id: String = id.bytes().map(escaped).collect();
    format!("runs/{id}/{what}").trim_end_matches('/').to_owned()
}

fn print_run(run: &Value, as_json: bool) -> anyhow::Result<()> {
    if as_json {
        return print_json(run);
    }
    println!("{}", line(run));
    Ok(())
}

/// A run in one line.
pub(crate) fn line(run: &Value) -> String {
    let (id, state) = (text(&run["manifest_id"]), text(&run["state"]));
    let result = &run["result"];
    match (result["rows"].as_u64(), run["failure"]["message"].as_str()) {
        (_, Some(message)) => format!("{id}  {state}  {message}"),
        (Some(rows), None) => {
            let files = result["outputs"].as_array().map_or(0, Vec::len);
            format!("{id}  {state}  {rows} rows in {files} files, {} lines rejected", result["rejected"])
        }
        (None, None) => format!("{id}  {state}"),
    }
}

/// A value as people read it: nothing for null.
pub(crate) fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}
