//! Single files, links and directories that are odd: each is named, and costs no other file anything.

use crate::place::{Done, Place, binary};
use crate::unprivileged::{give_alone, give_away, run, take};
use millwork_manifest::DatePrefix;
use millwork_tracking::AuditFilter;
use serde_json::{Value, json};
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const GOOD: &str = "2025-12-23-good.ndjson";

/// A place with one good file.
fn place() -> Place {
    let place = Place::new();
    place.input(GOOD, "{\"a\": 1}\n");
    place
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn is_told_once(done: &Done, name: &str) {
    assert_eq!(done.stderr.matches(name).count(), 1, "{name}: {}", done.stderr);
}

#[test]
fn a_refused_file_that_cannot_be_moved_is_named_and_left_and_all_else_goes_on() {
    let place = place();
    place.input("closed/x.csv", "a,b\n");
    place.input("open/y.csv", "a,b\n");
    give_away(&place);
    set_mode(&place.path("in/closed"), 0o555);
    for rows in [1, 0] {
        let done = run(&place, &[]);
        assert_eq!((done.code, &done.json()["rows"]), (Some(1), &rows.into()), "{}", done.stderr);
        let unmoved = &done.json()["unmoved"];
        assert_eq!(unmoved.as_array().unwrap().len(), 1, "{unmoved}");
        assert_eq!(unmoved[0]["reason"], "bad-extension");
        is_told_once(&done, "closed/x.csv (bad-extension");
        assert!(done.stderr.contains("its name ends in none of"), "{}", done.stderr);
        assert!(done.stderr.contains("no right to") && done.stderr.contains("stays where it is"), "{}", done.stderr);
        // However often it is tried: nothing of it is in the quarantine.
        assert_eq!(place.files("quarantine"), ["no-date/bad-extension/open/y.csv"]);
        assert_eq!(place.files("in"), [GOOD, "closed/x.csv"]);
    }
    set_mode(&place.path("in/closed"), 0o755);
    assert_eq!(run(&place, &[]).code, Some(0));
    assert_eq!(place.files("in"), [GOOD]);
}

#[test]
fn a_full_quarantine_on_another_file_system_stops_nothing_and_keeps_no_half_of_a_file() {
    let place = place();
    place.input("2025-12-23-large.csv", vec![b'x'; 3 << 20]);
    place.input("2025-12-23-small.csv", vec![b'x'; 3 << 10]);
    // A file system of its own, seen by this one process only.
    let script = "mkdir -p \"$1\" && mount -t tmpfs -o size=1m tmpfs \"$1\" && Q=\"$1\" && shift && \"$@\"; code=$?; \
                  find \"$Q\" -type f >&2; exit $code";
    let command = place.run_command(&[]);
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(place.path("quarantine"))
        .arg(command.get_program())
        .args(command.get_args())
        .env("SIZE_TOLERANCE_PERCENT", "100")
        .output();
    let done = Done::of(output.unwrap());
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &1.into()), "{}", done.stderr);
    let unmoved = &done.json()["unmoved"][0];
    let detail = unmoved["detail"].as_str().unwrap();
    assert!(unmoved["uri"].as_str().unwrap().ends_with("large.csv") && detail.contains("space"), "{unmoved}");
    let files: Vec<&str> = done.stderr.lines().filter(|line| line.starts_with('/')).collect();
    assert!(files.len() == 1 && files[0].ends_with("bad-extension/2025-12-23-small.csv"), "{files:?}");
    assert_eq!(place.files("in"), [GOOD, "2025-12-23-large.csv"]);
}

#[test]
fn the_longest_name_can_arrive_as_often_as_it_likes() {
    let place = Place::new();
    let name = format!("{}.csv", "é".repeat(125));
    for content in ["one", "two", "three"] {
        place.input(&name, content);
        assert_eq!(place.run(&[]).code, Some(0));
        assert!(place.files("in").is_empty());
    }
    let kept = place.files("quarantine");
    let mut contents: Vec<String> =
        kept.iter().map(|name| fs::read_to_string(place.path("quarantine").join(name)).unwrap()).collect();
    contents.sort();
    assert_eq!(contents, ["one", "three", "two"], "{kept:?}");
}

