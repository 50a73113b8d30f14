//! Columns, derived from the keys of lines in the order of their first occurrence.

use millwork_manifest::Failure;
use millwork_ndjson::{
    BOM, Blocks, ColumnLayout, ColumnNames, Content, FileRange, InputError, KeyIndex, Limits, MAX_COLUMNS,
    METADATA_COLUMNS, NewKey, Next, OtherFormat, Position, Words, check_columns, failure_of_scan, in_order, learn_keys,
    merge_keys, open_range,
};
use millwork_parquet_text::footer::Place;
use millwork_storage::Storage;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;

/// Columns that an attempt is planned with, and the position of the first occurrence of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<NewKey>);

impl Columns {
    /// Columns for these keys, in order of first occurrence. Fails if there are too many for one manifest.
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

    /// Columns of a manifest after its tasks have reported: those of the plan, merged with the keys that the tasks
    /// found.
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

    /// Tells whether a file of these columns can be changed to the settled ones without rewriting data: no column may
    /// be renamed, and the first must stay the first, since Spark takes the start of a row group from its first column.
    pub(crate) fn can_become(&self, settled: &Self) -> bool {
        let (old, new) = (self.layout(), settled.layout());
        if old.keys.first() != new.keys.first() {
            return false;
        }
        let old: HashMap<&String, &String> = old.keys.iter().zip(&old.names).collect();
        new.keys.iter().zip(&new.names).all(|(key, name)| *old.get(key).unwrap_or(&key) == name)
    }

    /// Source of each settled column in a file that has these columns, then the metadata columns, then the added ones.
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

    /// Keys that were renamed because a metadata column has their name.
    pub fn renamed(&self) -> Vec<(String, String)> {
        self.layout().renamed().map(|(key, name)| (key.to_owned(), name.to_owned())).collect()
    }
}

/// Limit of the name pairs in a message, 20: one pair is enough to show the problem.
const MAX_TWINS: usize = 20;

impl Columns {
    /// Names that differ from an earlier column's only in case, metadata columns included, each with the earlier name:
    /// readers that ignore case would confuse them.
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

/// The keys of every line of these ranges.
pub(super) fn keys_of(
    storage: &Storage,
    ranges: &[FileRange],
    (names, wanted): (ColumnNames, Option<Words>),
    limits: &Limits,
) -> Result<Vec<NewKey>, Failure> {
    let fail = |e: InputError| failure_of_scan(&e.into());
    let mut index = KeyIndex::learning(names).only(wanted);
    for range in ranges {
        let input = open_range(storage, range, limits).map_err(fail)?;
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
