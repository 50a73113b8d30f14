//! A day of 200 files in which every seventh is hostile in another way: all good rows come out, each bad thing is named once with
//! its reason, nothing of the input is lost, and the exit code says that something is to be looked at.

use crate::place::{Done, Place, python, signal, start, wait_for_end, wait_until};
use crate::servers::Aws;
use crate::unprivileged::{give_away, take, unprivileged};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

const FILES: usize = 200;
const EVERY: usize = 7;
const ROWS: usize = 3;

/// What is expected of something hostile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is named by its reason in the quarantine.
    Refused(&'static str),
    /// It is named as an entry that is left as it is.
    Foreign,
    /// It fails the manifest that it is in, and only itself.
    Fails,
    /// Its bad lines are rejected, so many good rows come out.
    Rejected(usize),
    /// It is left alone without a word of its own.
    Skipped,
    /// It is refused, and cannot be moved.
    Unmoved,
}

use Fate::{Fails, Foreign, Refused, Rejected, Skipped, Unmoved};

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

fn good(number: usize) -> Vec<u8> {
    (0..ROWS).flat_map(|row| format!("{{\"file\": {number}, \"row\": {row}}}\n").into_bytes()).collect()
}

/// Content that is hostile wherever it is stored: the end of its name, its bytes, and what is expected of it.
fn contents() -> Vec<(&'static str, Vec<u8>, Fate)> {
    let lines: Vec<u8> = b"{\"file\": -1, \"row\": 0}\n".repeat(500);
    let packed = gzip(&lines);
    let mut flipped = packed.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 0xff;
    let deep = format!("{}{}\n{{\"file\": -2}}\n", "{\"a\":".repeat(200), "1}".repeat(200));
    let utf16: Vec<u8> = "{\"a\": 1}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        ("truncated.ndjson.gz", packed[..packed.len() - 9].to_vec(), Fails),
        ("flipped.ndjson.gz", flipped, Fails),
        ("no-gzip.ndjson.gz", b"plain text".to_vec(), Fails),
        ("no-zstd.ndjson.zst", b"plain text".to_vec(), Fails),
        ("half-a-line.ndjson", b"{\"file\": -3, \"row\": 0}\n{\"file\": -3, \"ro".to_vec(), Rejected(1)),
        ("deep.ndjson", deep.into_bytes(), Rejected(1)),
        ("wide.ndjson", utf16, Rejected(0)),
        ("noise.ndjson", noise, Rejected(0)),
        ("list.ndjson", b"[{\"a\": 1},\n{\"a\": 2}]\n".to_vec(), Rejected(0)),
        ("zeros.ndjson", vec![0; 1000], Rejected(0)),
        ("nothing.ndjson", Vec::new(), Rejected(0)),
        ("table.csv", b"a,b\n".to_vec(), Refused("bad-extension")),
        ("NAME.NDJSON", good(0), Refused("bad-extension")),
        ("large.ndjson", vec![b'\n'; 3 << 20], Refused("too-large")),
        ("download.ndjson.crdownload", b"{\"a\":".to_vec(), Skipped),
        ("copy.tmp", b"{\"a\":".to_vec(), Skipped),
        ("twice.ndjson.gz", gzip(&packed), Rejected(0)),
        ("archive.ndjson", [vec![b'n'; 20], vec![0; 237], b"ustar\0\n".to_vec(), lines].concat(), Rejected(0)),
        ("pretty.ndjson", b"{\n  \"a\": 1\n}\n".to_vec(), Rejected(0)),
        ("download.ndjson.6eF5b5dA", b"{\"a\":".to_vec(), Skipped),
    ]
}

/// The names of the good files, and what is expected of the others, by a part of their names that nothing else has.
type Day = (BTreeSet<usize>, BTreeMap<String, Fate>);

/// Numbers of the day's files: those that are good, and those whose place something hostile takes.
fn numbers() -> (Vec<usize>, Vec<usize>) {
    (1..=FILES).partition(|number| number % EVERY != 0)
}

