//! Diagnoses of a fleet at work, and of events that wait or are put aside: real processes, queues and objects.

use crate::aws::{bootstrap, environment};
use crate::chaos::long_file;
use crate::cluster::Cluster;
use crate::fleet::{Fleet, World, gzip};
use crate::place::{Done, Place, Running, binary, signal, start, wait_for_end, wait_until};
use crate::queues::s3_event;
use serde_json::{Value, json};
use std::process::Command;

/// Runs that an executor takes a task of beyond its slots.
const BEYOND: usize = 6;

/// The code of a diagnosis by the command line, with what it says.
fn asked(cluster: &Cluster, subject: &str) -> Value {
    Done::of(cluster.client(&["why", "--json", subject]).output().unwrap()).json()
}

/// The id of the executor of this number.
fn executor(cluster: &Cluster, number: usize) -> String {
    let name = format!("executor-{number}-");
    let executors = cluster.get("executors")["items"].as_array().unwrap().clone();
    let mut ids = executors.iter().filter_map(|executor| executor["id"].as_str());
    ids.find(|id| id.starts_with(&name)).unwrap_or_else(|| panic!("{executors:?}")).to_owned()
}

#[test]
fn a_fleet_that_is_full_loses_an_executor_or_drains_says_so_and_gets_on() {
    let place = Place::new();
    let mut cluster = Cluster::start(&place, "out", 1, &[]);
    let (rows, content) = long_file();
    let submit = |id: &str, content: &[u8]| {
        let file = place.input(&format!("2025-12-23-{id}.ndjson.gz"), content);
        let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": {"manifest_id": id}});
        assert_eq!(cluster.post("manifests", &document).0, 202);
    };
    submit("m1", &content);
    let why = |cluster: &Cluster, id: &str| cluster.get(&format!("runs/{id}/why"));
    wait_until("the first is converted", || why(&cluster, "m1")["code"] == "converting");
    let others: Vec<String> = (0..BEYOND).map(|number| format!("other{number}")).collect();
    for other in &others {
        submit(other, &content);
        wait_until("it is converted beside the first", || why(&cluster, other)["code"] == "converting");
    }
    submit("m2", &gzip(b"{\"a\": 1}\n"));
    wait_until("the second has no slot", || why(&cluster, "m2")["code"] == "no-slots");
    let told = why(&cluster, "m2");
    assert!(told["next"]["by_itself"] == true && told["sentence"].as_str().unwrap().contains("1 slot"), "{told}");
    let first = executor(&cluster, 0);
    let works = asked(&cluster, &format!("executor:{first}"));
    assert_eq!(works["code"], "executor-works", "{works}");
    // What is next by itself, a free slot, comes: with another executor.
    cluster.start_executor();
    wait_until("the second is done", || why(&cluster, "m2")["code"] == "done");
    for other in &others {
        assert_eq!(cluster.post(&format!("runs/{other}/cancel"), &json!({})).0, 202);
    }
    // The first executor is silent: its task starts again elsewhere, by itself.
    let silent = cluster.take_executor();
    signal(&silent, "STOP");
    wait_until("its silence is seen", || why(&cluster, "m1")["code"] == "lost-task");
    let lost = why(&cluster, "m1");
    assert!(lost["next"]["by_itself"] == true && lost["sentence"].as_str().unwrap().contains(&first), "{lost}");
    drop(silent);
    let second = executor(&cluster, 1);
    cluster.start_executor();
    let draining = cluster.take_executor();
    signal(&draining, "TERM");
    wait_until("it drains", || {
        let code = asked(&cluster, &format!("executor:{second}"))["code"].clone();
        assert_ne!(code, "executor-idle");
        code == "executor-drains" || code == "executor-away"
    });
    wait_until("it is done", || why(&cluster, "m1")["code"] == "done");
    assert_eq!(cluster.get("runs/m1")["result"]["rows"], rows);
    assert_eq!(asked(&cluster, &format!("executor:{second}"))["code"], "executor-away");
    drop(draining);
}

