//! Bad input gets an error that names the file, and costs no other file anything.

use crate::place::{Done, Place, binary};
use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

#[test]
fn refused_files_are_moved_by_date_and_reason() {
    let place = Place::new();
    place.input("2025-01-01-small.ndjson", "x");
    place.input("deep/2025-01-01-large.ndjson", vec![b'\n'; 3 << 20]);
    place.input("no-date.ndjson", vec![b'\n'; 1 << 20]);
    place.input("2025-01-01.csv", vec![b'\n'; 1 << 20]);
    place.input("2025-01-01-good.ndjson", format!("{{\"a\":\"{}\"}}\n", "x".repeat(1 << 20)));
    let report = place.run_well(&["--expected-file-size-mb", "1", "--size-tolerance-percent", "50"]);
    assert_eq!((&report["files"], &report["quarantined"]), (&1.into(), &4.into()));
    let expected = [
        "2025-01-01/bad-extension/2025-01-01.csv",
        "2025-01-01/too-large/deep/2025-01-01-large.ndjson",
        "2025-01-01/too-small/2025-01-01-small.ndjson",
        "no-date/no-date/no-date.ndjson",
    ];
    assert_eq!(place.files("quarantine"), expected);
    assert_eq!(place.files("in"), ["2025-01-01-good.ndjson"]);
}

#[test]
fn an_empty_directory_is_said_to_be_empty() {
    let place = Place::new();
    let done = place.run(&[]);
    assert_eq!(done.code, Some(0));
    assert!(done.stderr.contains("the input is empty"), "{}", done.stderr);
    assert_eq!(done.json()["files"], 0);
}

#[test]
fn an_input_that_is_not_there_is_named_and_nothing_is_created() {
    let place = Place::new();
    std::fs::remove_dir(place.path("in")).unwrap();
    let done = place.run(&[]);
    assert_eq!(done.code, Some(1));
    assert!(done.stderr.contains(&format!("cannot list `{}`", place.path("in").display())), "{}", done.stderr);
    assert!(!place.path("out").exists());
}

