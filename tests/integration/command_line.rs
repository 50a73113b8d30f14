//! The command line as people and scripts meet it: exit codes, errors in one shape, settings.

use crate::cluster::Cluster;
use crate::place::{Done, Place, signal, start, wait_for_end, wait_until};
use millwork_manifest::DatePrefix;
use millwork_tracking::{AuditFilter, SqliteStore, TrackingStore, Via};
use serde_json::{Value, json};

/// A command without what the environment of the tests says.
fn millwork(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    let mut command = place.command("millwork");
    let is_ours = |name: &str| name.starts_with("MILLWORK_") || name.starts_with("AWS_") || name.ends_with("_PLACES");
    for (name, _) in std::env::vars().filter(|(name, _)| is_ours(name)) {
        command.env_remove(name);
    }
    command.args(arguments).envs(environment.iter().copied()).current_dir(place.path(""));
    Done::of(command.output().unwrap())
}

/// The error that a command with `--json` tells: one object on stderr, nothing on stdout.
fn error(done: &Done) -> Value {
    assert!(done.stdout.is_empty(), "{}", done.stdout);
    let document: Value = serde_json::from_str(done.stderr.trim()).unwrap_or_else(|e| panic!("{e}: {}", done.stderr));
    assert!(document["error"]["message"].as_str().is_some_and(|text| !text.contains('\n')), "{document}");
    document["error"].clone()
}

#[test]
fn a_wrong_command_line_ends_in_one_code_and_one_shape_wherever_it_is_found() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{}\n");
    for (line, words) in [
        // Found by the reader of the command line.
        ("runs list --limit 0", "--limit"),
        ("no-such-command", "no-such-command"),
        ("run --input in", "--output"),
        ("runs list --state sleeping", "sleeping"),
        // Found later.
        ("runs list --scheduler localhost:8080", "say http://localhost:8080"),
        ("run --input in --output in/out", "inside the input"),
        ("run --input s3:// --output out", "s3://NAME"),
        ("run --input in --output s3://out", "--state"),
        ("run --input in --output out --sql none.sql", "none.sql"),
        ("run --input in --output out --state postgres:x", "sqlite:PATH"),
        ("redrive --input in", "--state"),
        ("state find-orphans --record", "--state"),
        ("runs prioritise some-run high", "the priority"),
        ("generate out --dirty 200", "--dirty"),
        ("run --input in --output out --target-file-mb 128MB", "a whole number is wanted, without a sign or a unit"),
        ("run --input in --output out --max-rejected-percent -1", "-1"),
        ("runs list --scheduler http://127.0.0.1:1 --state done", "completed"),
        ("redrive --input in --output out --refused-for anything", "too-small"),
        ("submit none.json --scheduler http://127.0.0.1:1", "none.json"),
        ("why 2025-02-30 --scheduler http://127.0.0.1:1", "no day"),
        ("explain in/2025-01-01-a.ndjson", "millwork run"),
    ] {
        let arguments: Vec<&str> = line.split(' ').collect();
        let plain = millwork(&place, &arguments, &[]);
        assert!(plain.code == Some(2) && plain.stderr.contains(words), "{line}: {:?} {}", plain.code, plain.stderr);
        if !["generate", "runs prioritise", "no-such"].iter().any(|without| line.starts_with(without)) {
            let told = millwork(&place, &[&arguments[..], &["--json"]].concat(), &[]);
            assert_eq!(told.code, Some(2), "{line}: {}", told.stderr);
            let error = error(&told);
            assert_eq!(error["code"], "usage", "{line}: {error}");
            assert!(error["message"].as_str().unwrap().contains(words), "{line}: {error}");
        }
    }
    assert!(!place.path("out").exists());
}

#[test]
fn a_value_that_is_wrong_is_told_by_the_variable_that_it_came_from() {
    let place = Place::new();
    let run = ["run", "--input", "in", "--output", "out"];
    let told = millwork(&place, &run, &[("MAX_REJECTED_PERCENT", "abc")]);
    assert!(told.code == Some(2) && told.stderr.contains("from the variable MAX_REJECTED_PERCENT"), "{}", told.stderr);
    let said = millwork(&place, &[&run[..], &["--max-rejected-percent", "abc"]].concat(), &[]);
    assert!(said.code == Some(2) && !said.stderr.contains("variable"), "{}", said.stderr);
}

#[test]
fn a_run_that_may_open_no_files_ends_and_says_so() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\": 1}\n");
    let program = place.command("millwork").get_program().to_owned();
    let run = |limit: u32| {
        let script = format!(
            "ulimit -n {limit}; exec timeout 60 {:?} run --input in --output out --size-tolerance-percent 100",
            program
        );
        let mut command = std::process::Command::new("bash");
        Done::of(command.args(["-c", &script]).current_dir(place.path("")).output().unwrap())
    };
    for limit in [12, 16, 18, 20, 22] {
        let done = run(limit);
        let is_told = done.stderr.contains("open files") || done.stderr.contains("too many files are open");
        assert!(matches!(done.code, Some(1 | 5)) && is_told, "{limit}: {:?} {}", done.code, done.stderr);
    }
    assert_eq!(run(256).code, Some(0));
}