/// DynamoDB forgets what was converted long ago, and no listing takes in what is that old.
#[tokio::test]
async fn an_object_that_is_older_than_what_the_store_remembers_may_be_forgotten() {
    let aws = crate::servers::Aws::start();
    let (store, _, _) = aws.fresh_store_and_tables().await;
    let world = crate::why::World::on(Place::new(), store);
    let path = world.place.input("2025-12-23-old.ndjson", "{}\n");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(30 * 86_400)).unwrap();
    let told = world.inspector.file(&world.uri("old"), world.now).await.unwrap();
    assert_eq!(told.code.as_str(), "forgotten", "{told:?}");
    let young = world.place.input("2025-12-23-young.ndjson", "{}\n");
    assert!(young.exists());
    let told = world.inspector.file(&world.uri("young"), world.now).await.unwrap();
    assert_eq!(told.code.as_str(), "never-seen", "{told:?}");
}

/// The builder's service on a cloud, as `millwork bootstrap aws` makes it.
fn builder(world: &World, variables: &std::collections::BTreeMap<String, String>) -> Running {
    let mut command = Command::new(binary("millwork-manifest-builder"));
    command.args(["serve", "--http", "127.0.0.1:0"]).envs(variables).envs(world.aws.as_ref().unwrap().environment());
    command.env("SIZE_TOLERANCE_PERCENT", "100").env("INPUT_PLACES", "s3://acme-input/").env("POLL_SECONDS", "1");
    start(command, &world.place.path("builder.log"))
}

