//! `millwork up`: a directory that is watched, converted and shown, in one process.

use crate::cluster::free_port;
use crate::place::{Done, Place, Running, signal, start, wait_for_end, wait_until};

/// Starts it, and waits until it serves its pages.
fn up(place: &Place, port: u16, more: &[&str]) -> Running {
    let mut command = place.command("millwork");
    command.arg("up").arg(place.path("in")).arg("--output").arg(place.path("out")).args(more);
    command.args(["--http", &format!("127.0.0.1:{port}")]);
    let running = start(command, &place.path("up.log"));
    wait_until("it serves its pages", || log(place).contains("web UI"));
    running
}

fn log(place: &Place) -> String {
    std::fs::read_to_string(place.path("up.log")).unwrap_or_default()
}

#[test]
fn a_log_holds_nothing_that_signs_in() {
    let place = Place::new();
    let port = free_port();
    let mut running = up(&place, port, &[]);
    wait_until("all is told", || log(&place).contains("Ctrl-C"));
    let told = log(&place);
    assert!(
        !told.contains("code=") && told.contains(&format!("millwork open --scheduler http://127.0.0.1:{port}")),
        "{told}"
    );
    signal(&running, "TERM");
    assert_eq!(wait_for_end(&mut running), Some(0), "{}", log(&place));
}

#[test]
fn rules_of_today_are_those_it_was_started_with() {
    let place = Place::new();
    let file = format!("file://{}", place.input("2025-01-01-a.ndjson", "{\"a\": 1}\n").display());
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let redrive = || {
        let mut command = place.command("millwork");
        Done::of(command.args(["quarantine", "redrive", &file, "--yes", "--scheduler", &url]).output().unwrap())
    };
    // Others than the usual ones, which a place without builders has.
    let mut first = up(&place, port, &["--expected-file-size-mb", "7"]);
    wait_until("it is refused", || log(&place).contains("too-small"));
    wait_until("its rules are known", || redrive().stdout.contains("--expected-file-size-mb 7 "));
    signal(&first, "TERM");
    assert_eq!(wait_for_end(&mut first), Some(0), "{}", log(&place));
    let mut second = up(&place, port, &["--size-tolerance-percent", "100"]);
    wait_until("it is converted", || log(&place).contains('✓'));
    signal(&second, "TERM");
    assert_eq!(wait_for_end(&mut second), Some(0), "{}", log(&place));
}

#[test]
fn what_is_converted_in_the_first_moment_is_counted() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\": 1}\n{\"a\": 2}\n");
    let port = free_port();
    let mut running = up(&place, port, &["--size-tolerance-percent", "100"]);
    wait_until("it is converted", || log(&place).contains('✓'));
    let url = format!("http://127.0.0.1:{port}");
    let rows = || {
        let mut command = place.command("millwork");
        let told = Done::of(command.args(["status", "--json", "--scheduler", &url]).output().unwrap());
        told.json()["converted"]["rows"].as_u64()
    };
    wait_until("its rows are counted", || rows() == Some(2));
    signal(&running, "TERM");
    assert_eq!(wait_for_end(&mut running), Some(0), "{}", log(&place));
}

#[test]
fn it_is_for_its_own_machine_and_says_so() {
    let place = Place::new();
    let mut command = place.command("millwork");
    command.arg("up").arg(place.path("in")).args(["--http", "0.0.0.0:8080"]);
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(2), "{}", done.stderr);
    for words in ["127.0.0.1:8080", "millwork-scheduler"] {
        assert!(done.stderr.contains(words), "{}", done.stderr);
    }
    assert!(!done.stderr.contains("--token-file"), "`up` has no such option: {}", done.stderr);
}
