//! Every row, every value, every column.

use crate::place::{Done, Place, python, wait_until};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::io::Write;

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn generated_days_of_every_shape_come_out_as_they_went_in() {
    let place = Place::new();
    place.generate(&[
        "--shape",
        "mixed",
        "--files",
        "7",
        "--size-mb",
        "0.6",
        "--dates",
        "2",
        "--dirty",
        "2",
        "--late-columns",
        "3",
    ]);
    place.generate(&["--files", "3", "--size-mb", "0.3", "--dirty", "1", "--compress", "gzip", "--date", "2025-12-25"]);
    place.generate(&["--files", "3", "--size-mb", "0.3", "--compress", "zstd", "--date", "2025-12-25", "--seed", "9"]);
    let report = place.run_well(&["--target-file-mb", "1"]);
    let oracle = place.ask_oracle(&[]);
    for count in ["files", "rows", "rejected"] {
        assert_eq!(report[count], oracle[count], "{count}");
    }
    assert_eq!(report["manifests"], 3);
    assert!(report["outputs"].as_array().unwrap().len() > 3);
    place.assert_tidy();
}

#[test]
fn what_a_file_may_hold() {
    let place = Place::new();
    let first = b"\xef\xbb\xbf{\"a\":1.0,\"b\":\"x\\u00e9\\ud800y\",\"c\":{\"z\": 1e-7, \"y\":[1, 2]},\"_date\":\"mine\",\"\":5}\r\n\r\n\
        {\"a\":12345678901234567890,\"a\":\"last\",\"B\":true}\n{\"a\":\"twice\",\"a\":null}\n  \n[1]\n\"s\"\n{\"a\":1}x\n\
        {\"k\\u0041\":\"escaped\",\"kA\":\"plain\"}\n{\"b\":\"\xff\xfe bad\",\"c\":false}\n{\"nul\\u0000key\":\"v\",\"sp ace\":\"1\",\"lone\\udc00\":1}\n\
        {\"_date_1\":\"taken\",\"dot.key\":\"3\",\"\xc3\xbc\":\"\xf0\x9f\x98\x80\"}\n{\"a\":-0.0,\"b\":1E+2}";
    place.input("2025-01-01-a.ndjson", first);
    place.input(
        "2025-01-01-b b+%20\u{fc}.ndjson.gz",
        [gzip(b"{\"gz\":1}\n{\"gz\":"), gzip(b"2}\n{\"late\":1}\n")].concat(),
    );
    place.input("2025-01-01-c.ndjson.zst", zstd::encode_all(&b"{\"zst\":\"\xe6\x9d\xb1\"}\n"[..], 3).unwrap());
    place.input("2025-01-01-d-empty.ndjson", "");
    place.input("2025-01-01-d-empty.ndjson.gz", "");
    place.input("2025-01-01-e-blank.ndjson", "\n \r\n\t");
    place.input("2025-01-01-f-bom.ndjson", "\u{feff}");
    place.input("2025-01-01-g-bom.ndjson.gz", gzip("\u{feff}{\"a\":\"behind a BOM\"}".as_bytes()));
    place.input("x/2025-01-01-a.ndjson", "{\"a\":\"same name, other folder\"}");
    place.input("2025-01-02-only-bad.ndjson", "nope\n");
    let done = place.run(&[]);
    let (report, oracle) = (done.json(), place.ask_oracle(&[]));
    assert_eq!((&report["rows"], &report["rejected"]), (&oracle["rows"], &oracle["rejected"]));
    assert_eq!((&report["files"], done.code), (&10.into(), Some(1)), "{}", done.stderr);
    assert_eq!(report["without_rows"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["replaced_characters"], 4);
    assert_eq!(report["renamed_columns"], serde_json::json!([["_date", "_date_2"]]));
    place.assert_tidy();
}

#[test]
fn names_that_differ_in_case_are_merged_on_request() {
    let place = Place::new();
    place.input("2025-01-01.ndjson", "{\"Id\":1,\"name\":\"a\"}\n{\"ID\":2,\"id\":3,\"NAME\":null}\n");
    place.run_well(&["--column-names", "lower"]);
    place.ask_oracle(&["--lower"]);
}

#[test]
fn a_large_file_is_read_in_ranges_with_the_right_line_numbers() {
    let place = Place::new();
    place.generate(&["--files", "1", "--size-mb", "60", "--dirty", "0.2", "--late-columns", "1"]);
    place.generate(&["--files", "2", "--size-mb", "1", "--seed", "5", "--compress", "gzip"]);
    let report = place.run_well(&["--expected-file-size-mb", "100", "--target-file-mb", "6"]);
    place.ask_oracle(&[]);
    let sizes: Vec<u64> = report["outputs"].as_array().unwrap().iter().map(|o| o["bytes"].as_u64().unwrap()).collect();
    assert!(sizes.len() > 2, "{sizes:?}");
    for size in &sizes[..sizes.len() - 1] {
        assert!((4_500_000..=7_900_000).contains(size), "{sizes:?}");
    }
}

#[test]
fn columns_stand_in_order_of_first_appearance_however_late_that_is() {
    let place = Place::new();
    let filler = format!("{{\"a\":\"{}\"}}\n", "x".repeat(90)).repeat(40_000);
    place.input("2025-01-01-a.ndjson", format!("{filler}{{\"late\":1}}\n{{\"later\":1}}\n"));
    place.input(
        "2025-01-01-b.ndjson",
        format!("{{\"first of b\":1,\"later\":2,\"late\":3}}\n{filler}{{\"a\":2,\"last\":1}}\n"),
    );
    place.run_well(&[]);
    place.ask_oracle(&[]);
}

#[test]
fn a_run_surveys_its_first_manifest_while_it_is_written() {
    let place = Place::new();
    for file in ["2025-01-01-a", "2025-01-01-b", "2025-01-02-a"] {
        place.input(&format!("{file}.ndjson"), "{\"a\":1}\n".repeat(10));
    }
    let done = Done::of(place.run_command(&[]).env("RUST_LOG", "millwork_conversion=debug").output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(done.stderr.matches("surveyed early").count(), 1, "{}", done.stderr);
    place.ask_oracle(&[]);
}

#[test]
fn keys_that_turn_up_late_are_columns_of_every_output() {
    // Long lines of what no compression makes small.
    let words =
        |row: u64| (0..50).map(move |n| format!("{:016x}", (row * 50 + n + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
    let filler: String = (0..2000).map(|row| format!("{{\"a\":\"{}\"}}\n", words(row).collect::<String>())).collect();
    // Converts files with these lines in the middle, beyond what is looked at before. Tells whether it was planned again.
    let is_planned_again = |late: &dyn Fn(usize) -> String| {
        let place = Place::new();
        for file in 0..5 {
            place.input(&format!("2025-01-01-{file}.ndjson"), format!("{filler}{}{filler}", late(file)));
        }
        let mut command = place.run_command(&["--target-file-mb", "1", "--vcores", "2"]);
        let done = Done::of(command.env("RUST_LOG", "millwork_scheduler=info").output().unwrap());
        assert_eq!(done.code, Some(0), "{}", done.stderr);
        place.ask_oracle(&[]);
        place.assert_tidy();
        assert!(place.parquet_files().len() > 1);
        done.stderr.contains("planning again")
    };
    assert!(!is_planned_again(&|file| match file {
        1 => "{\"b\":1,\"B\":\"x\"}\n{\"never\":null}\n".to_owned(),
        3 => "{\"c\":\"\",\"b\":2}\n".repeat(3),
        _ => String::new(),
    }));
    // More than there is room for, and one whose name another column has.
    assert!(is_planned_again(&|file| (0..600 * (file / 4)).map(|key| format!("{{\"{key}\":1}}\n")).collect()));
    assert!(is_planned_again(&|file| if file == 2 { "{\"_date\":1}\n".to_owned() } else { String::new() }));
}

#[test]
fn only_what_is_new_is_converted() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    assert_eq!(place.run_well(&[])["rows"], 1);
    let again = place.run_well(&[]);
    assert_eq!((&again["files"], &again["outputs"]), (&0.into(), &serde_json::json!([])));
    place.input("2025-01-01-b.ndjson", "{\"b\":1}\n{\"b\":2}\n");
    let third = place.run_well(&[]);
    assert_eq!((&third["files"], &third["rows"]), (&1.into(), &2.into()));
    assert_eq!(place.parquet_files().len(), 2);
    place.ask_oracle(&[]);
}

#[test]
fn a_file_that_changes_after_its_conversion_is_left_and_named() {
    let place = Place::new();
    let path = place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    place.run_well(&[]);
    std::fs::write(&path, "{\"a\":1}\n{\"a\":2}\n").unwrap();
    let report = place.run_well(&[]);
    assert_eq!(report["rows"], 0);
    assert!(report["overwritten"][0].as_str().unwrap().ends_with("2025-01-01-a.ndjson"));
    assert_eq!(place.parquet_files().len(), 1);
}

#[test]
fn a_line_above_the_limit_is_rejected_whole_and_costs_no_other() {
    let place = Place::new();
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(64 << 20));
    place.input("2025-01-01.ndjson", format!("{{\"a\":\"before\"}}\n{long}\n{{\"a\":\"after\"}}\n"));
    let report = place.run_well(&["--expected-file-size-mb", "100"]);
    assert_eq!((&report["rows"], &report["rejected"]), (&2.into(), &1.into()));
    place.ask_oracle(&[]);
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    let place = Place::new();
    // Several tasks of several morsels, for two lanes.
    place.generate(&["--files", "24", "--size-mb", "1", "--dirty", "0.5", "--late-columns", "3"]);
    // Keys that turn up in many morsels, in either lane.
    let filler = "{\"n\":1}\n".repeat(150_000);
    for file in 0..6 {
        let late: String = (0..60).map(|key| format!("{{\"{}\":{file}}}\n", key * file)).collect();
        place.input(&format!("2025-12-23-{file}.ndjson"), format!("{filler}{late}"));
    }
    let options = ["--target-file-mb", "1"];
    place.run_well(&[&options[..], &["--vcores", "2"]].concat());
    let manifest = place.files("out/_millwork/manifests").pop().unwrap();
    let text = std::fs::read(place.path("out/_millwork/manifests").join(manifest)).unwrap();
    let mut cluster = crate::cluster::Cluster::start(&place, "again", 0, &options);
    cluster.start_executor_of(2);
    // What is planned depends on the slots.
    wait_until("the executor is connected", || !cluster.get("executors")["items"][0].is_null());
    std::fs::write(place.path("m.json"), text).unwrap();
    std::fs::rename(place.path("quarantine"), place.path("rejected before")).unwrap();
    let done = cluster.submit(&["m.json"]);
    assert_eq!(done.code, Some(0), "{} {}", done.stdout, done.stderr);
    let names = place.parquet_files();
    assert!(names.len() > 4, "more than one task: {names:?}");
    let rejected = place.files("quarantine");
    assert_eq!(rejected.len(), 1);
    let outputs = names.iter().map(|name| (name, "out", "again"));
    for (name, first, second) in outputs.chain([(&rejected[0], "rejected before", "quarantine")]) {
        let [first, second] = [first, second].map(|root| std::fs::read(place.path(root).join(name)).unwrap());
        assert!(first == second, "{name:?}");
    }
}

/// What the oracle says to an output that is wrong.
fn objection(place: &Place) -> String {
    let mut command = python();
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/check.py"));
    command.arg("--input").arg(place.path("in")).arg("--output").arg(place.path("out"));
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    done.stderr
}

#[test]
fn the_oracle_sees_files_that_are_left_out_and_metadata_that_is_wrong() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\n");
    place.run_well(&[]);
    place.ask_oracle(&[]);
    place.input("2025-01-01-b.ndjson", "{\"a\":1}\n");
    assert!(objection(&place).contains("1 files of the input are in no manifest"), "{}", objection(&place));
    std::fs::remove_file(place.path("in/2025-01-01-b.ndjson")).unwrap();
    let path = place.path("out/_millwork/manifests").join(place.files("out/_millwork/manifests").pop().unwrap());
    let text = std::fs::read_to_string(&path).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&text).unwrap();
    for (key, column, wrong) in
        [("date_prefix", "_date", "2025-01-02"), ("created_at", "_ingested_at", "2025-01-01T00:00:00.000001Z")]
    {
        let mut other = manifest.clone();
        other["metadata"][key] = wrong.into();
        std::fs::write(&path, other.to_string()).unwrap();
        assert!(objection(&place).contains(&format!("{column}: ")), "{}", objection(&place));
    }
    std::fs::write(path, text).unwrap();
    place.ask_oracle(&[]);
}