#[test]
fn an_event_that_waits_or_is_put_aside_is_told_and_what_is_advised_helps() {
    let world = World::cloud();
    let aws = world.aws.as_ref().unwrap();
    let variables = environment(&bootstrap(aws, &["--json"]));
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let sqs = runtime.block_on(aws.sqs());
    let send = |body: String| {
        runtime.block_on(sqs.send_message().queue_url(&variables["QUEUE_URL"]).message_body(body).send()).unwrap();
    };
    let fleet = Fleet::start(&world, 1, 1);
    let why = |uri: &str| fleet.get(0, &format!("files/why?uri={uri}"));
    let mut service = builder(&world, &variables);
    // An event without an entity tag can never be processed. The bucket's own event of the object is lost.
    let lost = "s3://acme-input/2025-12-23-lost.ndjson";
    let event = s3_event("acme-input", "2025-12-23-lost.ndjson", 7, 1).replace("\"eTag\":\"e1\",", "");
    assert!(!event.contains("eTag"));
    let silence = runtime.block_on(aws.s3()).put_bucket_notification_configuration().bucket("acme-input");
    let nothing = aws_sdk_s3::types::NotificationConfiguration::builder().build();
    runtime.block_on(silence.notification_configuration(nothing).send()).unwrap();
    world.input("2025-12-23-lost.ndjson", b"{\"a\": 1}\n".to_vec());
    send(event);
    let mut told = Value::Null;
    fleet.wait_until("its event is put aside", || {
        told = why(lost);
        told["code"] == "dead-letter"
    });
    assert!(told["sentence"].as_str().unwrap().contains("bad-record"), "{told}");
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0));
    // It can be looked at, and put back: where nothing is mended it comes again.
    let queues = |arguments: &[&str]| {
        let mut command = world.place.command("millwork");
        command.arg("queues").args(arguments).envs(&variables).envs(aws.environment());
        Done::of(command.output().unwrap())
    };
    let listed = queues(&["list", "--json"]);
    assert_eq!(listed.code, Some(3), "{}{}", listed.stdout, listed.stderr);
    assert_eq!(listed.json()["queues"][0]["dead_letters"], 1, "{}", listed.stdout);
    // What was looked at just now is hidden for ten seconds.
    wait_until("it is seen again", || queues(&["dead-letters"]).stdout.contains("bad-record"));
    wait_until("it is seen once more", || {
        let shown = queues(&["redrive", "--put-away-for", "bad-record", "--json"]);
        shown.code == Some(3)
            && shown.json()["is_dry_run"] == true
            && shown.json()["letters"][0]["reason"] == "bad-record"
    });
    // Where no queue is named, the scheduler puts it back, by a plan.
    let asked = |arguments: &[&str]| {
        let mut command = world.place.command("millwork");
        command.arg("queues").args(arguments).args(["--scheduler", &fleet.url(0), "--json"]);
        Done::of(command.output().unwrap())
    };
    wait_until("the scheduler sees it", || !asked(&["dead-letters"]).json()["letters"].as_array().unwrap().is_empty());
    let mut planned = Value::Null;
    wait_until("it is in a plan", || {
        planned = asked(&["redrive", "--put-away-for", "bad-record", "--dry-run"]).json();
        planned["changes"].as_array().unwrap().len() == 1
    });
    let change = &planned["changes"][0];
    let id = change["subject"].as_str().unwrap().strip_prefix("files/").unwrap();
    assert_eq!(change["before"], "dead letter, bad-record", "{planned}");
    let none = asked(&["redrive", "--put-away-for", "other", "--dry-run"]);
    assert_eq!((none.code, none.json()["changes"].as_array().unwrap().len()), (Some(0), 0), "{}", none.stdout);
    wait_until("it is put back by the plan", || {
        let done = asked(&["redrive", &id[..8], "--yes", "--reason", "trial"]);
        done.code == Some(0) && done.json()["changes"][0]["result"] == "done"
    });
    assert_eq!(queues(&["list", "--json"]).json()["queues"][0]["dead_letters"], 0);
    let mut service = builder(&world, &variables);
    wait_until("it is put aside again", || queues(&["list", "--json"]).json()["queues"][0]["dead_letters"] == 1);
    signal(&service, "TERM");
    assert_eq!(wait_for_end(&mut service), Some(0));
    assert_eq!(queues(&["redrive", "--yes", "--reason", "x"]).code, Some(2), "a note has to have a place");
    let back = ["redrive", "--yes", "--reason", "trial", "--state", "dynamodb:acme", "--json"];
    wait_until("it is put back", || queues(&back).json()["letters"].as_array().is_some_and(|all| all.len() == 1));
    let audits = fleet.get(0, "audit")["items"].to_string();
    assert!(audits.contains("queues redrive") && audits.contains("1 put back, 0 failed"), "{audits}");
    assert_eq!(queues(&["list", "--json"]).json()["queues"][0]["messages"], 1);
    // Another waits, since nobody reads the queue.
    let late = "s3://acme-input/2025-12-23-late.ndjson";
    world.input("2025-12-23-late.ndjson", b"{\"a\": 1}\n".to_vec());
    send(s3_event("acme-input", "2025-12-23-late.ndjson", 9, 2));
    fleet.wait_until("its event waits", || why(late)["code"] == "events-behind");
    assert!(why(late)["next"]["by_itself"] == true, "{}", why(late));
    // What comes by itself comes, and what is advised helps.
    let _service = builder(&world, &variables);
    fleet.wait_until("its event is read", || ["filling", "due"].map(Value::from).contains(&why(late)["code"]));
    let advised = told["action"]["command"].as_str().unwrap_or_else(|| panic!("{told}"));
    let mut words = advised.split(' ');
    let mut command = Command::new(binary(words.next().unwrap()));
    command.args(words).envs(&variables).envs(aws.environment()).env("SIZE_TOLERANCE_PERCENT", "100");
    let done = Done::of(command.env("INPUT_PLACES", "s3://acme-input/").output().unwrap());
    assert_eq!(done.code, Some(0), "{advised}: {}{}", done.stdout, done.stderr);
    fleet.wait_until("it is taken in", || ["filling", "due"].map(Value::from).contains(&why(lost)["code"]));
}
