//! Processes as their operators meet them: probes, variables, ends that are told, the size of the fleet.

use crate::chaos::long_file;
use crate::cluster::{Cluster, free_port};
use crate::fleet::{Fleet, World};
use crate::place::{Done, Place, Running, binary, signal, start, wait_for_end, wait_until};
use prost::Message;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashMap};
use std::process::Command;
use std::time::{Duration, Instant};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

fn get(port: u16, path: &str) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        match reqwest::get(format!("http://127.0.0.1:{port}{path}")).await {
            Ok(answer) => (answer.status().as_u16(), answer.text().await.unwrap_or_default()),
            Err(_) => (0, String::new()),
        }
    })
}

/// The options of a command that its help tells, with their variables.
fn options(binary_name: &str, subcommands: &[String]) -> (Vec<(String, Option<String>)>, Vec<String>) {
    let output =
        Command::new(binary(binary_name)).args(subcommands).arg("--help").env("COLUMNS", "400").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let (mut options, mut below, mut in_commands) = (Vec::new(), Vec::new(), false);
    for line in help.lines() {
        if !line.starts_with(' ') && !line.is_empty() {
            in_commands = line == "Commands:";
        }
        let word = line.split_whitespace().next().unwrap_or_default();
        if in_commands && line.starts_with("  ") && !line.starts_with("   ") && word != "help" {
            below.push(word.to_owned());
        }
        let long = line.trim_start().split(' ').find(|word| word.starts_with("--"));
        if let Some(long) = long.filter(|_| line.trim_start().starts_with('-')) {
            options.push((long.trim_end_matches(',').to_owned(), None));
        }
        if let (Some((_, rest)), Some(last)) = (line.split_once("[env: "), options.last_mut()) {
            last.1 = rest.split(['=', ']']).next().map(str::to_owned);
        }
    }
    (options, below)
}

#[test]
fn every_option_has_a_variable_that_the_documentation_names() {
    let documented = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md")).unwrap();
    let mut count = 0;
    for name in ["millwork", "millwork-scheduler", "millwork-executor", "millwork-manifest-builder"] {
        let mut open = vec![Vec::new()];
        while let Some(path) = open.pop() {
            let (options, below) = options(name, &path);
            for (option, variable) in options {
                if ["--help", "--version", "--yes"].contains(&option.as_str()) {
                    continue;
                }
                let variable = variable.unwrap_or_else(|| panic!("{name} {path:?} {option} has no variable"));
                count += 1;
                // Those of commands that people type are told as a rule.
                if name == "millwork" {
                    continue;
                }
                for named in [&option, &variable] {
                    let is_there = documented.contains(&format!("`{named}`"));
                    assert!(is_there, "{name} {path:?}: {named} is not in docs/configuration.md");
                }
            }
            open.extend(below.into_iter().map(|word| [path.clone(), vec![word]].concat()));
        }
    }
    assert!(count > 100, "{count}");
}

fn executor(place: &Place, options: &[&str], scheduler: &str) -> (Running, u16) {
    let http = free_port();
    let mut command = Command::new(binary("millwork-executor"));
    command.env("HTTP_LISTEN", format!("127.0.0.1:{http}")).env("MILLWORK_SCHEDULER", scheduler);
    command.env("MILLWORK_VCORES", "1").env("MILLWORK_LOG", "json").args(options);
    (start(command, &place.path("probed.log")), http)
}