#[test]
fn circles_nowhere_and_closed_directories_are_named_and_all_else_goes_on() {
    let place = place();
    symlink("circle", place.path("in/circle")).unwrap();
    symlink("none", place.path("in/2025-12-23-nowhere.ndjson")).unwrap();
    symlink("..", place.path("in/up")).unwrap();
    symlink(".", place.path("in/here")).unwrap();
    fs::create_dir(place.path("in/lost+found")).unwrap();
    give_away(&place);
    set_mode(&place.path("in/lost+found"), 0o700);
    take(&place.path("in/lost+found"));
    let done = run(&place, &[]);
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &1.into()), "{}", done.stderr);
    for (name, why) in [
        ("in/circle:", "leads back"),
        ("in/2025-12-23-nowhere.ndjson:", "or to nothing"),
        ("in/up:", "outside the input"),
        ("in/here:", "leads back"),
        ("in/lost%2Bfound:", "may not look into"),
    ] {
        is_told_once(&done, name);
        let line = done.stderr.lines().find(|line| line.contains(name)).unwrap();
        assert!(line.contains(why), "{line}");
    }
    assert_eq!(done.json()["foreign"].as_array().unwrap().len(), 5);
}

#[test]
fn what_links_lead_to_is_converted_once_whatever_it_is_called() {
    let place = place();
    place.input("own/2025-12-23-deep.ndjson", "{\"a\": 2}\n");
    // Only links lead to what is in a directory that is left out.
    place.input(".volume/2025-12-23-hidden.ndjson", "{\"a\": 3}\n");
    place.input(".volume/sub/2025-12-23-deeper.ndjson", "{\"a\": 4}\n");
    symlink("own", place.path("in/to-own")).unwrap();
    symlink(".volume", place.path("in/data")).unwrap();
    symlink(".volume", place.path("in/data-again")).unwrap();
    symlink("data/2025-12-23-hidden.ndjson", place.path("in/2025-12-23-file.ndjson")).unwrap();
    symlink("../.volume", place.path("in/.volume/back")).unwrap();
    let done = place.run(&[]);
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &4.into()), "{}", done.stderr);
    let refused = done.json()["foreign"].clone();
    assert_eq!(refused.as_array().unwrap().len(), 1, "{refused}");
    assert!(refused[0]["uri"].as_str().unwrap().ends_with("/in/data/back"), "{refused}");
    fs::remove_file(place.path("in/.volume/back")).unwrap();
    assert_eq!(place.run_well(&[])["rows"], 0);
}

#[test]
fn an_unreadable_file_costs_only_itself() {
    let place = place();
    let closed = place.input("2025-12-23-closed.ndjson", "{\"a\": 2}\n");
    for i in 0..5 {
        place.input(&format!("2025-12-23-{i}.ndjson"), "{\"a\": 3}\n");
    }
    give_away(&place);
    set_mode(&closed, 0);
    let done = run(&place, &[]);
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &6.into()), "{}", done.stderr);
    let failed = &done.json()["failed"];
    assert_eq!(failed.as_array().unwrap().len(), 1, "{failed}");
    assert!(failed[0]["message"].as_str().unwrap().contains("2025-12-23-closed.ndjson"), "{failed}");
    set_mode(&closed, 0o644);
    let again = run(&place, &[]);
    assert_eq!((again.code, &again.json()["rows"]), (Some(0), &1.into()), "{}", again.stderr);
}

#[test]
fn what_is_not_whole_yet_is_left_alone_for_a_while() {
    let place = place();
    let names = ["a.ndjson.part", "b.tmp", "c.crdownload", "d.FILEPART", "e.ndjson._COPYING_"];
    for name in names {
        place.input(&format!("2025-12-23-{name}"), "half");
    }
    for name in ["_temporary/0/2025-12-23-t.ndjson", "_2025-12-23-u.ndjson", ".2025-12-23-v.ndjson.x1"] {
        place.input(name, "{\"a\": 9}\n");
    }
    let before = place.files("in");
    let done = place.run(&[]);
    assert_eq!((done.code, &done.json()["rows"]), (Some(0), &1.into()), "{}", done.stderr);
    assert!(done.stderr.contains("5 files with names of what is not whole yet"), "{}", done.stderr);
    assert_eq!((place.files("in"), place.files("quarantine").len()), (before, 0));
    // Forgotten ones are refused like all others.
    let report = place.run_well(&["--unfinished-hours", "0"]);
    assert_eq!((&report["quarantined"], place.files("quarantine").len()), (&5.into(), 5));
}

#[test]
fn the_input_can_be_one_file() {
    let place = place();
    place.input("2025-12-23-other.ndjson", "{\"a\": 2}\n");
    let mut command = Command::new(binary("millwork"));
    command.arg("run").arg("--json").arg("--input").arg(place.path("in").join(GOOD));
    command.arg("--output").arg(place.path("out")).env("SIZE_TOLERANCE_PERCENT", "100");
    let done = Done::of(command.output().unwrap());
    assert_eq!((done.code, &done.json()["rows"]), (Some(0), &1.into()), "{}", done.stderr);
    let again = Done::of(command.output().unwrap());
    assert_eq!((again.code, &again.json()["rows"]), (Some(0), &0.into()), "{}", again.stderr);
}

