//! Processes that end in the middle.

use crate::place::{Done, Place, Running, signal, start, wait_for_end, wait_until};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::Duration;

fn busy_place() -> Place {
    let place = Place::new();
    place.generate(&["--files", "12", "--size-mb", "4", "--dates", "2", "--dirty", "1"]);
    place
}

/// Waits until conversion is under way: something is being staged.
fn wait_for_staging(place: &Place) {
    wait_until("something is staged", || is_staging(place));
}

fn is_staging(place: &Place) -> bool {
    place.files("out/_millwork/staging").iter().any(|name| name.ends_with(".part"))
}

#[test]
fn an_interrupt_leaves_nothing_half_visible_and_the_next_run_goes_on() {
    let place = busy_place();
    let mut running = start(place.run_command(&["--vcores", "1"]), &place.path("log"));
    wait_for_staging(&place);
    signal(&running, "INT");
    assert_eq!(wait_for_end(&mut running), Some(130));
    place.assert_tidy();
    place.run_well(&[]);
    place.ask_oracle(&[]);
    place.assert_tidy();
}

#[test]
fn a_run_leaves_nothing_but_its_output_and_a_state_in_one_file() {
    let place = Place::new();
    place.generate(&["--files", "3", "--size-mb", "0.3"]);
    std::fs::create_dir(place.path("tmp")).unwrap();
    let done = Done::of(place.run_command(&[]).env("TMPDIR", place.path("tmp")).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(std::fs::read_dir(place.path("tmp")).unwrap().count(), 0);
    let mut state = place.files("out/_millwork");
    state.retain(|name| !name.starts_with("manifests/"));
    state.sort();
    assert_eq!(state, ["output.lock", "state.db", "state.db.lock", "states/00000001"]);
    place.ask_oracle(&[]);
}

/// The same command, which an interrupt ends from its first moment on: who starts tests in the background of a shell has it ignored.
fn interruptible(command: &Command) -> Command {
    let mut with_default = Command::new("env");
    with_default.arg("--default-signal=INT").arg(command.get_program()).args(command.get_args());
    with_default.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    with_default
}

#[test]
fn an_interrupt_ends_a_run_whenever_it_comes() {
    let place = Place::new();
    place.generate(&["--files", "30", "--size-mb", "4", "--dates", "2", "--dirty", "1"]);
    let mut interrupted = 0;
    for delay in [10, 25, 40, 60, 80, 100, 130, 160, 200, 250] {
        let mut running = start(interruptible(&place.run_command(&["--vcores", "1"])), &place.path("log"));
        std::thread::sleep(Duration::from_millis(delay));
        signal(&running, "INT");
        // Before anything is begun, the signal itself ends the process.
        let code = wait_for_end(&mut running);
        if code == Some(0) {
            // A fast machine: all is converted.
            break;
        }
        assert!(matches!(code, None | Some(130)), "{delay} ms: {code:?}");
        interrupted += 1;
    }
    assert!(interrupted >= 3, "{interrupted} interrupts hit a run");
    place.run_well(&[]);
    place.ask_oracle(&[]);
    place.assert_tidy();
}

#[test]
fn a_log_that_nobody_reads_holds_up_nothing() {
    let place = Place::new();
    place.generate(&["--files", "2", "--size-mb", "1"]);
    let mut command = place.run_command(&[]);
    command.env("RUST_LOG", "debug").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut log = running.0.stderr.take().unwrap();
    log.read_exact(&mut [0; 100]).unwrap();
    drop(log);
    assert_eq!(wait_for_end(&mut running), Some(0));
    place.ask_oracle(&[]);
    // Nobody reads the result: it is told as by a program that the pipe's end ends.
    let mut command = place.run_command(&[]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    drop(running.0.stdout.take());
    assert_eq!(wait_for_end(&mut running), Some(141));
    let mut told = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(!told.contains("panicked"), "{told}");
}

#[test]
fn a_kill_at_any_time_loses_and_doubles_nothing() {
    let place = busy_place();
    let mut hits = 0;
    for delay in [30, 150, 400, 700] {
        let mut running = start(place.run_command(&["--target-file-mb", "4"]), &place.path("log"));
        std::thread::sleep(Duration::from_millis(delay));
        running.0.kill().unwrap();
        hits += usize::from(wait_for_end(&mut running).is_none());
    }
    // Once more, while something is staged.
    let mut running = start(place.run_command(&["--target-file-mb", "4"]), &place.path("log"));
    let mut has_ended = false;
    wait_until("something is staged, or all was converted before", || {
        has_ended = running.0.try_wait().unwrap().is_some();
        has_ended || is_staging(&place)
    });
    running.0.kill().unwrap();
    hits += usize::from(wait_for_end(&mut running).is_none());
    assert!(hits >= 2, "{hits} kills hit a run");
    place.run_well(&["--target-file-mb", "4"]);
    place.ask_oracle(&[]);
    place.assert_tidy();
}

#[test]
fn two_at_once_on_one_state_are_refused() {
    let place = busy_place();
    let running = start(place.run_command(&["--vcores", "1"]), &place.path("log"));
    wait_for_staging(&place);
    let second = place.run(&[]);
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("is in use by another millwork process"), "{}", second.stderr);
    let state = format!("sqlite:{}", place.path("other.db").display());
    let third = place.run(&["--state", &state]);
    assert_eq!(third.code, Some(1));
    assert!(third.stderr.contains("another millwork process writes to the output"), "{}", third.stderr);
    drop(running);
}

#[test]
fn a_publication_that_fails_after_the_commit_is_finished_by_the_next_run() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\nbad\n");
    let in_the_way = place.path("out/merged-parquet-2025-01-01");
    std::fs::create_dir_all(place.path("out")).unwrap();
    std::fs::write(&in_the_way, "a file where a directory should be").unwrap();
    let done = place.run(&["--max-retries", "1"]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("committed, but not published yet"), "{}", done.stderr);
    std::fs::remove_file(in_the_way).unwrap();
    let report = place.run_well(&[]);
    assert_eq!((&report["rows"], &report["rejected"]), (&1.into(), &1.into()));
    place.ask_oracle(&[]);
    place.assert_tidy();
}

