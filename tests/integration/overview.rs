//! Looks at a whole state, over HTTP and as commands: how it goes, who is there, what was rejected.

use crate::cluster::{Cluster, manifest};
use crate::place::{Done, Place, wait_until};
use serde_json::Value;

/// A scheduler and an executor that have converted one run of two rows and 120 rejected lines.
fn converted(place: &Place) -> Cluster<'_> {
    let rejected: String = (0..120).map(|n| format!("no json {n}\n")).collect();
    place.input("2025-01-01-a.ndjson", format!("{{\"a\":1}}\n{{\"a\":2}}\n{rejected}"));
    let document = std::fs::read(place.path(&manifest(place, "m", "2025-01-01"))).unwrap();
    let document: Value = serde_json::from_slice(&document).unwrap();
    let cluster = Cluster::start(place, "out", 1, &[]);
    assert_eq!(cluster.post("manifests", &document).0, 202);
    wait_until("it is converted", || cluster.get("runs/m")["state"] == "completed");
    cluster
}

#[test]
fn rejected_lines_come_in_pieces_over_http_and_in_one_list_as_a_command() {
    let place = Place::new();
    let cluster = converted(&place);
    let (mut lines, mut path) = (Vec::new(), "runs/m/rejected".to_owned());
    loop {
        let piece = cluster.get(&path);
        assert_eq!(piece["all"], 120, "{piece}");
        lines.extend(piece["items"].as_array().unwrap().iter().map(|line| line["line"].as_u64().unwrap()));
        let Some(next) = piece["next"].as_u64() else { break };
        path = format!("runs/m/rejected?from={next}");
    }
    assert_eq!(lines, (3..=122).collect::<Vec<_>>());
    let ask = |arguments: &[&str]| Done::of(cluster.client(arguments).output().unwrap());
    let all = ask(&["rejected", "m", "--limit", "1000", "--json"]).json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(120));
    assert_eq!((&all["items"][0]["raw"], &all["items"][0]["reason"]), (&"no json 0".into(), &"malformed".into()));
    let some = ask(&["rejected", "m", "--limit", "7"]);
    assert_eq!(some.stdout.lines().count(), 8, "{}", some.stdout);
    assert!(some.stderr.contains("120 rejected lines in all"), "{}", some.stderr);
    let unknown = ask(&["rejected", "no-such"]);
    assert!(unknown.code == Some(1) && unknown.stderr.contains("no-such"), "{}", unknown.stderr);
}

#[test]
fn processes_locks_drafts_and_queues_are_listed() {
    let place = Place::new();
    let cluster = converted(&place);
    let whole = cluster.get("cluster");
    assert_eq!(whole["executors"]["items"].as_array().map(Vec::len), Some(1), "{whole}");
    assert_eq!(
        (whole["builders"].as_array(), whole["builders"].clone()),
        (Some(&Vec::new()), cluster.get("builders")["items"].clone())
    );
    let locks = cluster.get("locks");
    assert_eq!((&locks["items"], &locks["items"][0]["held"]), (&whole["locks"], &"process".into()), "{locks}");
    assert_eq!(cluster.get("drafts")["items"], Value::Array(Vec::new()));
    assert_eq!(cluster.get("queues")["items"], Value::Array(Vec::new()), "no builder reads one");
    wait_until("the scheduler has left word", || cluster.get("cluster")["schedulers"][0]["leads"] == true);
    let ask = |arguments: &[&str]| Done::of(cluster.client(arguments).output().unwrap());
    let shown = ask(&["cluster"]);
    for word in ["scheduler ", "leader", "executor ", "held while its process runs"] {
        assert!(shown.code == Some(0) && shown.stdout.contains(word), "{word}: {} {}", shown.stdout, shown.stderr);
    }
    // Files are counted as long as somebody asks.
    wait_until("files are counted", || ask(&["status"]).stdout.contains("1 completed"));
    let status = ask(&["status"]);
    for word in ["runs the manifests", "executors  1, ", "1 completed", "nothing waits"] {
        assert!(status.code == Some(0) && status.stdout.contains(word), "{word}: {} {}", status.stdout, status.stderr);
    }
    // Operations on the state, by the scheduler.
    let mended = ask(&["state", "validate-consistency", "--fix", "--json"]);
    assert_eq!((mended.code, &mended.json()["mended"]["is_dry_run"]), (Some(0), &true.into()), "{}", mended.stderr);
    let mended = ask(&["state", "validate-consistency", "--fix", "--yes", "--reason", "trial", "--json"]);
    assert_eq!((mended.code, &mended.json()["mended"]["is_dry_run"]), (Some(0), &false.into()), "{}", mended.stderr);
    let orphans = ask(&["state", "find-orphans", "--objects", "--json"]);
    assert!(orphans.json()["objects_listed"].as_u64() > Some(0), "{} {}", orphans.stdout, orphans.stderr);
}
