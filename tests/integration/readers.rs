//! Outputs of every shape, read by all readers: pyarrow, DuckDB, Polars, fastparquet, ClickHouse, hyparquet and Spark.

use crate::place::{Done, Place, python};
use serde_json::{Value, json};
use std::fmt::Write;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Mutex, PoisonError};

/// The process that all tests ask, so that Spark is started once. It ends when this process does, which closes its input.
static READERS: Mutex<Option<Readers>> = Mutex::new(None);

/// A process of `readers.py` that answers questions.
struct Readers {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    log: File,
}

impl Readers {
    fn start() -> Self {
        let log = tempfile::tempfile().unwrap();
        let mut command = python();
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/oracle/readers.py")).arg("--serve");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.try_clone().unwrap());
        let mut process = command.spawn().unwrap();
        let (questions, answers) = (process.stdin.take().unwrap(), BufReader::new(process.stdout.take().unwrap()));
        Self { process, questions, answers, log }
    }

    /// The answer to a question, or the end of what the process said if it has died.
    fn ask(&mut self, question: &Value) -> Result<Value, String> {
        let mut answer = String::new();
        let asked = writeln!(self.questions, "{question}").and_then(|()| self.answers.read_line(&mut answer));
        serde_json::from_str(&answer).map_err(|_| {
            let mut said = String::new();
            let _ = self.log.rewind().and_then(|()| self.log.read_to_string(&mut said));
            format!("readers.py has died: {asked:?}\n{said}")
        })
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn ask(question: &Value) -> Value {
    let mut readers = READERS.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = readers.get_or_insert_with(Readers::start).ask(question);
    if answer.is_err() {
        *readers = None;
    }
    drop(readers);
    let answer = answer.unwrap_or_else(|death| panic!("{death}"));
    assert!(answer["error"].is_null(), "{question}: {}", answer["error"]);
    answer
}

/// Asks all readers of the outputs below a directory. Returns what they counted.
fn ask_readers(place: &Place, directory: &str) -> Value {
    ask(&json!({"directory": place.path(directory)}))
}

/// Converts the input to a directory of its own, for all to be read at once.
fn convert(place: &Place, output: &str, arguments: &[&str]) {
    let mut command = place.command("millwork");
    command.args(["run", "--input"]).arg(place.path("in")).env("SIZE_TOLERANCE_PERCENT", "100");
    command.arg("--output").arg(place.path("outputs").join(output)).args(arguments);
    let done = Done::of(command.output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

/// Files whose columns turn up late, change places, have no value for whole row groups, or names that are odd.
fn uneven(place: &Place) {
    for file in 0..6 {
        let mut lines = String::new();
        for row in 0..30_000u64 {
            // Few words at first, then ever other ones: a dictionary that is given up.
            let word = if row < 9000 { row % 7 } else { row.wrapping_mul(0x9e37_79b9_7f4a_7c15) };
            let first = if (file, row) == (3, 15_000) { "\"first here\":1," } else { "" };
            write!(lines, "{{{first}\"n\":{row},\"word\":\"{word:020}\",\"never\":null,\"empty\":\"\"").unwrap();
            match (file, row) {
                (2, 25_000) => lines.push_str(",\"late one\":\"v\""),
                (1, 29_000..) => lines.push_str(",\"late \\\"two\\\" é.x\":\"é😀\\u0000\""),
                (4, _) => write!(lines, ",\"dot.key\":[1,{{\"a\":{row}}}]").unwrap(),
                (5, 7) => lines.push_str(",\"Late One\":true"),
                (_, 1000) => lines.push_str(",\"\":\"an empty name\""),
                _ => {}
            }
            lines.push_str("}\n");
        }
        place.input(&format!("2025-01-01-{file}.ndjson"), lines);
    }
}

#[test]
fn every_reader_sees_the_same_in_outputs_of_every_shape() {
    let place = Place::new();
    uneven(&place);
    for compression in ["snappy", "zstd", "none"] {
        convert(&place, compression, &["--compression", compression, "--target-file-mb", "2"]);
    }
    // One file that is put in order at its end, and one that is written anew.
    convert(&place, "whole", &[]);
    let generated = Place::new();
    generated.generate(&[
        "--files",
        "12",
        "--size-mb",
        "0.6",
        "--dirty",
        "1",
        "--late-columns",
        "3",
        "--shape",
        "mixed",
    ]);
    generated.run_well(&["--target-file-mb", "1"]);
    generated.ask_oracle(&[]);
    ask_readers(&generated, "out");
    let wide = Place::new();
    let keys = |from: usize| {
        (from..from + 900).map(|key| format!("\"k{key}\":\"{}\"", key % 17)).collect::<Vec<_>>().join(",")
    };
    let lines: String = (0..400).map(|row| format!("{{{}}}\n", keys(row * 3))).collect();
    wide.input("2025-01-01-wide.ndjson", lines);
    wide.run_well(&[]);
    ask_readers(&wide, "out");
    let counted = ask_readers(&place, "outputs");
    assert_eq!(counted["rows"], 4 * 6 * 30_000, "{counted}");
}

/// Names of columns of every kind: with the signs of paths, of SQL and of readers' own, empty, and as long as may be.
fn odd_names() -> String {
    let long = ["x".repeat(4000), "ü".repeat(1300)];
    let names = [
        "",
        ".",
        "a.b",
        "a",
        "a b",
        " lead",
        "trail ",
        "q\"q",
        "q'q",
        "back`tick",
        "br[0]",
        "c\\d",
        "new\nline",
        "tab\t",
        "\0",
        "é",
        "e\u{301}",
        "😀",
        "\u{202e}",
        "list.element",
        "key_value",
        "__index_level_0__",
        "index",
        "schema",
        "root",
        "/",
        "a=b",
        ",",
        ";",
        "{x}",
        "$",
        "%",
        "#",
        "*",
        "null",
        "true",
        "select",
        "_source_file_1",
        "ID",
        "Id",
        "iD",
    ];
    let names = names.into_iter().chain(long.iter().map(String::as_str));
    let line: serde_json::Map<String, serde_json::Value> =
        names.enumerate().map(|(number, name)| (name.to_owned(), number.to_string().into())).collect();
    format!("{}\n", serde_json::Value::Object(line)).repeat(300)
}

#[test]
fn every_reader_sees_the_same_in_the_smallest_and_oddest_outputs() {
    let of_rows = |rows: usize, line: fn(usize) -> String| (0..rows).map(line).collect::<String>();
    let grown: fn(usize) -> String = |row| match row {
        ..50_000 => format!("{{\"v\":\"k{}\",\"w\":\"u{row:040}\"}}\n", row % 5),
        _ => format!("{{\"v\":\"u{row:040}\",\"w\":\"z\"}}\n"),
    };
    let nested: fn(usize) -> String = |row| {
        format!(
            "{{\"n\":{{\"a\":[{row},{{\"b\":null}}],\"c\":\"x\\\"y\"}},\"l\":[],\"o\":{{}},\"s\":\"{{\\\"a\\\":1}}\"}}\n"
        )
    };
    let shapes: [(&str, String); 11] = [
        ("one-row", "{\"a\":1}\n".to_owned()),
        ("no-keys", "{}\n".repeat(1000)),
        ("only-null", "{\"a\":null}\n".repeat(1000)),
        ("null-at-last-a-value", "{\"a\":null,\"b\":1}\n".repeat(200_000) + "{\"a\":\"x\"}\n"),
        ("empty-text", "{\"a\":\"\",\"b\":\"\"}\n".repeat(5000)),
        ("zeros", "{\"v\":\"\\u0000\"}\n{\"v\":\"\\u0000a\\u0000\"}\n{\"v\":\"\"}\n".repeat(10)),
        ("largest", format!("{{\"v\":\"{}\"}}\n{{\"v\":\"a\"}}\n", "\u{10ffff}".repeat(20)).repeat(10)),
        ("grown-dictionary", of_rows(120_000, grown)),
        ("nested", of_rows(5000, nested)),
        ("a-key-a-line", of_rows(1500, |row| format!("{{\"k{row}\":{row}}}\n"))),
        ("names", odd_names()),
    ];
    let outputs = Place::new();
    for (name, lines) in shapes {
        let place = Place::new();
        place.input("2025-01-01-a.ndjson", lines);
        let mut command = place.command("millwork");
        command.args(["run", "--input"]).arg(place.path("in")).env("SIZE_TOLERANCE_PERCENT", "100");
        command.arg("--output").arg(outputs.path("outputs").join(name)).args(["--expected-file-size-mb", "100"]);
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, Some(0), "{name}: {}", done.stderr);
    }
    assert_eq!(ask_readers(&outputs, "outputs")["files"], 11);
}

#[test]
fn every_reader_sees_the_same_in_what_a_query_makes() {
    let place = Place::new();
    let line =
        |row: usize| format!("{{\"a\":\"{row}\",\"b\":{}}}\n", if row.is_multiple_of(3) { "null" } else { "\"x\"" });
    place.input("2025-01-01-a.ndjson", (0..5000).map(line).collect::<String>());
    let sql = "SELECT CAST(a AS INT) AS i, CAST(a AS BIGINT) AS l, CAST(a AS DOUBLE) AS d, b IS NULL AS t, _ingested_at, _source_line, \
         CAST(a AS DECIMAL(10, 2)) AS e, CAST('2025-01-02' AS DATE) AS day, a, b, CAST(NULL AS VARCHAR) AS never \
         FROM read_manifest($manifest)";
    std::fs::write(place.path("q.sql"), sql).unwrap();
    convert(&place, "typed", &["--sql", place.path("q.sql").to_str().unwrap()]);
    assert_eq!(ask_readers(&place, "outputs")["rows"], 5000);
}

#[test]
fn the_document_on_reading_says_what_works() {
    let place = Place::new();
    let out = place.path("out").join("merged-parquet-2025-12-23");
    place.input("2025-12-23-a.ndjson", "{\"id\":1,\"name\":\"a\"}\n");
    place.run_well(&[]);
    place.input("2025-12-23-b.ndjson", "{\"email\":\"x\",\"id\":2}\n");
    place.run_well(&[]);
    assert_eq!(std::fs::read_dir(out).unwrap().count(), 2);
    let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reading.md");
    let answer = ask(&json!({"document": document, "directory": place.root.path()}));
    assert_eq!(answer["ran"], json!(["DuckDB", "Polars", "ClickHouse", "pyarrow", "Spark"]));
}