/// Private files of a run that is committed and not published.
fn private_files(place: &Place) -> Vec<std::path::PathBuf> {
    let names = place.files("out/_millwork/staging").into_iter();
    names.map(|name| place.path("out/_millwork/staging").join(name)).collect()
}

#[test]
fn a_committed_run_whose_private_files_are_gone_is_converted_anew() {
    for spared in [0, 1] {
        let place = Place::new();
        place.generate(&["--files", "6", "--size-mb", "4", "--dirty", "1"]);
        let report = |done: &serde_json::Value| (done["rows"].clone(), done["rejected"].clone());
        // Commits, and cannot publish.
        let in_the_way = place.path("quarantine/rejected-lines");
        std::fs::create_dir_all(in_the_way.parent().unwrap()).unwrap();
        std::fs::write(&in_the_way, "a file where a directory should be").unwrap();
        let done = place.run(&["--target-file-mb", "2"]);
        assert_eq!(done.code, Some(1));
        assert!(done.stderr.contains("committed, but not published yet"), "{}", done.stderr);
        assert!(place.parquet_files().is_empty());
        let private = private_files(&place);
        assert!(private.len() > 2, "{private:?}");
        private.iter().skip(spared).for_each(|path| std::fs::remove_file(path).unwrap());
        std::fs::remove_file(in_the_way).unwrap();
        let done = place.run_well(&["--target-file-mb", "2"]);
        let outputs = place.parquet_files();
        assert!(outputs.iter().all(|name| name.contains("-g2-part-")), "{outputs:?}");
        place.ask_oracle(&[]);
        place.assert_tidy();
        // All of it is known as completed: nothing is converted once more.
        assert_ne!(report(&done).0, 0);
        place.run_well(&[]);
        assert_eq!(place.parquet_files(), outputs);
    }
}