#[test]
fn errors_are_json_where_a_variable_asks_for_it() {
    let place = Place::new();
    let scheduler = ("MILLWORK_SCHEDULER", "http://127.0.0.1:1");
    let done = millwork(&place, &["runs", "list"], &[scheduler, ("MILLWORK_RUNS_LIST_JSON", "1")]);
    assert_eq!((done.code, &error(&done)["code"]), (Some(5), &"unreachable".into()), "{}", done.stderr);
    let done = millwork(&place, &["runs", "list"], &[scheduler]);
    assert!(done.code == Some(5) && done.stderr.starts_with("millwork: ") && done.stderr.contains("\ntry: "));
}

#[test]
fn settings_are_shown_with_where_they_are_from() {
    let place = Place::new();
    let from = |done: &Done, name: &str| {
        let settings = done.json()["items"].as_array().unwrap().clone();
        let setting = settings.iter().find(|setting| setting["name"] == name).unwrap_or_else(|| panic!("{name}"));
        (setting["value"].as_str().unwrap_or_default().to_owned(), setting["origin"].as_str().unwrap().to_owned())
    };
    let shown = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let line = ["config", "show", "scheduler", "--json", "--profile", "dev", "--", "--max-retries", "7"];
    let done = millwork(&place, &line, &[("RUN_TIMEOUT_MINUTES", "9"), ("MILLWORK_STATE", "")]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(from(&done, "--max-concurrent-runs"), shown("5", "profile"));
    assert_eq!(from(&done, "--run-timeout-minutes"), shown("9", "env"));
    assert_eq!(from(&done, "--max-retries"), shown("7", "flag"));
    assert_eq!(from(&done, "--target-file-mb"), shown("128", "default"));
    assert_eq!(from(&done, "--state"), shown("", "default"));
    let line = ["config", "show", "millwork", "--json", "--", "run", "--input", "in"];
    let done = millwork(&place, &line, &[("MILLWORK_PROFILE", "prod")]);
    assert_eq!(from(&done, "--expected-file-size-mb"), shown("3500", "profile"));
    let cluster = Cluster::start(&place, "out", 0, &["--profile", "prod"]);
    let url = cluster.url();
    let done = millwork(&place, &["config", "show", "--json", "--scheduler", &url], &[]);
    assert_eq!(from(&done, "--max-concurrent-runs"), shown("30", "profile"), "{}", done.stderr);
    assert_eq!(from(&done, "--output").1, "flag");
}

#[test]
fn settings_that_a_program_would_not_start_with_are_found_and_nothing_is_made() {
    let place = Place::new();
    let output = place.path("out").display().to_string();
    let state = format!("sqlite:{output}/state.db");
    let input = place.path("in").display().to_string();
    let line = ["config", "check", "scheduler", "--json", "--", "--output", &output, "--state", &state];
    let well = millwork(&place, &line, &[("INPUT_PLACES", &input)]);
    assert_eq!((well.code, well.json()["problems"].as_array().map(Vec::len)), (Some(0), Some(0)), "{}", well.stdout);
    let wrong = [("INPUT_PLACES", output.as_str()), ("HTTP_LISTEN", "0.0.0.0:1"), ("MILLWORK_OUPUT", "/out")];
    let done = millwork(&place, &line, &wrong);
    let problems = done.json()["problems"].to_string();
    assert_eq!(done.code, Some(3), "{}", done.stderr);
    for words in ["keep them apart", "without a token", "MILLWORK_OUTPUT meant"] {
        assert!(problems.contains(words), "{words}: {problems}");
    }
    // Values that are none, from the environment and the line, an option that is none and files that are not there: all at once.
    let line = ["config", "check", "scheduler", "--json", "--", "--output", &output, "--listen", "nowhere", "--bogus"];
    let wrong = [
        ("INPUT_PLACES", output.as_str()),
        ("MILLWORK_SCALE_MIN_EXECUTORS", "many"),
        ("HTTP_TOKEN_FILE", "/nowhere/tokens"),
        ("MILLWORK_OUPUT", "/out"),
    ];
    let done = millwork(&place, &line, &wrong);
    let problems = done.json()["problems"].to_string();
    for words in [
        "--listen",
        "--scale-min-executors",
        "--bogus",
        "--state",
        "/nowhere/tokens",
        "keep them apart",
        "MILLWORK_OUTPUT meant",
    ] {
        assert!(problems.contains(words), "{words}: {problems}");
    }
    assert!(!problems.contains("stands-in") && done.code == Some(3), "{problems}");
    assert!(!place.path("out").exists());
}

#[test]
fn a_load_test_that_is_interrupted_leaves_nothing() {
    let place = Place::new();
    let scratch = place.path("scratch");
    std::fs::create_dir(&scratch).unwrap();
    let mut command = place.command("millwork");
    command.args(["load-test", "--phases", "2000", "--dir", scratch.to_str().unwrap()]);
    let mut running = start(command, &place.path("log"));
    let count = || std::fs::read_dir(&scratch).unwrap().count();
    wait_until("it writes", || count() > 0);
    signal(&running, "INT");
    assert_eq!(wait_for_end(&mut running), Some(130), "{}", std::fs::read_to_string(place.path("log")).unwrap());
    assert_eq!(count(), 0);
}

#[test]
fn rounds_of_builders_are_made_from_the_command_line() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{}\n");
    let input = place.path("in").display().to_string();
    let common = [
        "--state".to_owned(),
        format!("sqlite:{}", place.path("state.db").display()),
        "--manifests".to_owned(),
        place.path("manifests").display().to_string(),
        "--size-tolerance-percent".to_owned(),
        "100".to_owned(),
        "--json".to_owned(),
    ];
    let common: Vec<&str> = common.iter().map(String::as_str).collect();
    let backfill =
        |more: &[&str]| millwork(&place, &[&["backfill", "--prefix", &input][..], more, &common].concat(), &[]);
    let state = format!("sqlite:{}", place.path("state.db").display());
    let shown = backfill(&[]);
    assert_eq!((shown.code, &shown.json()["pending"]), (Some(3), &1.into()), "{}", shown.stderr);
    assert!(shown.stderr.contains("say --yes"), "{}", shown.stderr);
    let none = millwork(&place, &["state", "query-by-status", "pending", "--state", &state, "--json"], &[]);
    assert_eq!(none.json()["files"].as_array().map(Vec::len), Some(0), "it was only shown: {}", none.stderr);
    let done = backfill(&["--yes", "--reason", "events were lost"]);
    assert_eq!((done.code, &done.json()["pending"]), (Some(0), &1.into()), "{}", done.stderr);
    assert_eq!(backfill(&["--dry-run"]).code, Some(3), "a file waits");
    let cut = |more: &[&str]| millwork(&place, &[&["dates", "cut", "2025-01-01"][..], more, &common].concat(), &[]);
    let shown = cut(&[]);
    let date = json!({"date": "2025-01-01", "files": 1, "bytes": 3, "manifests": 1});
    assert_eq!((shown.code, &shown.json()["dates"]), (Some(3), &json!([date])), "{}", shown.stderr);
    let made = cut(&["--yes"]);
    assert_eq!((made.code, made.json()["made"].as_array().map(Vec::len)), (Some(0), Some(1)), "{}", made.stderr);
    let again = cut(&[]);
    assert!(again.code == Some(0) && again.stderr.contains("nothing would change"), "{}", again.stderr);
    let again = backfill(&["--flush", "--yes"]);
    let report = again.json();
    assert_eq!((&report["known"], report["manifests"].as_array().map(Vec::len)), (&1.into(), Some(0)), "{report}");
    let idle = millwork(&place, &[&["sweep"][..], &common].concat(), &[]);
    assert!(idle.code == Some(0) && idle.stderr.contains("nothing would change"), "{}", idle.stderr);
    let swept = millwork(&place, &[&["sweep", "--yes"][..], &common].concat(), &[]);
    assert!(swept.code == Some(0) && swept.json().is_object(), "{}", swept.stderr);
    let store: Box<dyn TrackingStore> = Box::new(SqliteStore::open(&place.path("state.db")).unwrap());
    let day = DatePrefix::from(chrono::Utc::now().date_naive());
    let filter = AuditFilter { day, subject: None, limit: 10, cursor: None };
    let notes = tokio::runtime::Runtime::new().unwrap().block_on(store.audits(&filter)).unwrap().items;
    let actions: Vec<_> = notes.iter().map(|note| (note.action.as_str(), note.reason.as_deref())).collect();
    assert_eq!(actions, [("sweep", None), ("backfill", None), ("cut", None), ("backfill", Some("events were lost"))]);
    assert!(notes.iter().all(|note| note.via == Via::Cli && note.outcome.is_some()), "{notes:?}");
    // Without a state, a scheduler is asked.
    let nowhere = millwork(&place, &["sweep", "--json", "--scheduler", "http://127.0.0.1:1"], &[]);
    assert_eq!((nowhere.code, &error(&nowhere)["code"]), (Some(5), &"unreachable".into()), "{}", nowhere.stderr);
}
