//! Columns by the keys of lines, in the order in which they came first.

use millwork_manifest::Failure;
use millwork_ndjson::{
    BOM, Blocks, ColumnLayout, ColumnNames, Content, FileRange, InputError, KeyIndex, Limits, MAX_COLUMNS,
    METADATA_COLUMNS, NewKey, Next, OtherFormat, Position, Words, check_columns, failure_of_scan, in_order, learn_keys,
    merge_keys, open_range,
};
use millwork_parquet_text::footer::Place;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

/// The columns that an attempt is planned with, and where each came first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<NewKey>);

impl Columns {
    /// The columns of these keys, in order of first appearance, if there are not too many of them for the manifest with these
    /// files.
    pub(super) fn of(keys: HashMap<String, Position>, files: &[(String, u64)]) -> Result<Self, Failure> {
        let keys = in_order(keys);
        let uri = || {
            let last = keys.get(MAX_COLUMNS).or(keys.last());
            last.and_then(|last| files.get(last.at.file as usize)).map(|(uri, _)| uri.clone()).unwrap_or_default()
        };
        let checked = check_columns(keys.len(), keys.iter().map(|new| new.key.len()).sum(), uri);
        checked.map_err(|e| failure_of_scan(&e)).map(|()| Self(keys))
    }

    pub(crate) fn layout(&self) -> ColumnLayout {
        ColumnLayout::new(self.0.iter().map(|new| new.key.clone()).collect())
    }

    /// The columns of a manifest with these files, with what the tasks of an attempt found.
    pub(crate) fn after(
        &self,
        first_seen: impl Iterator<Item = (usize, Position)>,
        new_keys: impl Iterator<Item = NewKey>,
        files: &[(String, u64)],
    ) -> Result<Self, Failure> {
        let mut keys: HashMap<String, Position> = self.0.iter().map(|new| (new.key.clone(), new.at)).collect();
        let seen =
            first_seen.filter_map(|(column, at)| self.0.get(column).map(|new| NewKey { key: new.key.clone(), at }));
        merge_keys(&mut keys, seen);
        merge_keys(&mut keys, new_keys);
        Self::of(keys, files)
    }

    /// Tells whether a file of these columns can be made one of the settled columns: whatever turned up, none gets another name,
    /// and the first stays the first. Spark goes by where the first column of a row group stands, which must be at its start.
    pub(crate) fn can_become(&self, settled: &Self) -> bool {
        let (old, new) = (self.layout(), settled.layout());
        if old.keys.first() != new.keys.first() {
            return false;
        }
        let old: HashMap<&String, &String> = old.keys.iter().zip(&old.names).collect();
        new.keys.iter().zip(&new.names).all(|(key, name)| *old.get(key).unwrap_or(&key) == name)
    }

    /// Finds the places of the settled columns in a file that has these, the metadata, then some that turned up.
    pub(crate) fn places_of(&self, settled: &Self, late: &[String]) -> Vec<Place> {
        let names = self.names();
        let metadata = names.len()..names.len() + METADATA_COLUMNS.len();
        let known = names.iter().zip(0..).chain(late.iter().zip(metadata.end..));
        let at: HashMap<&str, usize> = known.map(|(name, place)| (name.as_str(), place)).collect();
        let place = |name: String| at.get(name.as_str()).map_or(Place::Nowhere(name), |at| Place::At(*at));
        settled.names().into_iter().map(place).chain(metadata.map(Place::At)).collect()
    }

    /// The names, in order.
    pub fn names(&self) -> Vec<String> {
        self.layout().names
    }

    /// The keys that got another name, since theirs is a metadata column's.
    pub fn renamed(&self) -> Vec<(String, String)> {
        self.layout().renamed().map(|(key, name)| (key.to_owned(), name.to_owned())).collect()
    }
}

/// Limit of the pairs of names that are told of, 20: one shows what is the matter.
const MAX_TWINS: usize = 20;

impl Columns {
    /// Names of columns that differ from an earlier one's in case only, metadata columns included, each with that one: readers that do not tell
    /// cases apart take them for one column.
    pub fn twins(&self) -> Vec<(String, String)> {
        let mut first: HashMap<String, String> = HashMap::new();
        let metadata = METADATA_COLUMNS.iter().map(|name| (*name).to_owned());
        let twin = |name: String| match first.entry(name.to_lowercase()) {
            Entry::Occupied(there) => Some((name, there.get().clone())),
            Entry::Vacant(none) => {
                none.insert(name);
                None
            }
        };
        metadata.chain(self.names()).filter_map(twin).take(MAX_TWINS).collect()
    }
}

/// The keys of every line of some ranges.
pub(super) fn keys_of(
    ranges: &[FileRange],
    (names, wanted): (ColumnNames, Option<Words>),
    limits: &Limits,
) -> Result<Vec<NewKey>, Failure> {
    let fail = |e: InputError| failure_of_scan(&e.into());
    let mut index = KeyIndex::learning(names).only(wanted);
    for range in ranges {
        let input = open_range(range, limits).map_err(fail)?;
        let mut blocks = Blocks::new(input, range.start);
        loop {
            let next = blocks.advance().map_err(|e| fail(blocks.input().explain(e)))?;
            let is_start = range.start == 0 && blocks.offset() <= BOM.len() as u64;
            match next {
                Next::End => break,
                _ if is_start && OtherFormat::of(blocks.start()).is_some() => break,
                Next::Lines => {
                    learn_keys(&mut index, range, blocks.offset(), blocks.lines()).map_err(|e| failure_of_scan(&e))?
                }
                Next::LongLine => {
                    let skipped = blocks.skip_long_line(|_| Ok::<_, io::Error>(()));
                    skipped.map_err(|e| fail(blocks.input().explain(e)))?;
                }
            }
        }
    }
    Ok(index.seen_keys().collect())
}
