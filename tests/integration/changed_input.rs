//! Files that change between their manifest and their reading: their rows were never committed, so that whoever tries them again
//! gets them as they are.

use crate::fleet::{Fleet, World};
use serde_json::{Value, json};

fn state_of(fleet: &Fleet<'_>, id: &str) -> String {
    fleet.get(0, &format!("runs/{id}"))["state"].as_str().unwrap_or_default().to_owned()
}

/// A manifest of two files that says of the first what it is not any more.
fn outdated(world: &World, id: &str) -> Value {
    let uris = ["a", "b"].map(|name| world.input(&format!("2025-12-23-{id}-{name}.ndjson"), b"{\"x\": 1}\n".to_vec()));
    let mut document = world.manifest(id, &uris);
    document["metadata"]["files"] = json!([{"uri": uris[0], "size_bytes": 8, "etag": "an-older-one"}]);
    document
}

fn a_retry_reads_files_as_they_are(world: &World) {
    let mut fleet = Fleet::start(world, 1, 1);
    let document = outdated(world, "changed");
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("the run has failed", || state_of(&fleet, "changed") == "failed");
    let failure = fleet.get(0, "runs/changed")["failure"].clone();
    assert!(failure["message"].as_str().unwrap().contains("2025-12-23-changed-a.ndjson"), "{failure}");
    // A scheduler that takes over knows as much.
    fleet.kill_scheduler(0);
    fleet.start_scheduler(0);
    fleet.wait_until("the scheduler answers", || state_of(&fleet, "changed") == "failed");
    assert_eq!(fleet.post(0, "runs/changed/retry"), 202);
    fleet.wait_until("the run is completed", || state_of(&fleet, "changed") == "completed");
    assert_eq!(fleet.get(0, "runs/changed")["result"]["rows"], 2);
    world.ask_oracle(&["changed".to_owned()]);
}

#[test]
fn a_retry_in_a_directory_reads_files_as_they_are() {
    a_retry_reads_files_as_they_are(&World::local());
}

#[test]
fn a_retry_in_a_cloud_reads_files_as_they_are() {
    a_retry_reads_files_as_they_are(&World::cloud());
}

#[test]
fn an_entity_tag_with_quotes_is_the_same_one() {
    let world = World::local();
    let uri = world.input("2025-12-23-quoted.ndjson", b"{\"x\": 1}\n".to_vec());
    let metadata = std::fs::metadata(&uri).unwrap();
    let mut document = world.manifest("quoted", std::slice::from_ref(&uri));
    let etag = format!("\"{}\"", millwork_storage::identity(&metadata));
    document["metadata"]["files"] = json!([{"uri": uri, "size_bytes": 9, "etag": etag}]);
    let fleet = Fleet::start(&world, 1, 1);
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("the run has ended", || matches!(state_of(&fleet, "quoted").as_str(), "completed" | "failed"));
    assert_eq!(state_of(&fleet, "quoted"), "completed", "{}", fleet.get(0, "runs/quoted"));
}
