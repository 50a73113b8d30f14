//! The action that a diagnosis advises mends what it is about, and the time that it names is the time of the next step.

use crate::cluster::free_port;
use crate::place::{Done, binary, start, wait_until};
use crate::why::{World, date};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::Diagnosis;
use millwork_manifest::{Failure, FailureClass};
use serde_json::Value;
use std::process::Command;

/// Does what a diagnosis advises, as somebody types it who has read the help: with the state, a reason and a yes.
fn act(world: &World, diagnosis: &Diagnosis, more: &[&str]) -> Done {
    let advised = &diagnosis.action.as_ref().unwrap_or_else(|| panic!("{diagnosis:?}")).command;
    let mut words: Vec<&str> = advised.split(' ').collect();
    let program = words.remove(0);
    let mut command = Command::new(binary(program));
    if let Some(at) = words.iter().position(|word| *word == "TEXT") {
        words[at] = "mended";
    }
    command.args(&words).args(more);
    if !words.contains(&"--state") {
        command.arg("--state").arg(format!("sqlite:{}", world.place.path("state.db").display()));
    }
    command.env("INPUT_PLACES", world.place.path("in"));
    if program == "millwork-manifest-builder" {
        command.arg("--manifests").arg(world.place.path("manifests")).env("SIZE_TOLERANCE_PERCENT", "100");
    }
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{advised}: {}{}", done.stdout, done.stderr);
    done
}

async fn code_of(world: &World, name: &str, at: DateTime<Utc>) -> &'static str {
    world.inspector.file(&world.uri(name), at).await.unwrap().code.as_str()
}

#[tokio::test]
async fn what_is_advised_for_a_file_mends_it() {
    let mut world = World::new();
    let advised = async |world: &World, name: &str, code: &str| {
        let diagnosis = world.inspector.file(&world.uri(name), world.now).await.unwrap();
        assert_eq!(diagnosis.code.as_str(), code, "{diagnosis:?}");
        diagnosis
    };
    // Never seen.
    world.place.input("2025-12-23-new.ndjson", "{}\n");
    let never_seen = advised(&world, "new", "never-seen").await;
    act(&world, &never_seen, &[]);
    assert!(["filling", "due", "due-no-builder"].contains(&code_of(&world, "new", Utc::now()).await));
    // Due, and no builder is there.
    world.now = Utc::now() + Duration::hours(1);
    let due = advised(&world, "new", "due-no-builder").await;
    act(&world, &due, &["--max-wait-seconds", "0"]);
    let code = code_of(&world, "new", Utc::now()).await;
    assert!(["no-leader", "queued"].contains(&code), "{code}");
    // A run that has ended with its files still in it.
    let _ = world.started("lost", &["a"]).await;
    world.sql("UPDATE runs SET status = 'failed', ended_at = updated_at WHERE manifest_id = 'lost'");
    let orphan = advised(&world, "a", "orphan").await;
    act(&world, &orphan, &["--reason", "mended", "--yes"]);
    assert_ne!(code_of(&world, "a", world.now).await, "orphan");
    // A file that its run failed over, once it is replaced.
    let id = world.started("torn", &["b"]).await;
    let torn = Failure::new(FailureClass::Input, "truncated gzip").of_file(world.uri("b"));
    world.store.fail(&id, 1, &torn, Utc::now()).await.unwrap();
    let at_fault = advised(&world, "b", "at-fault").await;
    act(&world, &at_fault, &["--yes"]);
    let code = code_of(&world, "b", Utc::now()).await;
    assert!(["filling", "due", "due-no-builder", "sent-back"].contains(&code), "{code}");
    // Newer content beside old rows.
    let _ = world.completed("done", &["c"]).await;
    world.place.input("2025-12-23-c.ndjson", "{\"newer\": 1}\n");
    let overwritten = advised(&world, "c", "done-overwritten").await;
    act(&world, &overwritten, &["--yes"]);
    let code = code_of(&world, "c", Utc::now()).await;
    assert!(["filling", "due", "due-no-builder", "sent-back"].contains(&code), "{code}");
}

