//! Pieces of files that the web UI shows, from buckets.

use crate::fleet::{Fleet, World};
use crate::place::Done;
use serde_json::Value;

fn lines(count: usize, last: &str) -> Vec<u8> {
    let good: String = (0..count).map(|n| format!("{{\"n\": {n}, \"text\": \"{}\"}}\n", "x".repeat(100))).collect();
    (good + last + "\n").into_bytes()
}

#[test]
fn rejected_lines_and_refused_files_in_buckets_are_looked_into() {
    let world = World::cloud();
    let uri = world.input("2025-12-23-dirty.ndjson", lines(2000, r#"{"a" 2}"#));
    let document = world.manifest("dirty", &[uri]);
    let fleet = Fleet::start(&world, 1, 1);
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("the run is completed", || fleet.get(0, "runs/dirty")["state"] == "completed");
    let page = fleet.text(0, "/ui/runs/dirty/rejected").unwrap();
    assert!(page.contains("{&quot;a&quot; 2}") && page.contains("Line 2,001"), "{page}");
    assert!(page.contains("s3://acme-quarantine/"), "{page}");

    let refused = world.input("no-date.ndjson", lines(2000, "[1]"));
    let mut backfill = fleet.command("millwork");
    backfill.args(["backfill", "--prefix", "s3://acme-input/", "--state", "dynamodb:acme", "--yes", "--json"]);
    backfill.args(["--manifests", "s3://acme-manifests", "--quarantine", "s3://acme-quarantine"]);
    let done = Done::of(backfill.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let piece = |from: &str| fleet.get(0, &format!("files/preview?uri={refused}{from}"));
    let first = piece("");
    assert_eq!(first["lines"][0]["text"].as_str().map(|text| &text[..8]), Some(r#"{"n": 0,"#), "{first}");
    let mut last = first;
    while let Some(next) = last["next"].as_u64() {
        last = piece(&format!("&from={next}"));
    }
    let lines: Vec<&Value> = last["lines"].as_array().unwrap().iter().collect();
    assert_eq!(lines.last().unwrap()["text"], "[1]", "{last}");
    let page = fleet.text(0, &format!("/ui/preview?uri={refused}")).unwrap();
    assert!(page.contains("no-date"), "{page}");
}
