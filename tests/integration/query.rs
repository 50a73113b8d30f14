//! A user's own query, and the plan that can be looked at.

use crate::place::{Done, Place, python};

fn rows(place: &Place) -> serde_json::Value {
    let script = "import sys, json, glob, pyarrow.parquet as pq\n\
        rows = [r for f in sorted(glob.glob(sys.argv[1] + '/merged*/*.parquet')) for r in pq.read_table(f).to_pylist()]\n\
        print(json.dumps(rows, default=str))";
    let output = python().args(["-c", script]).arg(place.path("out")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn with_query(sql: &str) -> Place {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":\"x\",\"b\":1}\nbad\n{\"a\":\"y\",\"b\":2}\n{\"b\":3}\n");
    std::fs::write(place.path("q.sql"), sql).unwrap();
    place
}

#[test]
fn a_query_computes_renames_and_filters() {
    let place = with_query(
        "SELECT b, upper(a) AS shout, b AS again, encode(sha256(a), 'hex') AS hash, _source_line AS line\n\
         FROM read_manifest($manifest) WHERE a IS NOT NULL",
    );
    let report = place.run_well(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!((&report["rows"], &report["rejected"]), (&2.into(), &1.into()));
    let rows = rows(&place);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!(
        (&rows[1]["shout"], &rows[1]["b"], &rows[1]["again"], &rows[1]["line"]),
        (&"Y".into(), &"2".into(), &"2".into(), &3.into())
    );
    // SHA-256 of "y", from coreutils' sha256sum.
    assert_eq!(rows[1]["hash"], "a1fce4363854ff888cff4b8e7875d600c2682390412a8cf79b37d0b11148b0fa");
}

#[test]
fn a_query_with_a_mistake_is_refused_before_anything_is_begun() {
    for sql in [
        "CHOOSE a FROM",
        "SELECT a FROM read_manifest($manifest) ORDER BY a",
        "SELECT nofunction(a) FROM read_manifest($manifest)",
    ] {
        let place = with_query(sql);
        let query = place.path("q.sql");
        let done = place.run(&["--sql", query.to_str().unwrap()]);
        assert!(done.code == Some(2) && done.stderr.contains("q.sql"), "{}", done.stderr);
        assert!(!place.path("out").exists());
        let mut command = place.command("millwork-scheduler");
        command.args(["--state", "sqlite:nowhere/s.db", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--sql"]);
        command.arg(&query).arg("--output").arg(place.path("out")).arg("--input-places").arg(place.path("in"));
        let done = Done::of(command.output().unwrap());
        assert!(done.code == Some(1) && done.stderr.contains("q.sql"), "{}", done.stderr);
    }
}

#[test]
fn a_scheduler_takes_no_query_that_converts_nothing() {
    let place = with_query("EXPLAIN SELECT a FROM read_manifest($manifest)");
    let mut command = place.command("millwork-scheduler");
    command.args(["--state", "sqlite:nowhere/s.db", "--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--sql"]);
    command.arg(place.path("q.sql")).arg("--output").arg(place.path("out")).arg("--input-places").arg(place.path("in"));
    let done = Done::of(command.output().unwrap());
    assert!(done.code == Some(1) && done.stderr.contains("EXPLAIN"), "{}", done.stderr);
}

#[test]
fn files_that_were_not_at_fault_stay_together_when_they_are_tried_again() {
    let place = with_query("SELECT nope FROM read_manifest($manifest)");
    for number in 0..4 {
        place.input(&format!("2025-01-01-more-{number}.ndjson"), "{\"a\":1}\n");
    }
    let done = place.run(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!((done.code, &done.json()["failed"][0]["class"]), (Some(1), &"input".into()), "{}", done.stderr);
    // One of them is a file that fails by itself: it leaves the others, and is alone from then on.
    place.input("2025-01-01-z.ndjson.gz", "no gzip");
    let done = place.run(&[]);
    let report = done.json();
    assert_eq!((&report["rows"], report["failed"].as_array().unwrap().len()), (&7.into(), 1), "{}", done.stderr);
    assert_eq!(place.parquet_files().len(), 1);
}

#[test]
fn a_query_may_name_a_column_that_comes_late() {
    let place = with_query("SELECT rare, a FROM read_manifest($manifest) WHERE rare IS NOT NULL");
    let filler = "{\"a\":1}\n".repeat(300_000);
    place.input("2025-01-01-b.ndjson", format!("{filler}{{\"a\":2,\"rare\":3}}\n{filler}"));
    let report = place.run_well(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!((&report["rows"], &report["left_out"]), (&1.into(), &600_003.into()));
    assert_eq!(rows(&place)[0]["rare"], "3");
}

#[test]
fn a_query_that_only_chooses_columns_gives_what_a_query_that_computes_gives() {
    let choice = "SELECT b AS x, _source_line AS line, a, _date FROM read_manifest($manifest)";
    let chosen = |sql: &str| {
        let place = with_query(sql);
        let lines = "{\"a\":1,\"a\":null}\n{\"a\":1,\"a\":null,\"a\":2}\n{\"c\":1}\n{\"b\":\"\\u00e9\",\"b\":\"z\"}\n";
        place.input("2025-01-01-c.ndjson", lines.repeat(5000));
        place.run_well(&["--sql", place.path("q.sql").to_str().unwrap()]);
        rows(&place)
    };
    let direct = chosen(choice);
    assert_eq!(direct.as_array().unwrap().len(), 20_003);
    assert_eq!(direct[3], serde_json::json!({"x": null, "line": 1, "a": null, "_date": "2025-01-01"}));
    assert_eq!(direct[4]["a"], "2");
    assert_eq!(direct[6]["x"], "z");
    assert!(direct == chosen(&format!("{choice} WHERE a IS DISTINCT FROM 'never'")));
    let metadata = chosen("SELECT _source_line AS line FROM read_manifest($manifest)");
    assert_eq!((metadata.as_array().unwrap().len(), &metadata[20_002]), (20_003, &serde_json::json!({"line": 20_000})));
}

#[test]
fn all_columns_of_a_query_are_all_there_are_however_late_they_turn_up() {
    let place = with_query("SELECT * FROM read_manifest($manifest) WHERE coalesce(a, '') <> 'filler'");
    let filler = "{\"a\":\"filler\"}\n".repeat(300_000);
    place.input("2025-01-01-b.ndjson", format!("{filler}{{\"a\":2,\"rare\":3}}\n{filler}"));
    let report = place.run_well(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!((&report["rows"], &report["left_out"]), (&4.into(), &600_000.into()));
    assert_eq!(rows(&place)[3]["rare"], "3");
}

#[test]
fn a_query_that_does_not_plan_says_where() {
    let place = with_query("SELECT a,\n       nope\nFROM read_manifest($manifest)");
    let path = place.path("q.sql");
    let done = place.run(&["--sql", path.to_str().unwrap()]);
    assert_eq!(done.code, Some(1));
    let message = done.json()["failed"][0]["message"].as_str().unwrap().to_owned();
    assert!(message.starts_with(&format!("{}:2:8: ", path.display())), "{message}");
    assert!(message.ends_with("\n         nope\n         ^"), "{message}");
    assert!(place.parquet_files().is_empty());
}

#[test]
fn a_query_that_fails_on_the_data_fails_the_manifest() {
    let place = with_query("SELECT CAST(a AS INT) AS n FROM read_manifest($manifest)");
    let done = place.run(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!(done.code, Some(1));
    assert_eq!(done.json()["failed"][0]["class"], "input");
    assert!(place.parquet_files().is_empty());
    place.assert_tidy();
}

#[test]
fn an_explain_shows_the_plan_and_converts_nothing() {
    let place = with_query("EXPLAIN SELECT a FROM read_manifest($manifest) WHERE b = '1'");
    let done = place.run(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let plan = done.json();
    let text = |name: &str| plan[name].as_str().unwrap().to_owned();
    assert!(text("logical_plan").contains("Filter:") && plan["tasks"] == 1, "{plan}");
    for word in ["ParquetPartsSink", "DataSourceExec", "file_type=ndjson", "2025-01-01-a.ndjson"] {
        assert!(text("physical_plan").contains(word), "{plan}");
    }
    assert!(!place.path("out").exists());
}

#[test]
fn a_query_that_names_its_columns_is_not_failed_by_other_keys() {
    let place = with_query("SELECT b, \"_date_1\" AS mine FROM read_manifest($manifest) WHERE b IS NOT NULL");
    // More keys than a manifest may have columns, most of them beyond what is looked at before.
    let line = |row: usize| format!("{{\"id{row}\":1,\"b\":{row},\"_date\":\"d\"}}\n");
    place.input("2025-01-01-c.ndjson", (0..25_000).map(line).collect::<String>());
    let report = place.run_well(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!((&report["rows"], &report["rejected"]), (&25_003.into(), &1.into()));
    let rows = rows(&place);
    assert!(rows.as_array().unwrap().iter().any(|row| row["b"] == "24999" && row["mine"] == "d"));
}

#[test]
fn a_query_that_would_not_fit_on_the_stack_is_refused() {
    let terms: Vec<String> = (0..20_000).map(|term| format!("a = '{term}'")).collect();
    let place = with_query(&format!("SELECT a FROM read_manifest($manifest) WHERE {}", terms.join(" OR ")));
    let done = place.run(&["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    assert!(done.stderr.contains("more operators in a row than 1000, the limit"), "{}", done.stderr);
}