/// One bad manifest among good ones: it fails naming the file, publishes nothing, and the others complete.
fn expect_one_failure(place: &Place, words: &[&str]) -> Done {
    place.input("2025-02-02-other.ndjson", "{\"a\":\"other\"}\n");
    let done = place.run(&[]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = done.json();
    assert_eq!(report["failed"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["failed"][0]["class"], "input");
    let message = report["failed"][0]["message"].as_str().unwrap();
    for word in words {
        assert!(message.contains(word) && done.stderr.contains(word), "{message}");
    }
    let (published, failed) = (place.parquet_files(), report["failed"][0]["manifest_id"].as_str().unwrap());
    assert!(!published.is_empty() && !published.iter().any(|name| name.contains(failed)), "{published:?}");
    place.assert_tidy();
    done
}

#[test]
fn a_truncated_gzip_fails_its_manifest_by_name_until_it_is_mended() {
    let place = Place::new();
    place.input("2025-01-01-good.ndjson", "{\"a\":\"good\"}\n");
    let whole = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, "{\"a\":\"packed\"}\n".repeat(9999).as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    place.input("2025-01-01-bad.ndjson.gz", &whole[..whole.len() - 20]);
    expect_one_failure(&place, &["2025-01-01-bad.ndjson.gz", "gzip"]);
    place.input("2025-01-01-bad.ndjson.gz", &whole);
    // The good file of its manifest was converted without it.
    let report = place.run_well(&[]);
    assert_eq!((&report["files"], &report["rows"]), (&1.into(), &9999.into()));
    place.ask_oracle(&[]);
}

#[test]
fn a_damaged_zstd_file_is_named() {
    let place = Place::new();
    let mut packed = zstd::encode_all("{\"a\":\"packed\"}\n".repeat(9999).as_bytes(), 3).unwrap();
    packed.truncate(packed.len() / 2);
    place.input("2025-01-01-bad.ndjson.zst", packed);
    expect_one_failure(&place, &["2025-01-01-bad.ndjson.zst", "zstd"]);
}

#[test]
fn a_file_that_is_no_gzip_is_named() {
    let place = Place::new();
    place.input("2025-01-01-bad.ndjson.gz", "{\"a\":\"not packed\"}\n");
    expect_one_failure(&place, &["2025-01-01-bad.ndjson.gz", "gzip"]);
}

#[test]
fn too_many_rejected_lines_fail_a_manifest_where_that_is_asked_for() {
    let place = Place::new();
    place.input("2025-01-01.ndjson", "{\"a\":1}\nnope\n{\"a\":2}\n");
    let done = place.run(&["--max-rejected-percent", "20"]);
    assert_eq!(done.code, Some(1));
    let failed = &done.json()["failed"][0];
    assert!(failed["message"].as_str().unwrap().contains("1 of 3 lines are rejected, more than 20 %"), "{failed}");
    assert!(place.parquet_files().is_empty());
    assert_eq!(place.files("quarantine").len(), 1, "the lines are kept for whoever mends them");
    assert_eq!(place.run_well(&["--max-rejected-percent", "40"])["rows"], 2);
}

#[test]
fn an_output_that_cannot_be_written_is_named() {
    let place = Place::new();
    place.input("2025-01-01.ndjson", "{\"a\":1}\n");
    std::fs::write(place.path("out"), "a file where a directory should be").unwrap();
    let done = place.run(&[]);
    assert_eq!(done.code, Some(2));
    assert!(done.stderr.contains(place.path("out").to_str().unwrap()), "{}", done.stderr);
}

#[test]
fn a_file_of_others_where_an_output_belongs_is_named_and_stays_as_it_is() {
    let place = Place::new();
    place.input("2025-01-01.ndjson", "{\"a\":1}\n");
    place.input("2025-01-02.ndjson", "{\"b\":1}\n");
    let state = format!("sqlite:{}", place.path("state.db").display());
    let mut builder = Command::new(binary("millwork-manifest-builder"));
    builder.args(["backfill", "--flush", "--state", &state]).env("SIZE_TOLERANCE_PERCENT", "100");
    builder.arg("--manifests").arg(place.path("out/_millwork")).arg("--prefix").arg(place.path("in"));
    let made = Done::of(builder.output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let [document, _] = &place.files("out/_millwork/manifests")[..] else { panic!("two manifests") };
    let id = document.strip_suffix(".json").unwrap().replace('/', "-");
    let foreign = place.path("out/merged-parquet-2025-01-01").join(format!("{id}-part-00000.parquet"));
    std::fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    std::fs::write(&foreign, "of somebody else").unwrap();
    let done = place.run(&["--state", &state]);
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = done.json();
    assert_eq!((&report["rows"], report["failed"].as_array().unwrap().len()), (&1.into(), 1), "{report}");
    assert_eq!(report["failed"][0]["class"], "input");
    let message = report["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains(foreign.to_str().unwrap()) && message.contains("move it away"), "{message}");
    assert_eq!(std::fs::read(&foreign).unwrap(), b"of somebody else");
    place.assert_tidy();
    std::fs::remove_file(&foreign).unwrap();
    assert_eq!(place.run_well(&["--state", &state])["rows"], 1);
    place.ask_oracle(&[]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing_visible() {
    let place = Place::new();
    place.generate(&["--files", "4", "--size-mb", "2"]);
    // A file system of its own, seen by this one process only.
    let script = "mkdir -p \"$1\" && mount -t tmpfs -o size=1m tmpfs \"$1\" && shift && \"$@\"; code=$?; \
                  find \"$OUT\" -name '*.parquet' -o -path '*staging*'; exit $code";
    let run = place.run_command(&["--max-retries", "0"]);
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(place.path("out"))
        .arg(run.get_program())
        .args(run.get_args())
        .env("SIZE_TOLERANCE_PERCENT", "100")
        .env("OUT", place.path("out"))
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("the file system is full; free space there"), "{stderr}");
    assert!(stdout.trim_end().ends_with('}'), "something is left: {stdout}");
}

#[test]
fn a_limit_of_the_sizes_of_files_is_an_error_and_leaves_nothing_visible() {
    let place = Place::new();
    place.generate(&["--files", "4", "--size-mb", "4"]);
    let run = place.run_command(&["--max-retries", "0", "--compression", "none"]);
    let mut limited = Command::new("bash");
    limited.args(["-c", "ulimit -f 4000 && exec \"$@\"", "bash"]).arg(run.get_program()).args(run.get_args());
    let done = Done::of(limited.env("SIZE_TOLERANCE_PERCENT", "100").output().unwrap());
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    assert_eq!(done.json()["failed"][0]["class"], "resources", "{}", done.stdout);
    assert!(done.stderr.contains("the file would be larger than may be; raise the limit"), "{}", done.stderr);
    assert!(place.parquet_files().is_empty());
    // None of the files is at fault: they are converted together.
    assert_eq!(place.run_well(&[])["manifests"], 1);
    place.ask_oracle(&[]);
}

#[test]
fn directories_that_would_feed_each_other_are_refused() {
    let place = Place::new();
    let inside = place.path("in/out");
    let done = place.run(&["--output", inside.to_str().unwrap()]);
    assert_eq!(done.code, Some(2), "an option given twice is a usage error");
    let mut command = Command::new(binary("millwork"));
    command.arg("run").arg("--input").arg(place.path("in")).arg("--output").arg(inside);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is inside the input"));
}

#[test]
fn files_that_are_gone_are_all_found_in_one_round() {
    const GONE: usize = 40;
    let place = Place::new();
    let files: Vec<_> =
        (0..=GONE).map(|number| place.input(&format!("2025-01-01-{number:02}.ndjson"), "{\"a\":1}\n")).collect();
    // Their manifest is made, and then all but one of them are removed.
    let mut builder = place.command("millwork-manifest-builder");
    builder
        .args(["backfill", "--flush", "--json", "--prefix"])
        .arg(place.path("in"))
        .env("SIZE_TOLERANCE_PERCENT", "100");
    builder.arg("--state").arg(format!("sqlite:{}", place.path("out/_millwork/state.db").display()));
    std::fs::create_dir_all(place.path("out/_millwork")).unwrap();
    builder.arg("--manifests").arg(place.path("out/_millwork"));
    let made = Done::of(builder.output().unwrap());
    assert_eq!((made.code, made.json()["manifests"].as_array().map(Vec::len)), (Some(0), Some(1)), "{}", made.stderr);
    files[..GONE].iter().for_each(|file| std::fs::remove_file(file).unwrap());
    let done = place.run(&[]);
    let report = done.json();
    assert_eq!((done.code, &report["rows"], &report["manifests"]), (Some(1), &1.into(), &2.into()), "{}", done.stderr);
    let message = report["failed"][0]["message"].as_str().unwrap();
    assert!(message.contains("39 other files of its manifest are at fault, too"), "{message}");
    let told = done.stderr.lines().filter(|line| line.contains("of the same manifest: input file")).count();
    assert_eq!(told, GONE - 1, "{}", done.stderr);
    assert_eq!(place.run_well(&[])["manifests"], 0);
}

/// A manifest of so many files is made, some of which are then made to be something else. Returns what a run says.
fn run_after(place: &Place, files: usize, change: impl Fn(usize, &std::path::Path)) -> Done {
    let files: Vec<_> =
        (0..files).map(|number| place.input(&format!("2025-01-01-{number:02}.ndjson"), "{\"a\":1}\n")).collect();
    let mut builder = place.command("millwork-manifest-builder");
    builder.args(["backfill", "--flush", "--prefix"]).arg(place.path("in")).env("SIZE_TOLERANCE_PERCENT", "100");
    builder.arg("--state").arg(format!("sqlite:{}", place.path("out/_millwork/state.db").display()));
    std::fs::create_dir_all(place.path("out/_millwork")).unwrap();
    builder.arg("--manifests").arg(place.path("out/_millwork"));
    let made = Done::of(builder.output().unwrap());
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    files.iter().enumerate().for_each(|(number, file)| change(number, file));
    place.run(&[])
}

#[test]
fn files_that_changed_are_all_found_in_one_round_and_taken_as_they_are() {
    const CHANGED: usize = 50;
    let place = Place::new();
    let change = |number: usize, file: &std::path::Path| {
        if number < CHANGED {
            std::fs::write(file, "{\"a\":1,\"b\":2}\n").unwrap();
        }
    };
    let done = run_after(&place, CHANGED + 2, change);
    let report = done.json();
    // The listing has seen their new content, with which they wait again once their manifest has failed.
    let rows = CHANGED + 2;
    assert_eq!(
        (done.code, &report["rows"], &report["manifests"]),
        (Some(1), &rows.into(), &2.into()),
        "{}",
        done.stderr
    );
    let faults = report["failed"][0]["files"].as_array().unwrap();
    assert_eq!(faults.len(), CHANGED);
    assert!(faults.iter().all(|fault| fault["message"].as_str().unwrap().contains(" changed")), "{faults:?}");
    for number in 0..CHANGED {
        let told = done.stderr.matches(&format!("2025-01-01-{number:02}.ndjson")).count();
        assert_eq!(told, 1, "{number}: {}", done.stderr);
    }
    assert_eq!(place.run_well(&[])["manifests"], 0);
    place.ask_oracle(&[]);
}

#[test]
fn damaged_files_of_one_manifest_are_found_together() {
    let place = Place::new();
    let whole = {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, "{\"a\":\"packed\"}\n".repeat(99_999).as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    // Nothing is wrong with their starts.
    for number in 0..9 {
        place.input(&format!("2025-01-01-cut-{number}.ndjson.gz"), &whole[..whole.len() - 20]);
        place.input(&format!("2025-01-01-good-{number}.ndjson"), "{\"a\":1}\n");
    }
    let done = place.run(&[]);
    let report = done.json();
    assert_eq!((done.code, &report["rows"], &report["manifests"]), (Some(1), &9.into(), &2.into()), "{}", done.stderr);
    assert_eq!(report["failed"][0]["files"].as_array().unwrap().len(), 9, "{report}");
    // Each is known by its own reason from then on.
    let mut files = place.command("millwork");
    files.args(["state", "query-by-status", "failed", "--json", "--state"]);
    files.arg(format!("sqlite:{}", place.path("out/_millwork/state.db").display()));
    let known = Done::of(files.output().unwrap());
    assert_eq!(known.stdout.matches("cannot be decompressed as gzip").count(), 9, "{} {}", known.stdout, known.stderr);
}

/// The owner of a file keeps others from opening it as long as he pleases (`F_SETLEASE`): it alone fails, as one that cannot be read.
#[test]
fn a_file_under_a_lease_holds_up_no_other() {
    let place = Place::new();
    place.input("2025-12-23-good.ndjson", "{\"a\": 1}\n");
    let held = place.input("2025-12-23-held.ndjson", "{\"a\": 2}\n");
    let hold = "import fcntl, os, signal, sys, time\n\
                signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
                held = os.open(sys.argv[1], os.O_WRONLY)\n\
                fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
                print('held', flush=True)\n\
                time.sleep(600)";
    let mut holder = Command::new("python3");
    let mut holder = Held(holder.args(["-c", hold]).arg(&held).stdout(Stdio::piped()).spawn().unwrap());
    let mut said = [0; 4];
    holder.0.stdout.as_mut().unwrap().read_exact(&mut said).unwrap();
    let started = Instant::now();
    let done = Done::of(place.run_command(&[]).output().unwrap());
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}: {}", started.elapsed(), done.stderr);
    assert_eq!((done.code, &done.json()["rows"]), (Some(1), &1.into()), "{}", done.stderr);
    let failed = done.json()["failed"].clone();
    assert!(failed.to_string().contains("held.ndjson") && !failed.to_string().contains("good.ndjson"), "{failed}");
    drop(holder);
    assert_eq!(place.run_well(&[])["rows"], 1, "once it can be read");
}

/// Process that is ended with the test.
struct Held(Child);

impl Drop for Held {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