#[test]
fn an_executor_is_ready_while_a_scheduler_takes_it_and_logs_in_json() {
    let world = World::local();
    let mut fleet = Fleet::start(&world, 1, 0);
    let (_executor, http) = executor(&world.place, &[], &fleet.executors_address(0));
    wait_until("it is ready", || get(http, "/readyz") == (200, "ready\n".to_owned()));
    assert_eq!(get(http, "/healthz").0, 200);
    let metrics = get(http, "/metrics").1;
    for line in ["millwork_connected 1", "millwork_slots 1", "millwork_tasks_total{outcome=\"completed\"} 0"] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    assert!(metrics.contains("millwork_build_info{version=") && metrics.contains("process_resident_memory_bytes "));
    let load = world.load(1);
    fleet.submit_all(0, &load);
    fleet.wait_until("the run is completed", || fleet.are_completed(0, &load));
    assert!(!get(http, "/metrics").1.contains("millwork_tasks_total{outcome=\"completed\"} 0"));
    fleet.kill_scheduler(0);
    wait_until("it is not ready", || get(http, "/readyz").0 == 503);
    assert_eq!(get(http, "/livez").0, 200, "that its scheduler is gone is no reason to end it");
    let log = std::fs::read_to_string(world.place.path("probed.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let started = lines.iter().find(|line| line["message"] == "task started").unwrap_or_else(|| panic!("{log}"));
    assert!(started["manifest"].is_string() && started["attempt"] == 1, "{started}");
}

#[test]
fn a_second_executor_on_a_machine_works_without_the_address_of_the_first() {
    let world = World::local();
    let mut fleet = Fleet::start(&world, 1, 2);
    let load = world.load(2);
    fleet.submit_all(0, &load);
    fleet.wait_until("the runs are completed", || fleet.are_completed(0, &load));
    fleet.executors.clear();
    fleet.check(0, &load);
}

/// A manifest of one file that takes seconds on one slot, so that its executor is there as long as it is asked. Returns the rows, too.
fn long(world: &World, id: &str) -> (u64, Value) {
    let (rows, content) = long_file();
    (rows, world.manifest(id, &[world.input(&format!("2025-12-01-{id}.ndjson.gz"), content)]))
}

/// Waits until the run is completed, and checks its rows.
fn check_completed(fleet: &Fleet<'_>, id: &str, rows: u64) {
    let run = || fleet.get(0, &format!("runs/{id}"));
    fleet.wait_until("the run is completed", || run()["state"] == "completed");
    assert_eq!(run()["result"]["rows"], rows);
}

#[test]
fn what_an_executor_has_not_done_in_time_goes_to_another_at_once() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 0);
    let address = fleet.executors_address(0);
    let (mut first, http) = executor(&world.place, &["--drain-seconds", "0"], &address);
    wait_until("it is ready", || get(http, "/readyz").0 == 200);
    let (rows, document) = long(&world, "long");
    assert_eq!(fleet.submit(0, &document).0, 202);
    wait_until("it has a task", || get(http, "/metrics").1.contains("millwork_tasks_running 1"));
    let mut second = world.place.command("millwork-executor");
    second.args(["--scheduler", &address, "--vcores", "1", "--id", "second"]);
    let _second = start(second, &world.place.path("second.log"));
    let told = Instant::now();
    signal(&first, "TERM");
    assert_eq!(wait_for_end(&mut first), Some(0));
    assert!(told.elapsed() < Duration::from_secs(10), "{:?}", told.elapsed());
    let log = std::fs::read_to_string(world.place.path("probed.log")).unwrap();
    assert!(log.contains("the time to finish is over"), "{log}");
    check_completed(&fleet, "long", rows);
}

#[test]
fn an_executor_that_is_told_to_end_finishes_within_its_time_and_a_second_signal_ends_it() {
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 0);
    let (mut only, http) = executor(&world.place, &[], &fleet.executors_address(0));
    wait_until("it is ready", || get(http, "/readyz").0 == 200);
    let (rows, document) = long(&world, "one");
    assert_eq!(fleet.submit(0, &document).0, 202);
    wait_until("it has a task", || get(http, "/metrics").1.contains("millwork_tasks_running 1"));
    signal(&only, "TERM");
    wait_until("it drains", || get(http, "/readyz").1.contains("draining"));
    assert!(get(http, "/metrics").1.contains("millwork_draining 1"));
    signal(&only, "TERM");
    let told = Instant::now();
    wait_for_end(&mut only);
    assert!(told.elapsed() < Duration::from_secs(5), "{:?}", told.elapsed());
    let (_next, http) = executor(&world.place, &[], &fleet.executors_address(0));
    wait_until("it is ready", || get(http, "/readyz").0 == 200);
    check_completed(&fleet, "one", rows);
}

