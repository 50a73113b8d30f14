//! Learning of keys from lines, and merging of keys that several scans found.

use crate::defects::ScanError;
use crate::json::{Scanned, scan_fields};
use crate::keys::{KeyIndex, NewKey, Position};
use crate::lossy::{RawPlaces, lossy_line};
use crate::range::FileRange;
use std::collections::HashMap;

/// Adds keys, keeping the first position of each.
pub fn merge_keys(into: &mut HashMap<String, Position>, keys: impl IntoIterator<Item = NewKey>) {
    for NewKey { key, at } in keys {
        let first = into.entry(key).or_insert(at);
        *first = at.min(*first);
    }
}

/// Keys in order of first occurrence.
pub fn in_order(keys: HashMap<String, Position>) -> Vec<NewKey> {
    let mut keys: Vec<_> = keys.into_iter().map(|(key, at)| NewKey { key, at }).collect();
    keys.sort_by(|a, b| (a.at, &a.key).cmp(&(b.at, &b.key)));
    keys
}

/// Learns the keys of whole lines, the first of which is at `offset` of the file's content.
pub fn learn_keys(index: &mut KeyIndex, range: &FileRange, offset: u64, lines: &[u8]) -> Result<(), ScanError> {
    let is_utf8 = simdutf8::basic::from_utf8(lines).is_ok();
    let (mut fields, mut text) = (Vec::new(), Vec::new());
    let mut start = if lines.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while start < lines.len() {
        let newline = start + memchr::memchr(b'\n', &lines[start..]).unwrap_or(lines.len() - start);
        let line = &lines[start..newline];
        text.clear();
        // A line whose text is too long is rejected by the scan.
        let scanned = match is_utf8 {
            true => Some((lines, start, 0, RawPlaces::of_text())),
            false => lossy_line(line, &mut text).map(|_| (&*text, 0, start, RawPlaces::new(line))),
        };
        if let Some((bytes, at, base, mut places)) = scanned
            && let Ok((Scanned::Object, _)) = scan_fields(bytes, at, &mut fields, index)
        {
            let base = offset + base as u64;
            let position = |at| Position { file: range.file, offset: base + places.of(at) };
            index.settle(bytes, &mut fields, &mut 0, position);
            index.check_columns(range)?;
        }
        start = newline + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::ColumnNames;
    use millwork_manifest::Compression;
    use proptest::prelude::*;

    #[test]
    fn keys_after_invalid_bytes_are_where_they_stand() {
        let lines = [b"{\"a\":\"".as_slice(), &[0xff; 100], b"\",\"z\":1}\n{\"b\":1}\n"].concat();
        let range = FileRange {
            file: 0,
            uri: "file:///2025-12-23-a.ndjson".parse().unwrap(),
            inside: None,
            etag: String::new(),
            size_bytes: lines.len() as u64,
            start: 0,
            end: lines.len() as u64,
            compression: Compression::None,
            lines_before: 0,
        };
        let mut index = KeyIndex::learning(ColumnNames::Exact);
        learn_keys(&mut index, &range, 0, &lines).unwrap();
        let mut keys = HashMap::new();
        merge_keys(&mut keys, index.seen_keys());
        let found: Vec<_> = in_order(keys).into_iter().map(|new| (new.key, new.at.offset)).collect();
        assert_eq!(found, [("a".to_owned(), 2), ("z".to_owned(), 109), ("b".to_owned(), 117)]);
    }

    proptest! {
        #[test]
        fn first_places_order_the_columns(places in prop::collection::vec((0u32..5, 0u64..100), 1..30)) {
            let mut keys = HashMap::new();
            let new = |(i, (file, offset)): (usize, &(u32, u64))| {
                NewKey { key: format!("k{}", i % 7), at: Position { file: *file, offset: *offset } }
            };
            merge_keys(&mut keys, places.iter().enumerate().map(new));
            let ordered = in_order(keys);
            prop_assert!(ordered.windows(2).all(|pair| pair[0].at <= pair[1].at));
        }
    }
}