/// Makes the day in a directory, with all that only directories can have.
fn make_directory(place: &Place) -> Day {
    let (good_numbers, mut hostile) = numbers();
    let mut fates = BTreeMap::new();
    for number in &good_numbers {
        place.input(&format!("2025-12-23-{number:03}.ndjson"), good(*number));
    }
    let mut next = || format!("2025-12-23-{:03}", hostile.pop().unwrap());
    for (name, content, fate) in contents() {
        let name = format!("{}-{name}", next());
        place.input(&name, content);
        fates.insert(name, fate);
    }
    let input = place.path("in");
    let outside = place.path("secret.ndjson");
    fs::write(&outside, "{\"file\": -9}\n").unwrap();
    for (name, target) in [
        ("nowhere.ndjson", Path::new("none")),
        ("circle.ndjson", Path::new("circle.ndjson")),
        ("outside.ndjson", outside.as_path()),
        ("loop", Path::new(".")),
    ] {
        let name = if name.starts_with("circle") { name.to_owned() } else { format!("{}-{name}", next()) };
        symlink(target, input.join(&name)).unwrap();
        fates.insert(name, Foreign);
    }
    let name = format!("{}-pipe.ndjson", next());
    assert!(Command::new("mkfifo").arg(input.join(&name)).status().unwrap().success());
    fates.insert(name, Foreign);
    let name = format!("{}-closed", next());
    fs::create_dir(input.join(&name)).unwrap();
    fates.insert(name, Foreign);
    let name = format!("{}-unreadable.ndjson", next());
    place.input(&name, good(0));
    fates.insert(name, Fails);
    place.input("undated.ndjson", good(0));
    fates.insert("undated.ndjson".to_owned(), Refused("no-date"));
    place.input("2025-02-30-impossible.ndjson", good(0));
    fates.insert("2025-02-30-impossible.ndjson".to_owned(), Refused("no-date"));
    let long = format!("{}-{}.csv", next(), "x".repeat(235));
    place.input(&long, "x");
    fates.insert(long, Refused("bad-extension"));
    let forged = format!("{}-\n2026 ERROR forged\u{1b}[2J.csv", next());
    place.input(&forged, "x");
    fates.insert("%0A2026%20ERROR%20forged%1B%5B2J.csv".to_owned(), Refused("bad-extension"));
    let raw = [b"2025-12-23-\xff".as_slice(), b".csv"].concat();
    fs::write(input.join(std::ffi::OsStr::from_bytes(&raw)), "x").unwrap();
    fates.insert("2025-12-23-%FF.csv".to_owned(), Refused("bad-extension"));
    place.input("_temporary/0/2025-12-23-task.ndjson", good(0));
    fates.insert("_temporary/0/2025-12-23-task.ndjson".to_owned(), Skipped);
    place.input("fixed/2025-12-23-fixed.csv", "x");
    fates.insert("fixed/2025-12-23-fixed.csv".to_owned(), Unmoved);
    (good_numbers.into_iter().collect(), fates)
}

/// Everything below a directory that is no directory, with its content if it is a file.
fn census(root: &Path) -> BTreeMap<String, Option<Vec<u8>>> {
    let (mut found, mut open) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            if metadata.is_dir() {
                open.push(path.clone());
            }
            let name = path.strip_prefix(root).unwrap().to_string_lossy().into_owned();
            found.insert(name, metadata.is_file().then(|| fs::read(&path).unwrap()));
        }
    }
    found
}

/// A row of the output: the name of its file, the number of its line, and its values of `file` and `row`.
type Row = (String, i64, Option<String>, Option<String>);