#[test]
fn a_name_with_several_addresses_leads_to_the_scheduler_that_listens() {
    // Nobody listens on the other address of the name.
    let world = World::local();
    let fleet = Fleet::start(&world, 1, 0);
    let port = fleet.executors_address(0).rsplit(':').next().unwrap().to_owned();
    let (_executor, http) = executor(&world.place, &[], &format!("localhost:{port}"));
    wait_until("it is ready", || get(http, "/readyz").0 == 200);
}

/// KEDA's messages, as its contract has them.
mod keda {
    use super::*;

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct ScaledObjectRef {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) namespace: String,
        #[prost(map = "string, string", tag = "3")]
        pub(super) metadata: HashMap<String, String>,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Active {
        #[prost(bool, tag = "1")]
        pub(super) result: bool,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Specs {
        #[prost(message, repeated, tag = "1")]
        pub(super) specs: Vec<Named>,
    }

    /// A metric's specification and its value have the same fields.
    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Named {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(int64, tag = "2")]
        pub(super) number: i64,
        #[prost(double, tag = "3")]
        pub(super) float: f64,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(super) struct Ask {
        #[prost(message, optional, tag = "1")]
        pub(super) object: Option<ScaledObjectRef>,
        #[prost(string, tag = "2")]
        pub(super) metric: String,
    }
}

fn object() -> keda::ScaledObjectRef {
    let metadata = HashMap::from([("scalerAddress".to_owned(), "millwork-scheduler:50051".to_owned())]);
    keda::ScaledObjectRef { name: "millwork-executor".to_owned(), namespace: "millwork".to_owned(), metadata }
}

async fn call<A: Message + 'static, B: Message + Default + 'static>(
    port: u16,
    method: &str,
    ask: A,
) -> Result<B, tonic::Status> {
    let unavailable = |e: tonic::transport::Error| tonic::Status::unavailable(e.to_string());
    let channel =
        Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await.map_err(unavailable)?;
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.map_err(unavailable)?;
    let path: PathAndQuery = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
    let codec = tonic_prost::ProstCodec::<A, B>::default();
    Ok(client.unary(tonic::Request::new(ask), path, codec).await?.into_inner())
}

fn wanted(port: u16) -> Option<i64> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let ask = keda::Ask { object: Some(object()), metric: "s0-desired_executors".to_owned() };
        let answer: keda::Specs = call(port, "GetMetrics", ask).await.ok()?;
        assert_eq!((answer.specs.len(), answer.specs[0].name.as_str()), (1, "desired_executors"));
        assert_eq!(answer.specs[0].float, answer.specs[0].number as f64);
        Some(answer.specs[0].number)
    })
}

/// Connections that ask nothing, of several addresses, do not close the port to an autoscaler.
#[test]
fn silent_autoscalers_keep_none_out() {
    let place = Place::new();
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let _cluster = Cluster::start(&place, "out", 0, &["--scaler-listen", &listen]);
    wait_until("it answers", || wanted(port) == Some(0));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let silent: Vec<Channel> = runtime.block_on(async {
        let mut silent = Vec::new();
        for n in 0..80_u8 {
            let address = std::net::IpAddr::from([127, 0, 0, 2 + n % 8]);
            let endpoint = Channel::from_shared(format!("http://{listen}")).unwrap().local_address(Some(address));
            silent.extend(endpoint.connect().await.ok());
        }
        silent
    });
    assert_eq!(silent.len(), 80, "each is taken, if need be in the place of another");
    assert_eq!(wanted(port), Some(0));
    drop((silent, runtime));
}