#[test]
fn a_forced_output_that_cannot_be_shown_leaves_the_old_one() {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":1}\nbad\n");
    place.run_well(&[]);
    let old = place.parquet_files();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let state = format!("sqlite:{}", place.path("out/_millwork/state.db").display());
    runtime.block_on(async {
        let store = millwork_tracking::open(&state).await.unwrap();
        let runs = store.list_runs(&millwork_tracking::RunFilter { limit: 10, ..Default::default() }).await.unwrap();
        store.force(&runs.items[0].manifest_id, chrono::Utc::now()).await.unwrap();
        store.close().await;
    });
    // It commits, and cannot publish its rejected lines.
    let (directory, aside) = (place.path("quarantine/rejected-lines/2025-01-01"), place.path("aside"));
    std::fs::rename(&directory, &aside).unwrap();
    std::fs::write(&directory, "a file where a directory should be").unwrap();
    let done = place.run(&[]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains("committed, but not published yet"), "{}", done.stderr);
    assert_eq!(place.parquet_files(), old);
    std::fs::remove_file(&directory).unwrap();
    std::fs::rename(&aside, &directory).unwrap();
    place.ask_oracle(&[]);
    // What it was to show is lost: the old output stays until there is another.
    private_files(&place).iter().for_each(|path| std::fs::remove_file(path).unwrap());
    place.run_well(&[]);
    let new = place.parquet_files();
    assert!(new.len() == 1 && new[0].contains("-g3-part-"), "{new:?}");
    place.ask_oracle(&[]);
    place.assert_tidy();
}

#[test]
fn what_a_dead_process_has_locked_is_waited_for() {
    let place = Place::new();
    place.generate(&["--files", "3", "--size-mb", "0.5"]);
    let state = format!("sqlite:{}", place.path("out/_millwork/state.db").display());
    std::fs::create_dir_all(place.path("out/_millwork")).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let locked = runtime.block_on(async {
        let store = millwork_tracking::open(&state).await.unwrap();
        let now = chrono::Utc::now();
        store.lock("LOCK#2025-12-23", "one that died", chrono::Duration::seconds(3), now).await.unwrap()
    });
    assert!(locked.is_some());
    drop(runtime);
    place.run_well(&[]);
    place.ask_oracle(&[]);
    place.assert_tidy();
}

/// The process is killed while it copies a refused file to another file system, which is seen by it alone.
#[test]
fn a_move_to_the_quarantine_that_died_is_made_as_a_whole_the_next_time() {
    const BYTES: u64 = 200 << 20;
    let place = Place::new();
    place.input("2025-12-23-good.ndjson", "{\"a\":1}\n");
    std::fs::File::create(place.path("in/2025-12-23-large.csv")).unwrap().set_len(BYTES).unwrap();
    let script = "q=$1; shift; mkdir -p $q && mount -t tmpfs -o size=300m tmpfs $q || exit 9
        \"$@\" >&2 & pid=$!
        until ls -A $q/2025-12-23/bad-extension 2>&2 | grep -q moving || ! kill -0 $pid; do :; done 2>/dev/null
        kill -KILL $pid 2>/dev/null; wait $pid
        echo killed: $(find $q -type f -printf '%f ') >&2
        \"$@\"; code=$?
        find $q -type f -printf 'kept: %f %s\\n' >&2; exit $code";
    let run = place.run_command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "bash", "-c", script, "bash"]).arg(place.path("quarantine"));
    command.arg(run.get_program()).args(run.get_args()).env("SIZE_TOLERANCE_PERCENT", "100");
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let killed = done.stderr.lines().find(|line| line.contains("killed: ")).unwrap();
    assert!(killed.ends_with(".moving"), "the move was over before: {}", done.stderr);
    let kept: Vec<_> = done.stderr.lines().filter(|line| line.starts_with("kept: ")).collect();
    assert_eq!(kept, [format!("kept: 2025-12-23-large.csv {BYTES}")], "{}", done.stderr);
    assert_eq!(place.files("in"), ["2025-12-23-good.ndjson"]);
    assert_eq!(done.json()["rows"], 1);
}