#[test]
fn an_input_that_is_a_pipe_is_refused_unopened() {
    let place = place();
    let pipe = place.path("2025-12-23-pipe.ndjson");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = Command::new(binary("millwork"));
    command.arg("run").arg("--input").arg(&pipe).arg("--output").arg(place.path("out"));
    let done = Done::of(command.output().unwrap());
    assert!(done.code == Some(1) && done.stderr.contains("it is no regular file"), "{}", done.stderr);
    assert!(!place.path("out").exists());
}

#[test]
fn a_restored_input_is_not_a_changed_one() {
    let place = Place::new();
    for i in 0..30 {
        place.input(&format!("2025-12-23-{i}.ndjson"), "{\"a\": 1}\n");
    }
    assert_eq!(place.run_well(&[])["rows"], 30);
    let status = Command::new("cp").arg("-a").arg(place.path("in")).arg(place.path("copy")).status().unwrap();
    assert!(status.success());
    fs::remove_dir_all(place.path("in")).unwrap();
    fs::rename(place.path("copy"), place.path("in")).unwrap();
    for overwrites in ["record", "reprocess"] {
        let report = place.run_well(&["--overwrites", overwrites]);
        assert_eq!((&report["rows"], &report["overwritten"]), (&0.into(), &json!([])), "{report}");
    }
    // What changed in fact is told of, in few lines.
    for i in 0..30 {
        place.input(&format!("2025-12-23-{i}.ndjson"), "{\"a\": 22}\n");
    }
    let mut command = place.run_command(&[]);
    let text = Command::new(command.get_program())
        .args(command.get_args().filter(|a| *a != "--json"))
        .env("SIZE_TOLERANCE_PERCENT", "100")
        .output();
    let done = Done::of(text.unwrap());
    assert!(done.stdout.contains("30 files changed") && done.stdout.contains("… and 10 more"), "{}", done.stdout);
    assert_eq!(done.stdout.lines().filter(|line| line.contains("2025-12-23-")).count(), 20, "{}", done.stdout);
    let all = Done::of(command.output().unwrap()).json();
    assert_eq!(all["overwritten"].as_array().unwrap().len(), 30);
}

