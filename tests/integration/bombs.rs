//! Small inputs that would become large: each is bounded in memory, on disk and in words, and costs no other file anything.

use crate::place::{Done, Place, python};
use serde_json::Value;
use std::collections::HashMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

const MIB: usize = 1 << 20;
/// Limit of the memory of a whole `millwork run` with two lanes, in bytes.
const MAX_MEMORY: u64 = 1_000_000_000;
/// Limit of that memory, in bytes, where both lanes have a line of the largest size, 64 MiB, at once: each line is in memory twice, as it
/// was read and as a value, then as a value and as a page.
const MAX_MEMORY_OF_LONGEST_LINES: u64 = 800_000_000;
/// What no message, log or state may show.
const SECRET: &str = "value-of-a-row-that-nobody-may-see";

/// What a run came to, and what it took.
struct Measured {
    done: Done,
    /// The most that stood in private files and in the quarantine at once.
    disk: u64,
}

/// Runs with two lanes, and measures.
fn measure(place: &Place, arguments: &[&str]) -> Measured {
    measure_within(place, arguments, MAX_MEMORY)
}

fn measure_within(place: &Place, arguments: &[&str], max_memory: u64) -> Measured {
    let script = "import resource, subprocess, sys\n\
        code = subprocess.run(sys.argv[1:]).returncode\n\
        print('peak', resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024, file=sys.stderr)\n\
        sys.exit(code)";
    let run = place.run_command(&[&["--vcores", "2"][..], arguments].concat());
    let mut command = python();
    command.args(["-c", script]).arg(run.get_program()).args(run.get_args()).env("SIZE_TOLERANCE_PERCENT", "100");
    let is_over = AtomicBool::new(false);
    let (done, disk) = std::thread::scope(|scope| {
        let disk = scope.spawn(|| {
            let mut most = 0;
            while !is_over.load(Ordering::Relaxed) {
                most = most.max(bytes_below(&[place.path("out/_millwork/staging"), place.path("quarantine")]));
                std::thread::yield_now();
            }
            most
        });
        let done = Done::of(command.output().unwrap());
        is_over.store(true, Ordering::Relaxed);
        (done, disk.join().unwrap())
    });
    let memory: u64 = done.stderr.lines().rev().find_map(|line| line.strip_prefix("peak ")?.parse().ok()).unwrap();
    println!("{} MB of memory, {} MB on disk", memory / 1_000_000, disk / 1_000_000);
    assert!(memory < max_memory, "{memory}");
    Measured { done, disk }
}

/// The bytes of the files below directories, each counted once, whatever names it has.
fn bytes_below(directories: &[PathBuf]) -> u64 {
    let mut files = HashMap::new();
    let mut open = directories.to_vec();
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => open.push(entry.path()),
                Ok(metadata) => drop(files.insert(metadata.ino(), metadata.len())),
                // It has gone meanwhile.
                Err(_) => {}
            }
        }
    }
    files.values().sum()
}

/// The message of the first manifest that failed; all did so as the input's fault.
fn failure(done: &Done) -> String {
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let report = done.json();
    let failed = report["failed"].as_array().unwrap();
    assert!(!failed.is_empty() && failed.iter().all(|failed| failed["class"] == "input"), "{report}");
    failed[0]["message"].as_str().unwrap().to_owned()
}

fn expect_failure(place: &Place, done: &Done, words: &[&str]) {
    let message = failure(done);
    for word in words {
        assert!(message.contains(word), "{word}: {message}");
    }
    assert!(place.parquet_files().is_empty());
    place.assert_tidy();
}

/// The records of rejected lines.
fn rejected(place: &Place) -> Vec<Value> {
    let files = place.files("quarantine");
    let text = |name: &String| fs::read_to_string(place.path("quarantine").join(name)).unwrap();
    files.iter().map(text).collect::<String>().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Content of so many bytes that repeats a piece, after some that comes once.
fn repeated(first: &'static [u8], piece: &'static [u8], bytes: usize) -> impl Read {
    let count = (bytes / piece.len()) as u64 * piece.len() as u64;
    let block = piece.repeat((MIB / piece.len()).max(1));
    let endless = (0..).map(move |_| io::Cursor::new(block.clone()));
    io::Cursor::new(first.to_vec()).chain(Endless { pieces: Box::new(endless), now: io::Cursor::default() }.take(count))
}

struct Endless {
    pieces: Box<dyn Iterator<Item = io::Cursor<Vec<u8>>>>,
    now: io::Cursor<Vec<u8>>,
}

impl Read for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.now.read(buffer)?;
            if read > 0 {
                return Ok(read);
            }
            self.now = self.pieces.next().unwrap_or_default();
        }
    }
}

