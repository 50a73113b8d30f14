//! Comparison of the scanner with `serde_json`, on realistic lines with random damage, for `MILLWORK_FUZZ_SECONDS`
//! (default 1).

#[path = "../benches/lines/mod.rs"]
mod lines;

use super::json::{Defect, Field, Keys, Scanned, ValueKind, scan_fields, scan_line};
use super::keys::{KeyIndex, Position};
use super::names::ColumnNames;
use super::unescape::unescape;
use fastrand::Rng;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Pieces of which lines are made: everything with a meaning in JSON, and some text without.
const PIECES: [&str; 40] = [
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\",
    "\\\"",
    "\\u00e9",
    "\\ud83d\\ude00",
    "\\u12",
    "\\x",
    "\\n",
    "null",
    "nul",
    "true",
    "false",
    "0",
    "00",
    "-",
    "-0",
    "1.",
    ".5",
    "1e",
    "1E+7",
    "-12.50",
    " ",
    "\t",
    "\r",
    "\u{1}",
    "\u{7f}",
    "é",
    "🚀",
    "\"\":",
    "{}",
    "[]",
    ",\"id\":1",
    "\"id\" : null",
    "[[[{\"a\":[]}]]]",
];

fn damaged(mut line: String, rng: &mut Rng) -> String {
    for _ in 0..rng.u8(..4) {
        let place = |rng: &mut Rng, line: &str| {
            let mut at = rng.usize(..=line.len());
            while !line.is_char_boundary(at) {
                at -= 1;
            }
            at
        };
        let (a, b) = (place(rng, &line), place(rng, &line));
        let near = line.char_indices().map(|(at, _)| at).find(|at| *at > a).unwrap_or(a);
        match rng.u8(..8) {
            0 => line.truncate(a),
            1 => line.replace_range(a.min(b)..a.max(b), ""),
            2 => line = [&line[..a.max(b)], &line[a.min(b)..]].concat(),
            3 | 4 => line.replace_range(a..near, ""),
            5 => line.replace_range(a..near, PIECES[rng.usize(..PIECES.len())]),
            _ => line.insert_str(a, PIECES[rng.usize(..PIECES.len())]),
        }
    }
    line
}

/// A short line, whose meaning random damage is more likely to change.
fn short(rng: &mut Rng) -> String {
    let pieces: String = (0..rng.u8(..12)).map(|_| PIECES[rng.usize(..PIECES.len())]).collect();
    if rng.bool() { pieces } else { format!("{{\"id\":{pieces}}}") }
}

fn unescaped(source: &[u8]) -> String {
    let mut text = Vec::new();
    unescape(source, &mut text);
    String::from_utf8(text).unwrap()
}

fn value_of(field: &Field, source: &[u8]) -> Value {
    let value = match field.kind {
        ValueKind::Text => Some(Value::String(String::from_utf8(source.to_vec()).unwrap())),
        ValueKind::Escaped => Some(Value::String(unescaped(source))),
        ValueKind::Null | ValueKind::Verbatim => serde_json::from_slice(source).ok(),
    };
    assert_eq!(field.kind == ValueKind::Null, value == Some(Value::Null) && source == b"null");
    value.unwrap_or_default()
}

/// Tells whether a line has lone surrogates, which `serde_json` refuses and the scanner replaces.
fn has_surrogates(line: &str) -> bool {
    line.contains("\\ud") || line.contains("\\uD")
}

struct Checker {
    keys: KeyIndex,
    columns: HashMap<String, u32>,
    accepted: u64,
}

impl Checker {
    /// Compares the judgement of a line with that of `serde_json`. Returns false if it is refused.
    fn judge(&mut self, line: &str, scanned: &Result<(Scanned, usize), Defect>) -> bool {
        let oracle = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line);
        match scanned {
            Ok((Scanned::Blank, at)) => assert!(*at == line.len() && line.trim_matches([' ', '\t', '\r']).is_empty()),
            Ok((Scanned::Object, at)) => {
                assert!(*at == line.len() && (oracle.is_ok() || has_surrogates(line)), "{line:?}: {oracle:?}");
                self.accepted += 1;
            }
            Err(_) => assert!(oracle.is_err(), "{line:?}: {scanned:?}"),
        }
        scanned.is_ok()
    }

    fn check(&mut self, line: &str) {
        let bytes = [line.as_bytes(), b"\n"].concat();
        let (mut fields, mut expected) = (Vec::new(), Vec::new());
        let plain = scan_line(&bytes, 0, &mut expected);
        let scanned = scan_fields(&bytes, 0, &mut fields, &mut self.keys);
        assert_eq!(scanned, plain, "{line:?}");
        if !self.judge(line, &scanned) {
            return;
        }
        self.keys.settle(&bytes, &mut fields, &mut 0, |at| Position { file: 0, offset: u64::from(at) });
        let mut values = Map::new();
        for (mut field, plain) in fields.into_iter().zip(expected) {
            let key = unescaped(&bytes[field.key_start as usize..field.key_end as usize]);
            assert_ne!(field.spelling, KeyIndex::UNKNOWN);
            let column = self.keys.column(&field);
            assert_eq!(*self.columns.entry(key.clone()).or_insert(column), column, "{line:?}: {key}");
            values.insert(key, value_of(&field, &bytes[field.start as usize..field.end as usize]));
            field.spelling = plain.spelling;
            assert_eq!(field, plain);
        }
        // Numbers beyond the range of a double are refused by `serde_json`.
        if let Ok(expected) = serde_json::from_str::<Map<String, Value>>(line) {
            assert_eq!(values, expected, "{line:?}");
        }
    }
}

#[test]
fn damaged_lines_are_judged_and_read_as_serde_json_does() {
    let seconds = std::env::var("MILLWORK_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let mut seed = 0;
    let (start, limit) = (Instant::now(), Duration::from_secs(seconds));
    let mut lines_checked = 0u64;
    let mut accepted = 0;
    while start.elapsed() < limit {
        seed += 1;
        let rng = &mut Rng::with_seed(seed);
        let mut checker =
            Checker { keys: KeyIndex::learning(ColumnNames::Exact), columns: HashMap::new(), accepted: 0 };
        for _ in 0..200 {
            let line = match rng.u8(..20) {
                0 => lines::line("wide", rng),
                1 => lines::line("text", rng),
                2 => lines::line("arrays", rng),
                3..5 => lines::line("events", rng),
                _ => short(rng),
            };
            checker.check(&damaged(line, rng));
            lines_checked += 1;
        }
        accepted += checker.accepted;
    }
    assert!(accepted > 20, "of {lines_checked} lines {accepted} are objects");
    println!("{lines_checked} lines, {accepted} of them objects");
}