#[test]
fn an_output_whose_state_was_lost_is_told_of_and_can_be_adopted() {
    let place = place();
    assert_eq!(place.run_well(&[])["rows"], 1);
    place.input("2025-12-24-b.ndjson", "{\"a\": 2}\n");
    assert_eq!(place.run_well(&[])["rows"], 1);
    let outputs = place.parquet_files();
    for name in ["state.db", "state.db-wal", "state.db-shm"] {
        let _ = fs::remove_file(place.path("out/_millwork").join(name));
    }
    place.input("2025-12-24-c.ndjson", "{\"a\": 3}\n");
    for _ in 0..2 {
        let done = place.run(&[]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        for part in ["2 manifests", "it was lost", "--adopt", "--state"] {
            assert!(done.stderr.contains(part), "{part}: {}", done.stderr);
        }
        assert_eq!(place.parquet_files(), outputs);
    }
    let report = place.run_well(&["--adopt"]);
    assert_eq!((&report["rows"], &report["overwritten"]), (&1.into(), &json!([])), "{report}");
    assert_eq!(place.parquet_files().len(), 3);
    place.ask_oracle(&[]);
    // From then on it is a state like any other.
    assert_eq!(place.run_well(&[])["rows"], 0);
    assert_eq!(place.run_well(&["--adopt"])["rows"], 0);
}

#[test]
fn a_refused_output_leaves_nothing_behind() {
    let place = place();
    let before = place.files("in");
    let mut command = Command::new(binary("millwork"));
    command.arg("run").arg("--input").arg(place.path("in")).arg("--output").arg(place.path("in/out"));
    let done = Done::of(command.output().unwrap());
    assert!(done.code == Some(2) && done.stderr.contains("is inside the input"), "{}", done.stderr);
    assert!(place.files("in") == before && !place.path("in/out").exists());
}

/// Readers of the output would see refused files, as Spark fails over a CSV file among Parquet.
#[test]
fn a_quarantine_that_readers_of_the_output_would_see_is_refused() {
    let place = place();
    let before = place.files("in");
    let out = place.path("out").display().to_string();
    let input = place.path("in").display().to_string();
    let state = format!("sqlite:{}", place.path("s.db").display());
    for quarantine in [out.clone(), format!("{out}/bad/files")] {
        let places = ["--output", &out, "--quarantine", &quarantine];
        for (program, arguments, code) in [
            ("millwork", &["run", "--input", &input][..], 2),
            ("millwork", &["up", &input, "--no-ui"], 2),
            ("millwork-scheduler", &["--state", &state, "--input-places", &input], 1),
            ("millwork-manifest-builder", &["backfill", "--prefix", &input, "--manifests", "/m", "--state", &state], 1),
        ] {
            let done = Done::of(Command::new(binary(program)).args(arguments).args(places).output().unwrap());
            assert_eq!(done.code, Some(code), "{program}: {}", done.stderr);
            for part in [format!("refused files in `{quarantine}`"), format!("elsewhere, or `{out}/_quarantine`")] {
                assert!(done.stderr.contains(&part), "{program}: {}", done.stderr);
            }
        }
    }
    assert!(place.files("in") == before && !place.path("out").exists() && !place.path("s.db").exists());
    place.input("2025-12-23-x.csv", "a,b\n");
    let mut command = Command::new(binary("millwork"));
    command.args(["run", "--json", "--input", &input, "--output", &out, "--quarantine", &format!("{out}/_quarantine")]);
    let done = Done::of(command.env("SIZE_TOLERANCE_PERCENT", "100").output().unwrap());
    assert_eq!((done.code, &done.json()["quarantined"]), (Some(0), &1.into()), "{}", done.stderr);
    assert_eq!(place.files("out/_quarantine"), ["2025-12-23/bad-extension/2025-12-23-x.csv"]);
}

#[test]
fn a_refusal_says_size_limit_and_option() {
    let place = place();
    let mut command = Command::new(binary("millwork"));
    command.arg("run").arg("--input").arg(place.path("in")).arg("--output").arg(place.path("out"));
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let line = done.stdout.lines().find(|line| line.contains("too-small")).unwrap();
    for part in [GOOD, "9 bytes", "104858", "--expected-file-size-mb 10", "--size-tolerance-percent 99", "redrive"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

/// Reasons in the notes of today.
fn reasons_noted(state: &str) -> Vec<String> {
    let day = DatePrefix::from(chrono::Utc::now().date_naive());
    let filter = AuditFilter { day, subject: None, limit: 100, cursor: None };
    let notes = async {
        let store = millwork_tracking::open(state).await.unwrap();
        let notes = store.audits(&filter).await.unwrap();
        store.close().await;
        notes
    };
    let notes = tokio::runtime::Runtime::new().unwrap().block_on(notes);
    notes.items.into_iter().filter_map(|note| note.reason).collect()
}

#[test]
fn refused_and_failed_files_are_taken_back() {
    let place = place();
    let broken = place.input("2025-12-23-broken.ndjson.gz", "no gzip at all");
    place.input("2025-12-23-small.ndjson", "\n");
    let rules = ["--expected-file-size-mb", "0.000008", "--size-tolerance-percent", "80"];
    let done = place.run(&rules);
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &1.into()), "{}", done.stderr);
    assert_eq!(done.json()["quarantined"], 1);
    let redrive = |more: &[&str]| {
        let mut command = Command::new(binary("millwork"));
        command.args(["redrive", "--json", "--size-tolerance-percent", "100"]).args(more);
        command.arg("--input").arg(place.path("in")).arg("--output").arg(place.path("out"));
        let done = Done::of(command.output().unwrap());
        let is_nothing = more.contains(&"--yes") || more.contains(&"no-date");
        assert_eq!(done.code, Some(if is_nothing { 0 } else { 3 }), "{}", done.stderr);
        done.json()
    };
    let count = |report: &Value| report["pending"].as_array().unwrap().len();
    assert_eq!((count(&redrive(&[])), count(&redrive(&["--only", "failed"]))), (2, 1));
    assert_eq!(count(&redrive(&["--refused-for", "too-small"])), 1);
    assert_eq!(place.files("quarantine"), ["2025-12-23/too-small/2025-12-23-small.ndjson"]);
    let others = redrive(&["--refused-for", "no-date"]);
    assert_eq!((count(&others), &others["others"]), (0, &1.into()));
    assert_eq!(count(&redrive(&["--yes", "--reason", "the tolerance was wrong"])), 2);
    assert!(place.files("quarantine").is_empty());
    let state = format!("sqlite:{}", place.path("out/_millwork/state.db").display());
    assert!(reasons_noted(&state).contains(&"the tolerance was wrong".to_owned()));
    assert_eq!(count(&redrive(&["--yes"])), 0);
    fs::write(&broken, {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, b"{\"a\": 5}\n").unwrap();
        encoder.finish().unwrap()
    })
    .unwrap();
    let report = place.run_well(&[]);
    assert_eq!((&report["files"], &report["rows"]), (&2.into(), &1.into()), "{report}");
    place.ask_oracle(&[]);
    // What failed is mended, and so the day is well.
    let mut why = Command::new(binary("millwork"));
    let day = Done::of(why.args(["why", "2025-12-23", "--state", &state]).output().unwrap());
    assert!(day.code == Some(0) && day.stdout.contains("done since"), "{} {}", day.stdout, day.stderr);
}