/// Runs: with a scheduler on the state, which has no executor, so that what is queued stays to be seen.
#[tokio::test]
async fn what_is_advised_for_a_run_mends_it() {
    let world = World::new();
    let failed = world.started("failed", &["a"]).await;
    world.store.fail(&failed, 1, &Failure::new(FailureClass::Storage, "an outage"), world.now).await.unwrap();
    let cancelled = world.queued("cancelled", &["b"]).await;
    let _ = world.store.cancel(&cancelled, world.now).await.unwrap();
    let _ = world.completed("gone", &["c"]).await;
    std::fs::remove_file(world.place.path("out/gone.parquet")).unwrap();
    let port = free_port();
    let mut command = world.place.command("millwork-scheduler");
    command.args(["--listen", "127.0.0.1:0", "--http", &format!("127.0.0.1:{port}")]);
    command.arg("--input-places").arg(world.place.path("in")).arg("--output").arg(world.place.path("out"));
    command.arg("--state").arg(format!("sqlite:{}", world.place.path("state.db").display()));
    let _scheduler = start(command, &world.place.path("log"));
    let ran = |words: &[&str]| {
        let mut command = world.place.command("millwork");
        command.args(words).args(["--scheduler", &format!("http://127.0.0.1:{port}")]);
        Done::of(command.output().unwrap())
    };
    let why = |id: &str| -> Value {
        let done = ran(&["why", "--json", id]);
        serde_json::from_str(&done.stdout).unwrap_or(Value::Null)
    };
    wait_until("the scheduler leads", || why("failed")["code"] == "run-failed");
    for (id, code) in [("failed", "run-failed"), ("cancelled", "cancelled"), ("gone", "done-output-missing")] {
        let told = why(id);
        assert_eq!(told["code"], code, "{told}");
        let advised = told["action"]["command"].as_str().unwrap_or_else(|| panic!("{told}")).to_owned();
        let words: Vec<&str> = advised.split(' ').skip(1).collect();
        let done = ran(&[&words[..], &["--yes"]].concat());
        assert_eq!(done.code, Some(0), "{advised}: {}{}", done.stdout, done.stderr);
        wait_until("it waits for an executor", || why(id)["code"] == "no-executors");
    }
}

#[tokio::test]
async fn the_time_that_is_named_is_that_of_the_next_step() {
    let mut world = World::new();
    world.now = Utc::now();
    let next = async |world: &World, name: &str, code: &str| {
        let diagnosis = world.inspector.file(&world.uri(name), world.now).await.unwrap();
        assert_eq!(diagnosis.code.as_str(), code, "{diagnosis:?}");
        assert!(diagnosis.next.by_itself, "{diagnosis:?}");
        diagnosis.next.at.unwrap_or_else(|| panic!("{diagnosis:?}"))
    };
    let moment = Duration::seconds(1);
    // A lock is free then, and not before.
    world.tracked(&["b"]).await;
    world.sql("UPDATE files SET upload_time = '2025-01-01T00:00:00.000000Z'");
    world.builder_seen(5).await;
    let ttl = Duration::seconds(300);
    let _ = world.store.lock("LOCK#2025-12-23", "builder-7", ttl, world.now).await.unwrap().unwrap();
    let at = next(&world, "b", "due-locked").await;
    let taken = async |now| world.store.lock("LOCK#2025-12-23", "other", ttl, now).await.unwrap().is_some();
    assert!(!taken(at - moment).await && taken(at + moment).await);
    // A run is due then, and not before.
    let id = world.started("later", &["c"]).await;
    world.lead();
    let later = world.now + Duration::seconds(38);
    let slow = Failure::new(FailureClass::Storage, "503 SlowDown");
    assert!(world.store.retry_later(&id, 1, &slow, later, world.now).await.unwrap());
    let at = next(&world, "c", "retry-waits").await;
    let due = async |now| world.store.due(10, now).await.unwrap().iter().any(|run| run.manifest_id == id);
    assert!(!due(at - moment).await && due(at + moment).await);
    // A date is cut when its oldest file has waited for as long as files do.
    world.sql("DELETE FROM locks; UPDATE files SET upload_time = updated_at");
    let at = next(&world, "b", "filling").await;
    let oldest = world.store.backlog(date()).await.unwrap().oldest_pending.unwrap();
    assert!((at - oldest - Duration::seconds(1800)).abs() <= moment, "{oldest} {at}");
}
