//! Files that are not what their names say, too many rejected lines, and names that readers take for others: what is told, and what is kept.

use crate::place::{Done, Place, python};
use flate2::Compression;
use flate2::write::GzEncoder;
use millwork_diagnosis::Code;
use millwork_scheduler::{About, Inspector};
use millwork_tracking::SqliteStore;
use std::io::Write;
use std::sync::Arc;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn utf16(text: &str) -> Vec<u8> {
    [vec![0xff, 0xfe], text.encode_utf16().flat_map(u16::to_le_bytes).collect()].concat()
}

/// The records of rejected lines below the quarantine.
fn rejected(place: &Place) -> Vec<serde_json::Value> {
    let text = |name: &String| std::fs::read_to_string(place.path("quarantine").join(name)).unwrap();
    let files = place
        .files("quarantine")
        .iter()
        .filter(|name| name.starts_with("rejected-lines/"))
        .map(text)
        .collect::<String>();
    files.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_that_is_no_ndjson_is_named_once_and_costs_no_other() {
    let place = Place::new();
    let lines = "{\"a\":1}\n{\"a\":2}\n";
    place.input("2025-01-01-good.ndjson", lines);
    let array = |rows: usize| format!("[\n{}{{\"phantom\":1}}\n]\n", "{\"phantom\":1},\n".repeat(rows));
    place.input("2025-01-01-array.ndjson", array(50));
    // One that would be cut into ranges.
    place.input("2025-01-01-large.ndjson", array(2_000_000));
    place.input("2025-01-01-gzip.ndjson", gzip(&lines.repeat(9000).into_bytes()));
    place.input("2025-01-01-twice.ndjson.gz", gzip(&gzip(lines.as_bytes())));
    place.input("2025-01-01-zip.ndjson", [&b"PK\x03\x04"[..], &[7; 3000]].concat());
    place.input("2025-01-01-utf16.ndjson", utf16(&lines.repeat(2000)));
    // Nothing tells these by their start: each line is judged, and the file is named once.
    place.input("2025-01-01-table.ndjson", "a,b\n".repeat(40));
    place.input("2025-01-01-value.ndjson", "7\n");
    place.input("2025-01-01-blank.ndjson", "\n \n");
    let done = place.run(&["--expected-file-size-mb", "100"]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = done.json();
    assert_eq!(
        (&report["rows"], &report["rejected"], &report["files"]),
        (&2.into(), &47.into(), &10.into()),
        "{report}"
    );
    let found = report["without_rows"].as_array().unwrap();
    let details: Vec<_> = found.iter().map(|file| file["detail"].as_str().unwrap()).collect();
    let wanted = [
        "a JSON array",
        "is gzip",
        "a JSON array",
        "none of its 40 lines",
        "compressed twice",
        "UTF-16",
        "its only line",
        "a zip archive",
    ];
    assert_eq!(details.len(), wanted.len(), "{details:?}");
    for (detail, words) in details.iter().zip(wanted) {
        assert!(detail.contains(words), "{words}: {details:?}");
    }
    assert!(found.iter().all(|file| file["rejected_lines"] == report["rejected_lines"][0]), "{found:?}");
    let records = rejected(&place);
    assert_eq!(records.len(), 47);
    let (whole, lines): (Vec<_>, Vec<_>) = records.iter().partition(|record| record["reason"] == "not-ndjson");
    assert_eq!((whole.len(), lines.len()), (6, 41));
    for record in whole {
        assert_eq!((&record["line"], &record["reason"]), (&1.into(), &"not-ndjson".into()), "{record}");
        assert!(record["message"].as_str().unwrap().contains(", not NDJSON: "), "{record}");
    }
    place.ask_oracle(&[]);
    let twice = records.iter().find(|record| record["source_file"].as_str().unwrap().contains("twice")).unwrap();
    assert_eq!(twice["message"], "the file is gzip, not NDJSON: it was compressed twice: decompress it once");
    // Whoever asks about one of them later hears the same, and of the others that all is well.
    let state = format!("sqlite:{}", place.path("out/_millwork/state.db").display());
    for (name, code, words) in [
        ("zip", "no-rows", "1 line → 0 rows, 1 rejected; the file is a zip archive"),
        ("table", "no-rows", "40 lines → 0 rows, 40 rejected; none of its 40 lines is a row"),
        ("blank", "done", "2 lines → 0 rows, 2 blank"),
        ("good", "done", "2 lines → 2 rows"),
    ] {
        let mut why = place.command("millwork");
        why.args(["why", "--json", "--state", &state]).arg(place.path(&format!("in/2025-01-01-{name}.ndjson")));
        let answer = Done::of(why.output().unwrap()).json();
        assert_eq!(answer["code"], code, "{answer}");
        assert!(answer["sentence"].as_str().unwrap().contains(words), "{answer}");
        assert_eq!(answer["action"].is_null(), code == "done", "{answer}");
    }
    // No line of theirs made a column.
    let script = "import sys, glob, pyarrow.parquet as pq\nprint(pq.read_schema(glob.glob(sys.argv[1] + '/merged*/*.parquet')[0]).names)";
    let names = Done::of(python().args(["-c", script]).arg(place.path("out")).output().unwrap());
    assert!(names.stdout.starts_with("['a', '_source_file'"), "{} {}", names.stdout, names.stderr);
}

/// Causes and numbers of files without a row that need a person.
async fn without_rows(state: &std::path::Path) -> Vec<(String, u64)> {
    let store = Arc::new(SqliteStore::open(state).unwrap());
    let inspector = Inspector::on(store, millwork_storage::Storage::default(), None, About::default());
    let attention = inspector.attention(chrono::Utc::now()).await.unwrap();
    let of_files = attention.items.into_iter().filter(|item| item.code == Code::NoRows);
    let mut found: Vec<_> = of_files.map(|item| (item.cause, item.count)).collect();
    found.sort();
    found
}

#[tokio::test]
async fn files_without_a_row_need_a_person_until_they_are_mended() {
    let place = Place::new();
    place.input("2025-01-01-good.ndjson", "{\"a\":1}\n");
    place.input("2025-01-01-tar.ndjson", [vec![b'x'; 100], vec![0; 157], b"ustar\0".to_vec(), vec![0; 900]].concat());
    place.input("2025-01-01-lz4.ndjson", b"\x04\x22\x4d\x18 and more");
    let table = place.input("2025-01-01-table.ndjson", "a,b\n");
    let pretty = place.input("2025-01-01-pretty.ndjson", "{\n  \"a\": 1\n}\n");
    let done = place.run(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for file in done.json()["without_rows"].as_array().unwrap() {
        let detail = file["detail"].as_str().unwrap();
        assert!(detail.contains("jq -c .") || detail.contains("gzip or zstd"), "{detail}");
    }
    let state = place.path("out/_millwork/state.db");
    let expected =
        |unknown: u64| vec![(String::new(), unknown), ("LZ4".to_owned(), 1), ("a tar archive".to_owned(), 1)];
    assert_eq!(without_rows(&state).await, expected(2));
    // As the report says.
    std::fs::write(&table, "{\"a\":2}\n").unwrap();
    let mut update = place.command("millwork");
    update.args(["state", "update-state", "--to", "pending", "--reprocess", "--reason", "mended", "--yes"]);
    update.arg("--state").arg(format!("sqlite:{}", state.display())).arg(&table);
    update.arg("--input-places").arg(place.path("in"));
    let updated = Done::of(update.output().unwrap());
    assert_eq!(updated.code, Some(0), "{} {}", updated.stdout, updated.stderr);
    assert_eq!(place.run_well(&[])["rows"], 1);
    assert_eq!(without_rows(&state).await, expected(1));
    assert!(pretty.exists());
}

#[test]
fn padding_after_gzip_is_taken_and_other_bytes_are_named() {
    let place = Place::new();
    place.input(
        "2025-01-01-padded.ndjson.gz",
        [gzip(b"{\"a\":1}\n"), vec![0; 1024], gzip(b"{\"a\":2}\n"), vec![0; 3]].concat(),
    );
    assert_eq!(place.run_well(&[])["rows"], 2);
    place.ask_oracle(&[]);
    let place = Place::new();
    place.input("2025-01-01-more.ndjson.gz", [gzip(b"{\"a\":1}\n"), b"{\"a\":2}\n".to_vec()].concat());
    let failed = place.run(&[]);
    assert_ne!(failed.code, Some(0));
    let message = failed.json()["failed"][0]["message"].to_string();
    assert!(message.contains("bytes that are no gzip stand after its last member"), "{message}");
}

#[test]
fn too_many_rejected_lines_fail_the_manifest_and_are_kept() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\nsecret\n{\"a\":\n{\"a\":2}\n[1]\n");
    let failed = place.run(&["--max-rejected-percent", "50"]);
    assert_ne!(failed.code, Some(0));
    let message = failed.json()["failed"][0]["message"].as_str().unwrap().to_owned();
    for words in [
        "3 of 5 lines are rejected",
        "line 2: malformed",
        "line 3: ",
        "line 5: not-an-object",
        "-attempt-1.ndjson",
        "--max-rejected-percent",
    ] {
        assert!(message.contains(words), "{words}: {message}");
    }
    assert!(!message.contains("secret"), "{message}");
    assert_eq!(rejected(&place).len(), 3);
    assert!(place.parquet_files().is_empty());
    // Another try keeps what it finds beside it, and one that is let through is as any other.
    place.input("2025-01-01-b.ndjson", "{\"a\":1}\n");
    for wrong in ["nan", "-1", "101", "inf"] {
        let refused = place.run(&[&format!("--max-rejected-percent={wrong}")]);
        assert_eq!(refused.code, Some(2), "{}", refused.stderr);
        assert!(refused.stderr.contains("a number from 0 to 100"), "{}", refused.stderr);
    }
    place.run_well(&[]);
}

#[test]
fn columns_that_readers_take_for_others_are_told_once() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"date\":1,\"name\":2,\"Name\":3,\"_DATE\":4}\n");
    place.input("2025-01-02-a.ndjson", "{\"date\":1}\n");
    let layout = ["--layout", "date={date}/{manifest_id}-{part}.parquet"];
    let report = place.run_well(&layout);
    assert_eq!(report["hidden_columns"], serde_json::json!(["date"]));
    assert_eq!(report["case_twins"], serde_json::json!([["Name", "name"], ["_DATE", "_date"]]));
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"date\":1,\"_DATE\":4}\n");
    let mut command = place.command("millwork");
    command.args(["run", "--input"]).arg(place.path("in")).arg("--output").arg(place.path("out")).args(layout);
    let done = Done::of(command.env("SIZE_TOLERANCE_PERCENT", "100").output().unwrap());
    let told = format!("{}{}", done.stdout, done.stderr);
    assert_eq!(told.matches("hides the column `date`").count(), 1, "{told}");
    assert_eq!(told.matches("`_date` and `_DATE` differ in case only").count(), 1, "{told}");
    assert!(told.contains("/date=2025-01-01/") && !told.contains("%3D"), "{told}");
}
