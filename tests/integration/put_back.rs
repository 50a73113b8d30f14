//! Rejected lines that were mended are put back: once, as rows of a run of their own, in directories and in buckets.

use crate::cluster::{Cluster, manifest};
use crate::fleet::{Fleet, World};
use crate::place::{Done, Place, python, wait_until};
use serde_json::{Value, json};
use std::process::Stdio;

/// A scheduler and an executor that have converted a run `m` of two rows and three rejected lines.
fn converted(place: &Place) -> Cluster<'_> {
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n{\"a\" 2}\n{\"a\":3}\n[4]\n{\"a\":5 \n");
    let document = std::fs::read(place.path(&manifest(place, "m", "2025-01-01"))).unwrap();
    let cluster = Cluster::start(place, "out", 1, &[]);
    assert_eq!(cluster.post("manifests", &serde_json::from_slice(&document).unwrap()).0, 202);
    wait_until("it is converted", || cluster.get("runs/m")["state"] == "completed");
    cluster
}

/// Values of the column `a` in all output, in order.
fn values(place: &Place) -> Vec<String> {
    let script = "import sys, duckdb\nfor row in duckdb.sql(f\"select a from read_parquet('{sys.argv[1]}/**/*.parquet', union_by_name=true) order by a\").fetchall(): print(row[0])";
    let done = Done::of(python().args(["-c", script]).arg(place.path("out")).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.lines().map(str::to_owned).collect()
}

fn runs(cluster: &Cluster<'_>) -> usize {
    cluster.get("runs")["items"].as_array().unwrap().len()
}

#[test]
fn mended_lines_become_rows_once() {
    let place = Place::new();
    let cluster = converted(&place);
    let ask = |arguments: &[&str]| Done::of(cluster.client(arguments).stdin(Stdio::null()).output().unwrap());
    let lines = ask(&["rejected", "m", "--lines"]);
    assert_eq!((lines.code, lines.stdout.as_str()), (Some(0), "{\"a\" 2}\n[4]\n{\"a\":5 \n"), "{}", lines.stderr);
    let file = place.path("mended.ndjson");
    let put = |arguments: &[&str]| ask(&[&["runs", "put-back", "m", file.to_str().unwrap()], arguments].concat());

    std::fs::write(&file, lines.stdout.replacen("\" 2", "\":2", 1)).unwrap();
    let refused = put(&["--yes"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stdout);
    for part in ["2 of 3 lines would be rejected again", "line 2: not-an-object", "line 3: malformed"] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    std::fs::write(&file, "{\"a\":2}\n\n{\"a\":4}\r\n{\"a\":5}").unwrap();
    let shown = put(&[]);
    assert_eq!(shown.code, Some(3), "{}", shown.stderr);
    assert!(
        shown.stderr.contains("3 lines (24 B) would be put back of a run that has rejected 3 lines"),
        "{}",
        shown.stderr
    );
    assert!(runs(&cluster) == 1 && !place.path("out/_millwork/mended").exists(), "nothing is done");
    let would = put(&["--dry-run", "--json"]).json();
    assert!(would["run"].is_null() && would["earlier"] == json!([]), "{would}");

    let done = put(&["--yes", "--json", "--reason", "a colon was missing"]).json();
    let id = done["manifest_id"].as_str().unwrap();
    assert_eq!((&done["manifest_id"], &done["file"]), (&would["manifest_id"], &would["file"]), "as it was shown");
    wait_until("they are converted", || cluster.get(&format!("runs/{id}"))["state"] == "completed");
    assert_eq!(values(&place), ["1", "2", "3", "4", "5"]);
    let ledger = json!({"files": 1, "lines": 3, "rows": 3, "rejected": 0, "blank": 0, "without_rows": 0});
    assert_eq!(cluster.get(&format!("runs/{id}"))["result"]["ledger"], ledger);
    assert_eq!(cluster.get("runs/m")["result"]["ledger"]["rejected"], 3, "what was converted stays as it is");

    let again = put(&["--yes"]);
    assert_eq!((again.code, again.stdout.trim(), runs(&cluster)), (Some(0), id, 2), "{}", again.stderr);
    std::fs::write(&file, "{\"a\":6}").unwrap();
    assert_eq!(put(&["--dry-run", "--json"]).json()["earlier"], json!([id]), "whoever puts more back is told");
    let notes = cluster.get("audit?subject=m");
    let notes: Vec<&Value> =
        notes["items"].as_array().unwrap().iter().filter(|note| note["action"] == "put-back").collect();
    assert_eq!(notes.len(), 1, "{notes:?}");
    assert_eq!(
        (&notes[0]["reason"], &notes[0]["outcome"]),
        (&"a colon was missing".into(), &"done".into()),
        "{notes:?}"
    );

    let of_none = cluster.post(&format!("runs/{id}/mended"), &json!({"lines": "{}"}));
    assert!(of_none.0 == 409 && of_none.1["error"]["code"] == "conflict", "{of_none:?}");
    let unknown = cluster.post("runs/no-such/mended", &json!({"lines": "{}"}));
    assert_eq!((unknown.0, &unknown.1["error"]["code"]), (404, &"no-such-run".into()));
    let large = cluster.post("runs/m/mended", &json!({"lines": " ".repeat((16 << 20) + 1)}));
    assert_eq!((large.0, &large.1["error"]["code"]), (413, &"too-large".into()));
    assert_eq!(runs(&cluster), 2);
}

#[test]
fn a_death_before_the_run_is_queued_is_made_good_and_a_race_has_one_winner() {
    let place = Place::new();
    let cluster = converted(&place);
    let lines = json!({"lines": "{\"a\":2}\n{\"a\":4}\n"});
    let would = cluster.post("runs/m/mended", &json!({"lines": lines["lines"], "dry_run": true})).1;
    let file = would["file"].as_str().unwrap().strip_prefix("file://").unwrap();
    std::fs::create_dir_all(std::path::Path::new(file).parent().unwrap()).unwrap();
    std::fs::write(file, "{\"a\":7}\n{\"a\":8}\n").unwrap();
    let planted = cluster.post("runs/m/mended", &lines);
    assert!(planted.0 == 503 && planted.1["error"]["code"] == "storage", "{planted:?}");
    assert_eq!(runs(&cluster), 1, "what stands there is other content");

    // Death of a scheduler after the file was written leaves this.
    std::fs::write(file, "{\"a\":2}\n{\"a\":4}\n").unwrap();
    let answers: Vec<(u16, Value)> = std::thread::scope(|scope| {
        // Lines of two are judged at a time; the others are told to ask again, which they do.
        let ask = || {
            let mut answer = (503, Value::Null);
            wait_until("there is an answer", || {
                answer = cluster.post("runs/m/mended", &lines);
                answer.1["error"]["code"] != "busy"
            });
            answer
        };
        let asking: Vec<_> = (0..8).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|one| one.join().unwrap()).collect()
    });
    for (status, answer) in &answers {
        assert!(matches!(status, 200 | 202), "{answer}");
        assert_eq!(answer["run"]["manifest_id"], would["manifest_id"], "{answer}");
    }
    let path = format!("runs/{}", would["manifest_id"].as_str().unwrap());
    wait_until("they are converted", || cluster.get(&path)["state"] == "completed");
    assert_eq!(values(&place), ["1", "2", "3", "4"]);
    assert_eq!(runs(&cluster), 2);
}

#[test]
fn mended_lines_in_buckets_become_rows() {
    let world = World::cloud();
    let rows: String = (0..2000).map(|n| format!("{{\"n\": {n}}}\n")).collect();
    let uri = world.input("2025-12-23-dirty.ndjson", (rows + "{\"n\" 2000}\n").into_bytes());
    let document = world.manifest("dirty", &[uri]);
    let fleet = Fleet::start(&world, 2, 1);
    assert_eq!(fleet.submit(0, &document).0, 202);
    fleet.wait_until("the run is completed", || fleet.get(0, "runs/dirty")["state"] == "completed");
    // A scheduler that stands by takes them, too.
    let (status, told) = fleet.submit_to(1, "runs/dirty/mended", &json!({"lines": "{\"n\": 2000}"}));
    assert_eq!(status, 202, "{told}");
    let file = told["file"].as_str().unwrap();
    assert!(file.starts_with("s3://acme-output/") && file.contains("/_millwork/mended/2025-12-23/"), "{told}");
    let path = format!("runs/{}", told["manifest_id"].as_str().unwrap());
    fleet.wait_until("they are converted", || fleet.get(0, &path)["state"] == "completed");
    assert_eq!(fleet.get(0, &path)["result"]["ledger"]["rows"], 1);
    let page = fleet.text(0, "/ui/runs/dirty/rejected").unwrap();
    assert!(page.contains(told["manifest_id"].as_str().unwrap()), "{page}");
}
