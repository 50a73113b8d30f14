//! `millwork status` and `millwork cluster`: summary of a state, and its processes.

use crate::client::{Client, ClientOptions};
use crate::exit::Exit;
use crate::list::{print_json, time};
use crate::table;
use clap::Args;
use millwork_api::{Cluster, Executor, Held, LockInfo, Outlook, Stats, path};
use millwork_diagnosis::{many, span};
use std::process::ExitCode;

/// Show how it goes, in a few lines: runs, files, executors, and until when the backlog lasts.
///
/// `millwork top` shows the same as it changes, and `millwork why` tells of one file, run or date.
#[derive(Args)]
#[command(after_help = "Examples:\n  millwork status\n  millwork status --json")]
pub(crate) struct StatusOptions {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Show the processes of the state: schedulers, executors, builders, and the locks that they hold.
#[derive(Args)]
#[command(after_help = "Examples:\n  millwork cluster\n  millwork cluster --json")]
pub(crate) struct ClusterOptions {
    /// Print one JSON document
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    client: ClientOptions,
}

/// Age from which `status` says how old the numbers of files are: 10 s.
const OLD: chrono::TimeDelta = chrono::TimeDelta::seconds(10);

pub(crate) async fn status(options: StatusOptions) -> anyhow::Result<ExitCode> {
    let client = Client::new(&options.client)?;
    let stats: Stats = client.get(path::STATS, &()).await?;
    if options.json {
        print_json(&stats)?;
        return Ok(Exit::Done.into());
    }
    let role = if stats.leads { "runs the manifests" } else { "stands by" };
    let up = chrono::TimeDelta::seconds(stats.uptime_seconds.min(u32::MAX.into()) as i64);
    println!("scheduler  {}, {}, {role}, up for {}", client.base(), stats.version, span(up));
    println!("executors  {}, {} of {} slots busy", stats.executors, stats.slots_used, stats.slots);
    for runs in &stats.runs {
        println!("runs       {} {}, {}", runs.runs, runs.state, table::bytes(runs.bytes));
    }
    for files in &stats.files {
        println!("files      {} {}, {}", files.files, files.state, table::bytes(files.bytes));
    }
    let forecast = &stats.forecast;
    let when = match (forecast.outlook, forecast.drain_seconds.filter(|seconds| *seconds < 1e9)) {
        (Outlook::Empty, _) if stats.runs.is_empty() => "nothing waits".to_owned(),
        (Outlook::Empty, _) => "of runs whose size nobody knows yet".to_owned(),
        (Outlook::Growing, _) => "growing".to_owned(),
        (_, Some(seconds)) => format!("done in about {}", span(chrono::TimeDelta::seconds(seconds as i64))),
        (_, None) => "nobody knows yet until when".to_owned(),
    };
    println!("backlog    {}, {when}", table::bytes(forecast.backlog_bytes));
    if let Some(old) = stats.files_counted_at.map(|at| chrono::Utc::now() - at).filter(|age| *age > OLD) {
        println!("           files were counted {} ago", span(old));
    }
    Ok(Exit::Done.into())
}

pub(crate) async fn cluster(options: ClusterOptions) -> anyhow::Result<ExitCode> {
    let cluster: Cluster = Client::new(&options.client)?.get(path::CLUSTER, &()).await?;
    if options.json {
        print_json(&cluster)?;
        return Ok(Exit::Done.into());
    }
    table::print(["WHAT", "NAME", "STATE", "SEEN", "VERSION"], &processes(&cluster));
    if !cluster.executors.leads {
        eprintln!("this scheduler stands by: executors are connected to the one that runs the manifests");
    }
    let locks: Vec<[String; 4]> = cluster.locks.iter().map(lock).collect();
    if !locks.is_empty() {
        println!();
        table::print(["LOCK", "STATE", "HOLDER", "TOKEN"], &locks);
    }
    Ok(Exit::Done.into())
}

/// Rows of the schedulers, executors and builders.
fn processes(cluster: &Cluster) -> Vec<[String; 5]> {
    let schedulers = cluster.schedulers.iter().map(|scheduler| {
        let role = if scheduler.leads { "leader" } else { "standby" };
        [
            "scheduler".to_owned(),
            scheduler.name.clone(),
            role.to_owned(),
            time(scheduler.last_seen),
            scheduler.version.clone(),
        ]
    });
    let executors = cluster.executors.items.iter().map(|executor| {
        let state = match executor.draining_since {
            Some(_) => "draining".to_owned(),
            None => slots(executor),
        };
        ["executor".to_owned(), executor.id.clone(), state, time(executor.last_seen), executor.version.clone()]
    });
    let builders = cluster.builders.iter().map(|builder| {
        let said = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
        ["builder".to_owned(), builder.id.clone(), said(&builder.mode), time(builder.seen_at), said(&builder.version)]
    });
    schedulers.chain(executors).chain(builders).collect()
}

/// Tasks of an executor, those that run and those that wait for a slot of it.
fn slots(executor: &Executor) -> String {
    let used = format!("{} of {}", executor.slots_used(), many(executor.vcores.into(), "slot"));
    match executor.tasks.saturating_sub(executor.slots_used()) {
        0 => used,
        waiting => format!("{used}, {waiting} more wait"),
    }
}

fn lock(lock: &LockInfo) -> [String; 4] {
    let state = match (lock.held, lock.until) {
        (Held::Process, _) => "held while its process runs".to_owned(),
        (Held::Until, Some(until)) if until > chrono::Utc::now() => format!("held until {}", time(until)),
        (Held::Until, Some(until)) => format!("expired {}", time(until)),
        (Held::Free, _) | (Held::Until, None) => "free".to_owned(),
    };
    [lock.name.clone(), state, lock.holder.clone(), lock.token.to_string()]
}
