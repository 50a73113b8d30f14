//! Comparison of the scanner with `serde_json`, and tests of its limits.

use super::*;
use proptest::prelude::*;
use serde::de::IgnoredAny;
use std::collections::BTreeMap;

fn scan(line: &str) -> Result<Vec<(String, String, ValueKind)>, Defect> {
    let bytes = [line.as_bytes(), b"\n"].concat();
    let mut fields = Vec::new();
    let (_, end) = scan_line(&bytes, 0, &mut fields)?;
    assert_eq!(end, line.len());
    let text = |start: u32, end: u32| String::from_utf8(bytes[start as usize..end as usize].to_vec()).unwrap();
    Ok(fields.iter().map(|f| (text(f.key_start, f.key_end), text(f.start, f.end), f.kind)).collect())
}

#[test]
fn every_kind_of_value_keeps_its_text() {
    let line = r#" {"a" : "x" ,"b":1.0,"c": -0.0e+10 ,"d":null,"e":[1, {"f":"]"}],"g":{ },"h":"\u00e9\"","i":true}  "#;
    let fields = scan(line).unwrap();
    let values: Vec<_> = fields.iter().map(|(k, v, _)| (k.as_str(), v.as_str())).collect();
    let expected = [
        ("a", "x"),
        ("b", "1.0"),
        ("c", "-0.0e+10"),
        ("d", "null"),
        ("e", r#"[1, {"f":"]"}]"#),
        ("g", "{ }"),
        ("h", r#"\u00e9\""#),
        ("i", "true"),
    ];
    assert_eq!(values, expected);
    assert_eq!(fields[3].2, ValueKind::Null);
    assert_eq!(fields[6].2, ValueKind::Escaped);
}

#[test]
fn what_is_not_an_object_is_told_apart_from_what_is_not_json() {
    for line in ["[]", "1", "null", r#""x""#, " [1, 2] "] {
        assert!(matches!(scan(line), Err(Defect::NotAnObject(_))), "{line}");
    }
    for line in ["[1", "nul", "{", "x", r#"{"a":1}x"#, r#"{"a":1}{"b":2}"#, "[] x"] {
        assert!(matches!(scan(line), Err(Defect::Malformed(..))), "{line}");
    }
}

#[test]
fn nesting_is_limited() {
    let nested = |n: usize| format!(r#"{{"a":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert!(scan(&nested(127)).is_ok());
    assert!(matches!(scan(&nested(128)), Err(Defect::TooDeep(_))));
    assert!(matches!(scan(&"[".repeat(100_000)), Err(Defect::TooDeep(_))));
}

#[test]
fn a_line_has_no_more_fields_than_the_limit_and_no_more_room_for_them() {
    let line = |count: usize| format!("{{{}}}\n", vec!["\"\":1"; count].join(","));
    let mut fields = Vec::new();
    for count in [1, MAX_FIELDS - 1, MAX_FIELDS] {
        assert!(scan_line(line(count).as_bytes(), 0, &mut fields).is_ok());
        assert!(fields.len() == count && fields.capacity() <= MAX_FIELDS, "{}", fields.capacity());
    }
    // Tested with memory already reserved, and after memory was freed.
    for spare in [MAX_FIELDS, 1 << 16, 0] {
        fields.clear();
        fields.shrink_to(spare);
        let refused = scan_line(line(MAX_FIELDS + 1).as_bytes(), 0, &mut fields);
        assert_eq!(refused, Err(Defect::TooManyKeys(1 + MAX_FIELDS * 5)));
        assert!(fields.capacity() <= MAX_FIELDS);
    }
    // Fields of nested objects are not counted.
    assert!(
        scan_line(format!("{{\"a\":{}", line(MAX_FIELDS + 1)).replace("}\n", "}}\n").as_bytes(), 0, &mut fields)
            .is_ok()
    );
}

#[test]
fn a_key_is_no_longer_than_the_limit_once_it_is_unescaped() {
    let refused = |key: &str| {
        let line = format!("{{\"a\":1,\"{key}\" :2}}\n");
        match scan_line(line.as_bytes(), 0, &mut Vec::new()) {
            Ok(_) => false,
            Err(defect) => defect == Defect::KeyTooLong(7, key.len()) || panic!("{defect:?}"),
        }
    };
    for piece in ["k", "é", "\\n", "\\u0041", "\\u00e9", "\\ud800", "\\ud83d\\ude00"] {
        let mut text = Vec::new();
        super::super::unescape::unescape(piece.as_bytes(), &mut text);
        let most = MAX_KEY_BYTES / text.len();
        assert!(!refused(&piece.repeat(most)), "{piece}");
        assert!(refused(&(piece.repeat(most) + &"x".repeat(MAX_KEY_BYTES % text.len() + 1))), "{piece}");
        assert!(refused(&piece.repeat(40 * most)), "{piece}");
    }
    // A nested key is part of a value.
    let nested = format!("{{\"a\":{{\"{}\":1}}}}\n", "k".repeat(MAX_KEY_BYTES + 1));
    assert!(scan_line(nested.as_bytes(), 0, &mut Vec::new()).is_ok());
}

/// Checks that a line is accepted exactly when `serde_json` reads it as an object.
fn agrees_with_serde(line: &str) {
    let is_blank = line.chars().all(|c| " \t\r".contains(c));
    let oracle = serde_json::from_str::<BTreeMap<String, IgnoredAny>>(line);
    let ours = scan(line);
    assert_eq!(ours.is_ok(), oracle.is_ok() || is_blank, "{line:?}: {ours:?} {oracle:?}");
}

#[test]
fn digits_are_skipped_alike_one_by_one_and_eight_at_once() {
    for count in 0..40 {
        for after in [",", "}", "e5", ":", "é", "\n", "/", "\u{0}", "\u{fffd}12345678"] {
            let text = ["7".repeat(count), after.to_owned(), " ".repeat(count % 3 * 8), "\n".to_owned()].concat();
            assert_eq!(skip_many_digits(text.as_bytes(), 0), skip_digits(text.as_bytes(), 0), "{text:?}");
        }
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,20})?([eE][+-]?[0-9]{1,2})?",
        "\"([a-z é\u{1F600}]|\\\\[\"\\\\/bfnrt]|\\\\u00[0-9a-fA-F]{2}){0,24}\"",
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        let key = "\"[a-z]{0,20}\"";
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" , "))),
            prop::collection::vec((key, inner), 0..5).prop_map(|v| {
                let members: Vec<_> = v.into_iter().map(|(k, v)| format!("{k}: {v}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn valid_documents_agree_with_serde_json(line in json()) {
        agrees_with_serde(&line);
    }

    #[test]
    fn damaged_documents_agree_with_serde_json(line in json(), at in any::<prop::sample::Index>(), with in "[\\x00-\\x09\\x0b-\\x7f]{0,2}") {
        let mut chars: Vec<char> = line.chars().collect();
        let at = at.index(chars.len());
        chars.splice(at..at + 1, with.chars());
        agrees_with_serde(&chars.into_iter().collect::<String>());
    }

    #[test]
    fn long_arrays_agree_with_serde_json(
        numbers in prop::collection::vec("-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,9})?([eE][+-]?[0-9]{1,2})?", 20..150),
        separators in prop::collection::vec(0..60usize, 150),
        (at, with) in (any::<prop::sample::Index>(), "[-0-9.,eE+ x\\[\"\t]{0,2}"),
    ) {
        let separator = |number: &usize| [", ", ",  ", ",\t", ",\r", " ,", " , ", ", \t"].get(*number).unwrap_or(&",");
        let elements: Vec<_> = numbers.iter().zip(&separators).flat_map(|(n, s)| [n.as_str(), separator(s)]).collect();
        let mut line = format!("{{\"a\":[{}7]}}", elements.concat());
        prop_assert!(scan(&line).is_ok(), "{line:?}");
        let at = at.index(line.len());
        line.replace_range(at..at + 1, &with);
        agrees_with_serde(&line);
    }

    #[test]
    fn noise_agrees_with_serde_json(line in "[\\[\\]{}\":,0-9a-z\\\\ .eE+-]{0,40}") {
        agrees_with_serde(&line);
    }
}
