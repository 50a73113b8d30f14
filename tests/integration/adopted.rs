//! An output belongs to one state: another one, or a new one in place of one that was lost, is told so before it writes a row.

use crate::place::{Done, Place, binary, signal, start, wait_for_end, wait_until};
use std::fs;
use std::process::Command;

/// A place with two converted files.
fn converted() -> Place {
    let place = Place::new();
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    assert_eq!(place.run_well(&[])["rows"], 1);
    place.input("2025-12-24-b.ndjson", "{\"a\": 2}\n");
    assert_eq!(place.run_well(&[])["rows"], 1);
    place
}

fn lose_state(place: &Place) {
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(place.path("out/_millwork").join(name));
    }
}

fn is_refused(done: &Done) {
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    for part in ["2 manifests", "it was lost, or is another one", "--adopt", "--state"] {
        assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
    }
}

#[test]
fn a_state_of_another_output_is_told_of_however_much_it_knows() {
    let place = converted();
    let elsewhere = place.path("elsewhere");
    let other = format!("sqlite:{}", place.path("other.db").display());
    let mut command = Command::new(binary("millwork"));
    command.args(["run", "--state", &other]).env("SIZE_TOLERANCE_PERCENT", "100");
    command.arg("--input").arg(place.path("in")).arg("--output").arg(&elsewhere);
    assert_eq!(Done::of(command.output().unwrap()).code, Some(0));
    let outputs = place.parquet_files();
    for _ in 0..2 {
        is_refused(&place.run(&["--state", &other]));
        assert_eq!(place.parquet_files(), outputs);
    }
    // The one that has it goes on.
    assert_eq!(place.run_well(&[])["rows"], 0);
    place.input("2025-12-24-c.ndjson", "{\"a\": 3}\n");
    assert_eq!(place.run_well(&["--state", &other, "--adopt"])["rows"], 1);
    place.ask_oracle(&[]);
    // And no more, once another has taken it over.
    let done = place.run(&[]);
    assert!(done.code == Some(1) && done.stderr.contains("3 manifests"), "{}", done.stderr);
    assert_eq!(place.parquet_files().len(), 3);
}

#[test]
fn an_output_whose_private_directory_is_gone_gets_no_row_twice() {
    for layout in [&[][..], &["--layout", "{date}/{manifest_id}.{part}.parquet"]] {
        let place = Place::new();
        place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
        assert_eq!(place.run_well(layout)["rows"], 1);
        fs::remove_dir_all(place.path("out/_millwork")).unwrap();
        for more in [&[][..], &["--adopt"]] {
            let done = place.run(&[layout, more].concat());
            assert!(done.code == Some(1) && done.stderr.contains("is gone: put it back"), "{}", done.stderr);
        }
        assert_eq!(place.parquet_files().len(), 1);
    }
    // Parquet files of others are none of its business.
    let place = Place::new();
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    fs::create_dir_all(place.path("out/merged-parquet-2025-12-23")).unwrap();
    fs::write(place.path("out/merged-parquet-2025-12-23/part-00000-c000.snappy.parquet"), "PAR1").unwrap();
    assert_eq!(place.run_well(&[])["rows"], 1);
}

#[test]
fn an_output_without_a_row_is_anybody_s() {
    let place = Place::new();
    assert_eq!(place.run_well(&[])["rows"], 0);
    lose_state(&place);
    place.input("2025-12-23-a.ndjson", "{\"a\": 1}\n");
    assert_eq!(place.run_well(&[])["rows"], 1);
}

#[test]
fn one_that_watches_converts_nothing_again_whose_state_was_lost() {
    let place = converted();
    let outputs = place.parquet_files();
    lose_state(&place);
    let up = |more: &[&str]| {
        let mut command = place.command("millwork");
        command.args(["up", "--no-ui"]).args(more).env("SIZE_TOLERANCE_PERCENT", "100");
        command.arg(place.path("in")).arg("--output").arg(place.path("out"));
        command
    };
    is_refused(&Done::of(up(&[]).output().unwrap()));
    assert_eq!(place.parquet_files(), outputs);
    let log = place.path("log");
    let mut running = start(up(&["--adopt"]), &log);
    wait_until("it tells of them", || fs::read_to_string(&log).unwrap().contains("2 manifests taken as converted"));
    signal(&running, "TERM");
    assert_eq!(wait_for_end(&mut running), Some(0));
    assert_eq!(place.run_well(&[])["rows"], 0);
    assert_eq!(place.parquet_files(), outputs);
    place.ask_oracle(&[]);
}

#[test]
fn a_scheduler_does_not_write_to_the_output_of_another_state() {
    let place = converted();
    let mut command = place.command("millwork-scheduler");
    command.args(["--http", "127.0.0.1:0", "--listen", "127.0.0.1:0", "--state"]);
    command.arg(format!("sqlite:{}", place.path("new.db").display())).env("HOME", place.path("home"));
    command.arg("--output").arg(place.path("out")).arg("--input-places").arg(place.path("in"));
    is_refused(&Done::of(command.output().unwrap()));
}