#[test]
fn a_fleet_of_none_is_woken_by_a_scheduler_that_knows_nothing_yet() {
    let place = Place::new();
    let (scaler, standby) = (free_port(), free_port());
    let listen = format!("127.0.0.1:{scaler}");
    let mut cluster = Cluster::start(&place, "out", 0, &["--scaler-listen", &listen]);
    wait_until("it answers", || wanted(scaler) == Some(0));
    place.input("2025-12-01-a.ndjson", "{\"n\": 1}\n");
    let file = place.path("in/2025-12-01-a.ndjson").display().to_string();
    let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": {"manifest_id": "m1"}});
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("it wants one", || wanted(scaler) == Some(1));
    // Its manifest tells no sizes: nobody says that it has none, and it is no empty backlog.
    assert_eq!(cluster.get("runs/m1")["bytes"], Value::Null);
    let listed = Done::of(cluster.client(&["runs", "list"]).output().unwrap());
    let (heading, row) = listed.stdout.split_once('\n').unwrap();
    let size = heading.split_whitespace().position(|name| name == "SIZE").unwrap();
    assert_eq!(row.split_whitespace().nth(size), Some("-"), "{}", listed.stdout);
    wait_until("it counts as others do", || {
        let (_, metrics) = cluster.call(|c| c.get(format!("{}/metrics", cluster.url()))).unwrap();
        metrics.contains("millwork_backlog_bytes 3670016")
    });
    cluster.kill_scheduler();
    cluster.start_scheduler();
    wait_until("it wants one again", || wanted(scaler) == Some(1));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let specs: keda::Specs = call(scaler, "GetMetricSpec", object()).await.unwrap();
        assert_eq!((specs.specs[0].number, specs.specs[0].float), (1, 1.0));
        let active: keda::Active = call(scaler, "IsActive", object()).await.unwrap();
        assert!(active.result);
        let other = keda::Ask { object: None, metric: "other".to_owned() };
        let error = call::<_, keda::Specs>(scaler, "GetMetrics", other).await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::NotFound);
    });
    // Another scheduler of the state, which stands by, gives the same answer.
    let _standby = start(command_without(&cluster, standby), &place.path("standby.log"));
    wait_until("the standby wants one", || wanted(standby) == Some(1));
    wait_until("the work is pushed", || first_pushed(scaler) == Some(true));
    cluster.start_executor();
    wait_until("the run is completed", || cluster.get("runs/m1")["state"] == "completed");
    wait_until("what executors did is in the store", || {
        let (_, metrics) = cluster.call(|c| c.get(format!("{}/metrics", cluster.url()))).unwrap();
        metrics.contains("millwork_backlog_bytes 0") && metrics.contains("millwork_desired_executors 1")
    });
}

/// The command of a second scheduler, whose scaler listens elsewhere.
fn command_without(cluster: &Cluster<'_>, scaler: u16) -> Command {
    let command = cluster.scheduler_command(free_port(), free_port());
    let mut again = Command::new(command.get_program());
    let mut skip = false;
    for argument in command.get_args() {
        if std::mem::take(&mut skip) {
            again.arg(format!("127.0.0.1:{scaler}"));
            continue;
        }
        skip = argument == "--scaler-listen";
        again.arg(argument);
    }
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            again.env(name, value);
        }
    }
    again
}

/// The first thing that the stream tells.
fn first_pushed(port: u16) -> Option<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let channel = Channel::from_shared(format!("http://127.0.0.1:{port}")).unwrap().connect().await.ok()?;
        let mut client = tonic::client::Grpc::new(channel);
        client.ready().await.ok()?;
        let path = PathAndQuery::from_static("/externalscaler.ExternalScaler/StreamIsActive");
        let codec = tonic_prost::ProstCodec::<keda::ScaledObjectRef, keda::Active>::default();
        let mut stream = client.server_streaming(tonic::Request::new(object()), path, codec).await.ok()?.into_inner();
        Some(stream.message().await.ok()??.result)
    })
}

/// Names of metric families in a scrape.
pub(crate) fn families(scrape: &str) -> BTreeSet<String> {
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}
