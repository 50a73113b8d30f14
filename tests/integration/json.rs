//! What counts as a line of JSON: each case stands between two good lines, which must always be there.

use crate::place::{Place, python};
use std::collections::HashMap;

/// Objects that must be accepted, by the grammar of RFC 8259.
const GOOD: [&[u8]; 22] = [
    br#"{}"#,
    b" \t{ } \r",
    br#"{"a":{}}"#,
    br#"{"a":[]}"#,
    br#"{"a":[ ],"b":[[[[]]]]}"#,
    br#"{"":""}"#,
    br#"{"a":0,"b":-0,"c":1.5,"d":1e5,"e":1E-5,"f":-1.25e+10,"g":0.0,"h":0e0}"#,
    br#"{"a":123456789012345678901234567890}"#,
    br#"{"a":1e400}"#,
    br#"{"a":true,"b":false,"c":null}"#,
    br#"{"a":"\"\\\/\b\f\n\r\t\u0000\uFFFF\u00e9"}"#,
    br#"{"a":"\ud83d\ude00","b":"\ud83d","c":"\ude00\ud83d"}"#,
    "{\"a\":\"\u{7f}\u{80}\u{2028}\u{10ffff}\"}".as_bytes(),
    br#"{"a":1,"a":2}"#,
    br#"{"\u0061":1,"a":2}"#,
    br#"{"a" : [ 1 , 2 ] , "b" : { "c" : "d" } }"#,
    br#"{"a":"[{\"}]"}"#,
    br#"{"a":[1,[2,{"b":[3,{"c":"\\"}]}]]}"#,
    b"{\"a\":\"\xff\"}",
    b"{\"a\":\"\xe2\x82\"}",
    b"{\"\xc3\x28\":1}",
    br#"{"a":"long text without any escape at all, longer than sixteen bytes, and then \u0041 one"}"#,
];

/// Lines that must be rejected.
const BAD: [&[u8]; 62] = [
    b"{",
    b"}",
    b"{{}}",
    br#"{"a"}"#,
    br#"{"a":}"#,
    br#"{"a":1,}"#,
    br#"{,"a":1}"#,
    br#"{"a":1,,"b":2}"#,
    br#"{"a" 1}"#,
    br#"{"a"::1}"#,
    br#"{a:1}"#,
    br#"{'a':1}"#,
    br#"{1:1}"#,
    br#"{null:1}"#,
    br#"{"a":1}}"#,
    br#"{"a":1} {"b":2}"#,
    br#"{"a":1}#"#,
    br#"{"a":1}//"#,
    br#"{"a":/**/1}"#,
    br#"{"a":01}"#,
    br#"{"a":-01}"#,
    br#"{"a":+1}"#,
    br#"{"a":.5}"#,
    br#"{"a":1.}"#,
    br#"{"a":1.e5}"#,
    br#"{"a":1e}"#,
    br#"{"a":1e+}"#,
    br#"{"a":-}"#,
    br#"{"a":--1}"#,
    br#"{"a":0x1F}"#,
    br#"{"a":1 000}"#,
    br#"{"a":NaN}"#,
    br#"{"a":Infinity}"#,
    br#"{"a":-Infinity}"#,
    br#"{"a":True}"#,
    br#"{"a":nul}"#,
    br#"{"a":nulll}"#,
    br#"{"a":tru}"#,
    br#"{"a":truefalse}"#,
    br#"{"a":"}"#,
    br#"{"a":"\"}"#,
    br#"{"a":"\x41"}"#,
    br#"{"a":"\u004"}"#,
    br#"{"a":"\u00G1"}"#,
    br#"{"a":"\U0041"}"#,
    br#"{"a":"\'"}"#,
    b"{\"a\":\"\t\"}",
    b"{\"a\":\"\x00\"}",
    b"{\"a\":\"\x1f\"}",
    br#"{"a":[1,]}"#,
    br#"{"a":[,1]}"#,
    br#"{"a":[1 2]}"#,
    br#"{"a":[1}"#,
    br#"{"a":{"b":1]}"#,
    br#"{"a":["}"#,
    b"\xef\xbb\xbf{}",
    b"\x0c{}",
    "{\"a\":1}\u{a0}".as_bytes(),
    b"[]",
    b"\"a\"",
    b"12",
    b"null",
];

#[test]
fn good_objects_are_rows_and_nothing_else_is() {
    let place = Place::new();
    for (number, case) in GOOD.iter().chain(&BAD).enumerate() {
        let content = [b"{\"good\":\"before\"}\n", *case, b"\n{\"good\":\"after\"}\n"].concat();
        place.input(&format!("2025-01-01-{number:03}.ndjson"), content);
    }
    let report = place.run_well(&[]);
    assert_eq!(report["rejected"], BAD.len() as u64);
    let script = "import sys, json, glob, collections, pyarrow.parquet as pq\n\
        lines = collections.defaultdict(list)\n\
        for f in glob.glob(sys.argv[1] + '/merged*/*.parquet'):\n\
        \x20   for row in pq.read_table(f, columns=['_source_file', '_source_line']).to_pylist():\n\
        \x20       lines[int(row['_source_file'][-10:-7])].append(row['_source_line'])\n\
        print(json.dumps({k: sorted(v) for k, v in lines.items()}))";
    let output = python().args(["-c", script]).arg(place.path("out")).output().unwrap();
    let lines: HashMap<String, Vec<u64>> = serde_json::from_slice(&output.stdout).unwrap();
    for number in 0..GOOD.len() + BAD.len() {
        let expected: &[u64] = if number < GOOD.len() { &[1, 2, 3] } else { &[1, 3] };
        assert_eq!(lines[&number.to_string()], expected, "case {number}");
    }
    place.ask_oracle(&[]);
}