/// All rows of the output, in order.
fn rows_of(place: &Place) -> Vec<Row> {
    let script = "import sys,json,glob,pyarrow as pa,pyarrow.parquet as pq\n\
                  kinds=dict(_source_file=pa.string(),_source_line=pa.int64(),file=pa.string(),row=pa.string())\n\
                  rows=[(r['_source_file'].rsplit('/',1)[1],r['_source_line'],r['file'],r['row']) \
                  for f in glob.glob(sys.argv[1]+'/**/*.parquet',recursive=True) \
                  for r in pq.read_table(f,schema=pa.schema(kinds)).to_pylist()]\nprint(json.dumps(rows))";
    let done = Done::of(python().args(["-c", script]).arg(place.path("out")).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let mut rows: Vec<Row> = serde_json::from_value(done.json()).unwrap();
    rows.sort();
    rows
}

/// Rows that a file is to give: its lines that are objects, by another parser.
fn rows_in(name: &str, content: &[u8]) -> Vec<Row> {
    let parsed = content.split(|byte| *byte == b'\n').map(serde_json::from_slice::<BTreeMap<String, i64>>);
    let row = |(line, object): (i64, BTreeMap<String, i64>)| {
        let value = |key: &str| object.get(key).map(ToString::to_string);
        (name.to_owned(), line, value("file"), value("row"))
    };
    (1..).zip(parsed).filter_map(|(line, object)| Some(row((line, object.ok()?)))).collect()
}

/// The output has the rows of the good files and the good rows of others, as they are, and nothing else.
fn check_rows(place: &Place, (good_numbers, fates): (&BTreeSet<usize>, &BTreeMap<String, Fate>)) {
    let mut expected: Vec<Row> = good_numbers
        .iter()
        .flat_map(|number| rows_in(&format!("2025-12-23-{number:03}.ndjson"), &good(*number)))
        .collect();
    assert_eq!(expected.len(), good_numbers.len() * ROWS);
    let contents = contents();
    for (name, fate) in fates {
        let Rejected(count) = fate else { continue };
        let (_, content, _) = contents.iter().find(|(end, _, _)| name.ends_with(&format!("-{end}"))).unwrap();
        let rows = if *count == 0 { Vec::new() } else { rows_in(name, content) };
        assert_eq!(rows.len(), *count, "{name}");
        expected.extend(rows);
    }
    expected.sort();
    assert_eq!(rows_of(place), expected);
}

/// Each hostile thing is in the list that its fate asks for, and in no other, once.
fn check_named(done: &Done, fates: &BTreeMap<String, Fate>) {
    let report = done.json();
    let named = |list: &str, of: &dyn Fn(&Value) -> String| -> Vec<String> {
        report[list].as_array().unwrap().iter().map(of).collect()
    };
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let refused = named("quarantined_files", &|file| format!("{} {}", text(&file["uri"]), text(&file["reason"])));
    let foreign = named("foreign", &|file| text(&file["uri"]));
    let of_failed = report["failed"].as_array().unwrap().iter().flat_map(|failed| failed["files"].as_array().unwrap());
    let failed: Vec<_> = of_failed.map(|fault| text(&fault["file"])).collect();
    let unmoved = named("unmoved", &|file| text(&file["uri"]));
    for (name, fate) in fates {
        let encoded = name.replace('+', "%2B");
        let times = |list: &[String]| list.iter().filter(|text| text.contains(&encoded)).count();
        let found = [times(&refused), times(&foreign), times(&failed), times(&unmoved)];
        let expected = match fate {
            Refused(reason) => {
                assert!(
                    refused.iter().any(|text| text.contains(&encoded) && text.ends_with(reason)),
                    "{name}: {refused:?}"
                );
                [1, 0, 0, 0]
            }
            Foreign => [0, 1, 0, 0],
            Fails => [0, 0, 1, 0],
            Rejected(_) | Skipped => [0; 4],
            Unmoved => [1, 0, 0, 1],
        };
        assert_eq!(found, expected, "{name}: {fate:?}\n{report:#}\n{}", done.stderr);
        if matches!(fate, Foreign | Fails | Unmoved) {
            let lines = done.stderr.lines().filter(|line| line.contains(&encoded)).count();
            assert_eq!(lines, 1, "{name}: {}", done.stderr);
        }
    }
    let is_steering = |c: char| c.is_control() && c != '\n';
    assert!(!done.stderr.contains(is_steering), "{:?}", done.stderr);
    for file in report["quarantined_files"].as_array().unwrap() {
        assert!(text(&file["detail"]).len() > 20, "{file}");
    }
}

/// The options of a day of small files.
const RULES: [&str; 2] = ["--expected-file-size-mb", "1"];

#[test]
fn a_day_in_a_directory() {
    let place = Place::new();
    let (good, fates) = make_directory(&place);
    let before = census(&place.path("in"));
    give_away(&place);
    let input = place.path("in");
    let closed: Vec<_> = fates.keys().filter(|name| name.ends_with("-closed")).collect();
    fs::set_permissions(input.join(closed[0]), Permissions::from_mode(0o700)).unwrap();
    take(&input.join(closed[0]));
    let unreadable: Vec<_> = fates.keys().filter(|name| name.ends_with("-unreadable.ndjson")).collect();
    fs::set_permissions(input.join(unreadable[0]), Permissions::from_mode(0o000)).unwrap();
    fs::set_permissions(input.join("fixed"), Permissions::from_mode(0o555)).unwrap();
    let run = || Done::of(unprivileged(&place.run_command(&RULES)).output().unwrap());
    let done = run();
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    check_named(&done, &fates);
    check_rows(&place, (&good, &fates));
    // What is at fault is found together: first by a look at each file, then by reading them.
    assert!(done.json()["manifests"].as_u64().unwrap() <= 5, "{}", done.stderr);
    // Nothing is lost: what is not in the input any more is in the quarantine, as it was.
    let (after, kept) = (census(&input), census(&place.path("quarantine")));
    for (name, content) in &before {
        let is_kept = || kept.values().any(|kept| kept == content);
        assert!(after.get(name) == Some(content) || is_kept(), "{name} is lost");
    }
    let kept_names: Vec<_> = kept.iter().filter(|(_, content)| content.is_some()).map(|(name, _)| name).collect();
    assert!(!kept_names.iter().any(|name| name.contains("fixed") || name.contains(".moving")), "{kept_names:?}");
    let refused = fates.values().filter(|fate| matches!(fate, Refused(_))).count();
    // One more holds the rejected lines.
    let files = kept_names.iter().filter(|name| !name.starts_with("rejected-lines/")).count();
    assert_eq!(files, refused, "{kept_names:?}");
    // The next run finds the same things to mend, and no row twice.
    let again = run();
    assert_eq!(again.code, Some(1), "{}", again.stderr);
    check_rows(&place, (&good, &fates));
    assert_eq!(again.json()["rows"], 0);
    assert_eq!(again.json()["unmoved"].as_array().unwrap().len(), 1);
}

#[test]
fn a_day_in_a_directory_that_is_watched() {
    let place = Place::new();
    let (good, fates) = make_directory(&place);
    give_away(&place);
    let input = place.path("in");
    for (name, mode) in [("-closed", 0o000), ("-unreadable.ndjson", 0o000)] {
        let found = fates.keys().find(|known| known.ends_with(name)).unwrap();
        fs::set_permissions(input.join(found), Permissions::from_mode(mode)).unwrap();
    }
    fs::set_permissions(input.join("fixed"), Permissions::from_mode(0o555)).unwrap();
    let mut command = place.command("millwork");
    command.arg("up").arg(&input).args(["--no-ui", "--output"]).arg(place.path("out")).args(RULES);
    command.env("MILLWORK_QUARANTINE", place.path("quarantine")).env("SIZE_TOLERANCE_PERCENT", "100");
    let log = place.path("log");
    let mut process = start(unprivileged(&command), &log);
    let told = || fs::read_to_string(&log).unwrap();
    // Nothing arrives that would make it look at what the bad files of a manifest have left waiting.
    let rejected = fates.values().map(|fate| if let Rejected(rows) = fate { *rows } else { 0 }).sum::<usize>();
    let expected = good.len() * ROWS + rejected;
    let rows_told = || -> usize {
        let of_run =
            |line: &str| line.split_once('✓')?.1.split_once(": ")?.1.split_once(" row")?.0.parse::<usize>().ok();
        told().lines().filter_map(of_run).sum::<usize>()
    };
    wait_until("all rows are there", || rows_told() >= expected);
    signal(&process, "INT");
    assert_eq!(wait_for_end(&mut process), Some(0), "{}", told());
    check_rows(&place, (&good, &fates));
    let told = told();
    for (name, fate) in &fates {
        let lines = |words: &str| told.lines().filter(|line| line.contains(name) && line.contains(words)).count();
        let words = match fate {
            Refused(reason) => &format!(": {reason}: "),
            Foreign => "left alone",
            Fails => "✗",
            Unmoved => "cannot move",
            Rejected(_) | Skipped => continue,
        };
        assert_eq!(lines(words), 1, "{name}: {fate:?}\n{told}");
    }
    let without_rows = fates.iter().filter(|(name, fate)| **fate == Rejected(0) && !name.contains("nothing")).count();
    assert_eq!(told.lines().filter(|line| line.contains("no row of ")).count(), without_rows, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_in_a_bucket() {
    let (aws, place) = (Aws::start(), Place::new());
    for bucket in ["in", "bad"] {
        aws.create_bucket(&format!("hostile-{bucket}")).await;
    }
    let s3 = aws.s3().await;
    let put = async |key: &str, content: Vec<u8>| {
        s3.put_object().bucket("hostile-in").key(key).body(content.into()).send().await.unwrap();
    };
    let (good_numbers, mut hostile) = numbers();
    for number in &good_numbers {
        put(&format!("d/2025-12-23-{number:03}.ndjson"), good(*number)).await;
    }
    let mut fates = BTreeMap::new();
    let mut next = || format!("2025-12-23-{:03}", hostile.pop().unwrap());
    for (name, content, fate) in contents() {
        let name = format!("{}-{name}", next());
        put(&format!("d/{name}"), content).await;
        fates.insert(name, fate);
    }
    for (key, fate) in [
        ("d/undated.ndjson", Refused("no-date")),
        ("d/2025-12-23-a b+c%20ü.csv", Refused("bad-extension")),
        ("d//2025-12-23-empty-part.ndjson", Foreign),
        ("d/%2e%2e/2025-12-23-up.ndjson", Foreign),
        ("d/_temporary/0/2025-12-23-task.ndjson", Skipped),
        ("d/.hidden/2025-12-23-h.ndjson", Skipped),
    ] {
        put(key, good(0)).await;
        fates.insert(key.to_owned(), fate);
    }
    put("d/2025-12-23-folder/", Vec::new()).await;
    let objects = async |bucket: &str| -> BTreeMap<String, Vec<u8>> {
        let mut found = BTreeMap::new();
        let mut pages = s3.list_objects_v2().bucket(bucket).into_paginator().send();
        while let Some(page) = pages.next().await {
            for key in page.unwrap().contents().iter().filter_map(|object| object.key()) {
                let object = s3.get_object().bucket(bucket).key(key).send().await.unwrap();
                found.insert(key.to_owned(), object.body.collect().await.unwrap().to_vec());
            }
        }
        found
    };
    let before = objects("hostile-in").await;
    let mut command = Command::new(crate::place::binary("millwork"));
    command.args(["run", "--json", "--input", "s3://hostile-in/d", "--quarantine", "s3://hostile-bad"]);
    command.arg("--output").arg(place.path("out")).args(RULES).envs(aws.environment());
    command.env("SIZE_TOLERANCE_PERCENT", "100");
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(1), "{}", done.stderr);
    let is_plus = |name: &String| name.contains('+');
    let (plus, fates): (BTreeMap<_, _>, BTreeMap<_, _>) = fates.into_iter().partition(|(name, _)| is_plus(name));
    check_named(&done, &fates);
    assert!(plus.keys().all(|key| done.stdout.contains(key.as_str())), "{}", done.stdout);
    let good_numbers = good_numbers.into_iter().collect();
    check_rows(&place, (&good_numbers, &fates));
    let (after, kept) = (objects("hostile-in").await, objects("hostile-bad").await);
    // Nothing is lost: what is not in the input any more is in the quarantine under its key, as it was.
    for (key, content) in &before {
        let is_kept = || kept.iter().any(|(kept, found)| kept.ends_with(key.as_str()) && found == content);
        assert!(after.get(key) == Some(content) || is_kept(), "{key} is lost");
    }
    let refused = fates.values().chain(plus.values()).filter(|fate| matches!(fate, Refused(_))).count();
    assert_eq!(kept.keys().filter(|key| !key.starts_with("rejected-lines/")).count(), refused, "{:?}", kept.keys());
    let again = Done::of(command.output().unwrap());
    assert_eq!((again.code, &again.json()["rows"]), (Some(1), &0.into()), "{}", again.stderr);
    check_rows(&place, (&good_numbers, &fates));
}