fn zstd_of(content: impl Read) -> Vec<u8> {
    zstd::encode_all(content, 1).unwrap()
}

fn gzip_of(mut content: impl Read) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    io::copy(&mut content, &mut encoder).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_file_that_expands_beyond_its_limit_fails_by_name() {
    let place = Place::new();
    let bomb = zstd_of(repeated(b"", b"\n", (1 << 30) + 2 * MIB));
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    place.input("2025-01-01-bomb.ndjson.zst", &bomb);
    let Measured { done, .. } = measure(&place, &[]);
    expect_failure(&place, &done, &["2025-01-01-bomb.ndjson.zst", "1073741824 bytes", "1000 times", "--max-expansion"]);
    // Content that is as much as it may be, of a file beside it, costs nothing.
    let done = place.run(&["--max-expansion", "1000000"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

#[test]
fn the_pass_that_looks_for_a_column_of_a_query_ends_at_the_same_limit() {
    let place = Place::new();
    place.input("2025-01-01-bomb.ndjson.zst", zstd_of(repeated(b"{\"a\":1}\n", b"\n", (1 << 30) + 2 * MIB)));
    fs::write(place.path("q.sql"), "SELECT nope FROM read_manifest($manifest)").unwrap();
    let Measured { done, .. } = measure(&place, &["--sql", place.path("q.sql").to_str().unwrap()]);
    expect_failure(&place, &done, &["2025-01-01-bomb.ndjson.zst", "1073741824 bytes", "--max-expansion"]);
}

#[test]
fn one_huge_line_in_a_small_file_keeps_a_mebibyte() {
    let place = Place::new();
    let line = 80 * MIB;
    place.input("2025-01-01-a.ndjson.zst", zstd_of(repeated(b"{\"a\":\"", b"x", line).chain(&b"\"}\n{\"a\":1}\n"[..])));
    let Measured { done, disk } = measure(&place, &[]);
    assert_eq!(done.json()["rows"], 1, "{}", done.stderr);
    // A mebibyte in Base64: as the task wrote it, and as it is put together.
    assert!(disk < 3 * MIB as u64, "{disk}");
    let [record] = &rejected(&place)[..] else { panic!("one rejected line") };
    assert_eq!((&record["reason"], &record["length"]), (&"too-long".into(), &(line + 8).into()));
    assert_eq!(record["raw"].as_str().map(str::len), Some(MIB));
    assert_eq!(record["sha256"].as_str().map(str::len), Some(64));
    place.ask_oracle(&[]);
}

#[test]
fn the_longest_lines_become_rows_in_bounded_memory() {
    let place = Place::new();
    let line = |name: &str, bytes: usize| {
        let value = repeated(b"{\"a\":\"", b"x", bytes - 8);
        place.input(name, zstd_of(value.chain(&b"\"}\n"[..])));
    };
    for file in ["a", "b", "c", "d"] {
        line(&format!("2025-01-01-{file}.ndjson.zst"), 64 * MIB);
    }
    let Measured { done, .. } = measure_within(&place, &[], MAX_MEMORY_OF_LONGEST_LINES);
    assert_eq!((&done.json()["rows"], &done.json()["rejected"]), (&4.into(), &0.into()), "{}", done.stderr);
    line("2025-01-02-one-more.ndjson.zst", 64 * MIB + 1);
    // Nothing of that file can be converted, which the exit code says.
    let done = place.run(&[]);
    assert_eq!((done.code, &done.json()["rejected"]), (Some(1), &1.into()), "{}", done.stderr);
}

#[test]
fn a_line_that_grows_by_replaced_characters_is_measured_by_what_it_becomes() {
    let place = Place::new();
    let line = |piece: &'static [u8], bytes| repeated(b"{\"a\":\"", piece, bytes).chain(&b"\"}\n"[..]);
    place.input("2025-01-01-a.ndjson.zst", zstd_of(line(b"\xff", 60 * MIB).chain(line(b"\xffa", 20 * MIB))));
    let Measured { done, .. } = measure(&place, &[]);
    let report = done.json();
    assert_eq!((&report["rows"], &report["rejected"]), (&1.into(), &1.into()), "{}", done.stderr);
    assert_eq!(report["replaced_characters"], 10 * MIB);
    let [record] = &rejected(&place)[..] else { panic!("one rejected line") };
    assert_eq!((&record["reason"], &record["line"]), (&"too-long".into(), &1.into()));
    assert_eq!(record["raw_base64"].as_str().map(str::len), Some(MIB.div_ceil(3) * 4));
}

#[test]
fn a_line_has_as_many_fields_as_the_limit_or_is_rejected() {
    let place = Place::new();
    let line = |fields: usize| format!("{{{}}}\n", vec!["\"k\":1"; fields].join(","));
    place.input("2025-01-01-a.ndjson", [line(80_000), line(80_001), line(1)].concat());
    let report = place.run_well(&[]);
    assert_eq!((&report["rows"], &report["rejected"]), (&2.into(), &1.into()));
    let records = rejected(&place);
    assert_eq!(records[0]["reason"], "too-many-keys");
    assert!(records[0]["message"].as_str().unwrap().contains("more than 80000 keys"), "{}", records[0]["message"]);
    place.ask_oracle(&[]);
    // Of this line, a few kilobytes would be hundreds of megabytes of fields.
    let bomb = zstd_of(repeated(b"{\"k\":0,", b"\"\":1,", 60 * MIB).chain(&b"\"\":1}\n{\"k\":2}\n"[..]));
    assert!(bomb.len() < 20_000, "{}", bomb.len());
    place.input("2025-01-02-a.ndjson.zst", &bomb);
    place.input("2025-01-02-b.ndjson.zst", &bomb);
    let Measured { done, disk } = measure(&place, &[]);
    assert_eq!((&done.json()["rows"], &done.json()["rejected"]), (&2.into(), &2.into()), "{}", done.stderr);
    assert!(disk < 10 * MIB as u64, "{disk}");
    assert!(rejected(&place).iter().all(|record| record["reason"] == "too-many-keys"));
}

#[test]
fn a_key_is_as_long_as_the_limit_or_its_line_is_rejected() {
    let place = Place::new();
    let line = |key: String| format!("{{\"a\":0,\"{key}\":1}}\n");
    let lines = [
        line("k".repeat(4096)),
        line("k".repeat(4097)),
        line("\\u0041".repeat(4096)),
        line("\\u0041".repeat(4097)),
        line("é".repeat(2048)),
        line("é".repeat(2048) + "x"),
    ];
    place.input("2025-01-01-a.ndjson", lines.concat());
    let report = place.run_well(&[]);
    assert_eq!((&report["rows"], &report["rejected"]), (&3.into(), &3.into()));
    let records = rejected(&place);
    let message = records[0]["message"].as_str().unwrap();
    assert!(message.contains("4097 bytes") && message.contains("at most 4096"), "{message}");
    place.ask_oracle(&[]);
    // What made a plan that no executor could take.
    let long: Vec<_> = (0..150).map(|key: u32| format!("{{\"{key}{}\":1}}\n", "x".repeat(MIB))).collect();
    let gzip = gzip_of(long.concat().as_bytes());
    assert!(gzip.len() < 400_000, "{}", gzip.len());
    place.input("2025-01-02-b.ndjson.gz", gzip);
    let Measured { done, disk } = measure(&place, &[]);
    assert_eq!((&done.json()["rows"], &done.json()["rejected"]), (&0.into(), &150.into()), "{}", done.stderr);
    assert!(disk < 2 * 160 * MIB as u64, "{disk}");
    assert!(rejected(&place).iter().all(|record| record["reason"] == "key-too-long"));
}

#[test]
fn more_columns_than_the_limit_fail_the_manifest_with_a_way_out() {
    let place = Place::new();
    let line = |keys: usize| {
        let members: Vec<_> = (0..keys).map(|key| format!("\"k{key}\":1")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    place.input("2025-01-01-a.ndjson", line(20_001));
    let Measured { done, .. } = measure(&place, &[]);
    expect_failure(&place, &done, &["2025-01-01-a.ndjson", "more than 20000 different keys", "nested object"]);
    place.input("2025-01-01-a.ndjson", line(20_000));
    let Measured { done, .. } = measure(&place, &[]);
    assert_eq!(done.json()["rows"], 1, "{}", done.stderr);
}

/// A line of the most columns, and then a million lines without any: pages and row groups of nothing would be a multiple of the input.
#[test]
fn columns_that_are_absent_from_a_million_rows_take_no_room() {
    let place = Place::new();
    let members: Vec<_> = (0..20_000).map(|key| format!("\"k{key}\":1")).collect();
    let first = format!("{{{}}}\n", members.join(","));
    let rows = 1 << 20;
    let content = [first.as_bytes(), &b"{}\n".repeat(rows), first.as_bytes()].concat();
    place.input("2025-01-01-a.ndjson", content);
    let Measured { done, disk } = measure(&place, &[]);
    assert_eq!(done.json()["rows"], rows + 2, "{}", done.stderr);
    assert!(disk < 32 * MIB as u64, "{disk}");
}

#[test]
fn names_of_columns_have_a_limit_together() {
    let place = Place::new();
    let line = |keys: usize| {
        let members: Vec<_> = (0..keys).map(|key| format!("\"{key:04096}\":1")).collect();
        format!("{{{}}}\n", members.join(","))
    };
    place.input("2025-01-01-a.ndjson", line(2049));
    let Measured { done, .. } = measure(&place, &[]);
    expect_failure(&place, &done, &["2025-01-01-a.ndjson", "more than 8388608 bytes", "nested object"]);
    place.input("2025-01-01-a.ndjson", line(2048));
    let Measured { done, .. } = measure(&place, &[]);
    assert_eq!(done.json()["rows"], 1, "{}", done.stderr);
}

#[test]
fn tiny_rejected_lines_stop_at_their_room() {
    let place = Place::new();
    // A third of a megabyte of records, and half a gigabyte of lines that would be fifty times as much in records.
    place.input("2025-01-01-a.ndjson", "x\n".repeat(1000));
    let done = place.run(&["--max-rejected-mb", "1"]);
    assert_eq!((done.code, &done.json()["rejected"]), (Some(1), &1000.into()), "{}", done.stderr);
    let bomb = zstd_of(repeated(b"", b"x\n", 512 * MIB));
    assert!(bomb.len() < 200_000, "{}", bomb.len());
    for file in ["a", "b", "c"] {
        place.input(&format!("2025-01-02-{file}.ndjson.zst"), &bomb);
    }
    let before = bytes_below(&[place.path("quarantine")]);
    let Measured { done, disk } = measure(&place, &["--max-rejected-mb", "16"]);
    let message = failure(&done);
    for word in ["2025-01-02-", "more than 16 MiB", "--max-rejected-mb", "MAX_REJECTED_MB"] {
        assert!(message.contains(word), "{message}");
    }
    assert!(disk <= before + 16 * MIB as u64, "{disk}");
    place.assert_tidy();
    assert_eq!(bytes_below(&[place.path("quarantine")]), before);
}

#[test]
fn a_hole_of_nuls_does_not_grow() {
    let place = Place::new();
    let hole = repeated(b"{\"a\":1}\n", b"\0", 34 * MIB).chain(&b"\n{\"a\":2}\n"[..]);
    place.input("2025-01-01-a.ndjson.zst", zstd_of(hole));
    let Measured { done, disk } = measure(&place, &[]);
    assert_eq!((&done.json()["rows"], &done.json()["rejected"]), (&2.into(), &1.into()), "{}", done.stderr);
    // A mebibyte in Base64: as the task wrote it, and as it is put together.
    assert!(disk < 3 * MIB as u64, "{disk}");
    let [record] = &rejected(&place)[..] else { panic!("one rejected line") };
    assert_eq!((&record["length"], &record["line"]), (&(34 * MIB).into(), &2.into()));
    // From coreutils: head -c 35651584 /dev/zero | sha256sum.
    assert_eq!(record["sha256"], "dd34b32ba0522e06e609f351620991e1af517dc3be2475e5875be645c16ba5e0");
    place.ask_oracle(&[]);
}

/// Runs a query that fails on a row, and looks for its value everywhere. Returns the message.
fn failing_query(sql: &str, lines: &str) -> String {
    let place = Place::new();
    place.input("2025-01-01-a.ndjson", "{\"a\":\"1\"}\n{\"a\":\"2\"}\n");
    place.input("2025-01-01-b.ndjson", lines);
    fs::write(place.path("q.sql"), sql).unwrap();
    let query = place.path("q.sql");
    // Some of the content is converted in trial, as it makes several files.
    let arguments = ["--sql", query.to_str().unwrap(), "--target-file-mb", "1"];
    let Done { stderr, stdout, code } =
        Done::of(place.run_command(&arguments).env("RUST_LOG", "debug").output().unwrap());
    assert!(!stderr.contains(SECRET) && !stdout.contains(SECRET), "{}", &stdout[..stdout.len().min(5000)]);
    for name in place.files("out") {
        let content = fs::read(place.path("out").join(&name)).unwrap();
        assert!(!content.windows(SECRET.len()).any(|part| part == SECRET.as_bytes()), "{name}");
        assert!(content.len() < MIB, "{name} has {} bytes", content.len());
    }
    let message = failure(&Done { stderr, stdout, code });
    assert!(message.len() <= 4096, "{}", message.len());
    message
}

#[test]
fn a_query_that_fails_on_a_row_tells_of_the_place_and_not_of_the_value() {
    let huge = format!("{{\"a\":\"3\"}}\nbad\n{{\"a\":\"{SECRET}{}\"}}\n", "x".repeat(8 * MIB));
    let message = failing_query("SELECT CAST(a AS INT) AS n FROM read_manifest($manifest)", &huge);
    for word in ["2025-01-01-b.ndjson`, line 3", "CAST(a AS Int32)", "column `n`", "TRY_CAST"] {
        assert!(message.contains(word), "{word}: {message}");
    }
    let small = format!("{{\"a\":\"3\"}}\n{{\"a\":\"{SECRET}\"}}\n");
    for (sql, words) in [
        ("SELECT a FROM read_manifest($manifest) WHERE CAST(a AS INT) > 1", ["line 2", "CAST(a AS Int32)` in WHERE"]),
        (
            "SELECT upper(a) AS u FROM (SELECT a FROM read_manifest($manifest) WHERE a <> '1') WHERE CAST(a AS DATE) IS NULL",
            ["2025-01-01-", "CAST(a AS Date32)"],
        ),
        ("SELECT to_timestamp(a) AS t FROM read_manifest($manifest) WHERE a > '3'", ["line 2", "to_timestamp"]),
        (
            "SELECT 1 / (CASE WHEN length(a) > 5 THEN 0 ELSE 1 END) AS q FROM read_manifest($manifest)",
            ["line 2", "division by zero"],
        ),
        ("SELECT arrow_cast(a, 'Int8') AS n FROM read_manifest($manifest)", ["line 2", "Int8"]),
    ] {
        let message = failing_query(sql, &small);
        for word in words {
            assert!(message.contains(word), "{sql}: {word}: {message}");
        }
    }
}

#[test]
fn a_key_in_a_message_is_escaped_and_bounded() {
    let place = Place::new();
    let keys: Vec<_> = (0..3000).map(|key| format!("\"\\u001b[2J\\nforged {key}\":1")).collect();
    place.input("2025-01-01-a.ndjson", format!("{{{}}}\n", keys.join(",")));
    fs::write(place.path("q.sql"), "SELECT nope FROM read_manifest($manifest)").unwrap();
    let done = place.run(&["--sql", place.path("q.sql").to_str().unwrap()]);
    let message = failure(&done);
    assert!(message.len() <= 4096 && message.contains("nope"), "{message}");
    assert!(!done.stderr.contains('\u{1b}') && !message.contains('\u{1b}'), "{message}");
    assert!(!message.lines().any(|line| line.starts_with("forged")), "{message}");
}