#[test]
fn names_that_steer_terminals_stay_text() {
    let place = place();
    place.input("2025-12-23-\n2026 ERROR forged\u{1b}[2J\u{202e}.csv", "x");
    place.input("2025-12-23-\nforged\u{1b}[31m.ndjson", "{\"a\": 2}\nno json\n");
    let raw = std::ffi::OsStr::from_bytes(b"2025-12-23-\xff\xfe.ndjson");
    fs::write(place.path("in").join(raw), "{\"a\": 3}\n").unwrap();
    let command = place.run_command(&[]);
    let text = Command::new(command.get_program())
        .args(command.get_args().filter(|a| *a != "--json"))
        .env("SIZE_TOLERANCE_PERCENT", "100")
        .output();
    let done = Done::of(text.unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    for text in [&done.stdout, &done.stderr] {
        let is_steering = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(!text.contains(is_steering), "{text:?}");
        assert!(!text.lines().any(|line| line.starts_with("2026 ERROR") || line.starts_with("forged")), "{text}");
    }
    assert!(done.stdout.contains("3 rows in"), "{}", done.stdout);
}

#[test]
fn whoever_reads_a_report_may_go() {
    let place = place();
    for i in 0..3000 {
        place.input(&format!("{i:05}-{}.csv", "x".repeat(100)), "x");
    }
    let script = "set -o pipefail; \"$@\" | head -1; echo ${PIPESTATUS[0]} >&2";
    let output = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(binary("millwork-manifest-builder"))
        .args(["backfill", "--prefix"])
        .arg(place.path("in"))
        .arg("--manifests")
        .arg(place.path("m"))
        .arg("--state")
        .arg(format!("sqlite:{}", place.path("s.db").display()))
        .env("RUST_LOG", "off")
        .output();
    let done = Done::of(output.unwrap());
    assert_eq!((done.stdout.lines().count(), done.stderr.trim()), (1, "0"), "{}", done.stderr);
}

#[test]
fn two_states_in_one_directory_have_two_locks() {
    let place = place();
    let run = |state: &str, output: &str| {
        let mut command = Command::new(binary("millwork"));
        command.args(["run", "--json", "--state", &format!("sqlite:{}", place.path(state).display())]);
        command.arg("--input").arg(place.path("in")).arg("--output").arg(place.path(output));
        Done::of(command.env("SIZE_TOLERANCE_PERCENT", "100").output().unwrap())
    };
    assert_eq!(run("a.db", "o1").code, Some(0));
    let lock = fs::File::open(place.path("a.db.lock")).unwrap();
    lock.try_lock().unwrap();
    assert_eq!(run("a.db", "o1").code, Some(1));
    let other = run("a.sqlite", "o2");
    assert_eq!((other.code, &other.json()["rows"]), (Some(0), &1.into()), "{}", other.stderr);
}

/// A user who may write where the output goes has made the state before, to read and change it later.
#[test]
fn a_state_that_another_user_made_is_refused() {
    let place = place();
    let directory = place.path("out/_millwork");
    fs::create_dir_all(&directory).unwrap();
    for name in ["state.db", "state.db.lock"] {
        let path = directory.join(name);
        fs::write(&path, "").unwrap();
        if !give_alone(&path) {
            // Only root can play another user.
            return;
        }
        let done = place.run(&[]);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains(name) && done.stderr.contains("belongs to user 65534"), "{}", done.stderr);
        assert!(place.parquet_files().is_empty());
        fs::remove_file(&path).unwrap();
    }
    assert!(give_alone(&directory));
    let done = place.run(&[]);
    assert!(done.code == Some(1) && done.stderr.contains("belongs to user 65534"), "{}", done.stderr);
}
