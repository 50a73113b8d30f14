//! Which column a key belongs to, without hashing where keys come in the usual order.

use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// How keys become column names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ColumnNames {
    /// As they are: names that differ only in case are different columns.
    #[default]
    Exact,
    /// In lower case, so that such names are one column, as AWS Glue has it.
    Lower,
}

impl ColumnNames {
    /// What two keys of one column have in common.
    pub(crate) fn normalize(self, key: &str) -> String {
        match self {
            Self::Exact => key.to_owned(),
            Self::Lower => key.to_lowercase(),
        }
    }
}

impl std::str::FromStr for ColumnNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "exact" => Ok(Self::Exact),
            "lower" => Ok(Self::Lower),
            _ => Err(format!("`{text}` is neither `exact` nor `lower`")),
        }
    }
}

/// A place in a manifest's input: the file's index and the byte offset in its decompressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Position {
    pub(crate) file: u32,
    pub(crate) offset: u64,
}

/// A key that the plan has no column for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NewKey {
    pub(crate) key: String,
    pub(crate) at: Position,
}

/// A key as it is spelt in the input.
struct Spelling {
    key: Box<[u8]>,
    column: u32,
    was_seen: bool,
    /// The two spellings that came after this one last.
    next: [u32; 2],
}

/// From keys to columns, for the columns of one plan.
pub(crate) struct KeyIndex {
    names: ColumnNames,
    columns: HashMap<String, u32>,
    spellings: Vec<Spelling>,
    by_spelling: HashMap<Box<[u8]>, u32>,
    /// The two spellings that lines started with last.
    first: [u32; 2],
    first_seen: Vec<Option<Position>>,
    new_keys: HashMap<String, Position>,
    /// Whether an unknown key becomes a column at once.
    learns: bool,
}

/// Where in a line's keys a look-up stands: the spelling before.
#[derive(Clone, Copy)]
pub(crate) struct Cursor(u32);

const START: u32 = u32::MAX;

impl Cursor {
    pub(crate) const LINE_START: Self = Self(START);
}

impl KeyIndex {
    /// An index over the plan's columns, named by their normalized keys.
    pub(crate) fn new(keys: &[String], names: ColumnNames) -> Self {
        let mut index = Self {
            names,
            columns: keys.iter().zip(0..).map(|(key, column)| (key.clone(), column)).collect(),
            spellings: Vec::with_capacity(keys.len()),
            by_spelling: HashMap::with_capacity(keys.len()),
            first: [0; 2],
            first_seen: vec![None; keys.len()],
            new_keys: HashMap::new(),
            learns: false,
        };
        for (key, column) in keys.iter().zip(0..) {
            index.add_spelling(key.as_bytes(), column);
        }
        index
    }

    /// An index without columns that makes one of every key it meets.
    pub(crate) fn learning(names: ColumnNames) -> Self {
        Self { learns: true, ..Self::new(&[], names) }
    }

    fn add_spelling(&mut self, key: &[u8], column: u32) -> u32 {
        let slot = self.spellings.len() as u32;
        let next = slot + 1;
        self.spellings.push(Spelling { key: key.into(), column, was_seen: false, next: [next; 2] });
        self.by_spelling.insert(key.into(), slot);
        slot
    }

    /// The column of `key`, which stands at `at`; none if the plan has no such column, which is noted.
    #[inline(always)]
    pub(crate) fn column(&mut self, cursor: &mut Cursor, key: &[u8], at: Position) -> Option<u32> {
        let guesses = match cursor.0 {
            START => self.first,
            slot => self.spellings[slot as usize].next,
        };
        let is = |slot: u32| self.spellings.get(slot as usize).is_some_and(|s| *s.key == *key);
        let slot = if is(guesses[0]) {
            guesses[0]
        } else {
            let slot = if is(guesses[1]) { guesses[1] } else { self.look_up(key, at)? };
            let after = match cursor.0 {
                START => &mut self.first,
                before => &mut self.spellings[before as usize].next,
            };
            *after = [slot, guesses[0]];
            slot
        };
        cursor.0 = slot;
        let spelling = &mut self.spellings[slot as usize];
        if !spelling.was_seen {
            spelling.was_seen = true;
            let first = &mut self.first_seen[spelling.column as usize];
            *first = Some(first.map_or(at, |seen| seen.min(at)));
        }
        Some(spelling.column)
    }

    #[inline(never)]
    fn look_up(&mut self, key: &[u8], at: Position) -> Option<u32> {
        if let Some(slot) = self.by_spelling.get(key) {
            return Some(*slot);
        }
        let normalized = self.names.normalize(&String::from_utf8_lossy(key));
        match self.columns.get(&normalized) {
            Some(column) => Some(self.add_spelling(key, *column)),
            None if self.learns => {
                let column = self.columns.len() as u32;
                self.columns.insert(normalized, column);
                self.first_seen.push(None);
                Some(self.add_spelling(key, column))
            }
            None => {
                let first = self.new_keys.entry(normalized).or_insert(at);
                *first = at.min(*first);
                None
            }
        }
    }

    /// Whether a key came that the plan has no column for.
    pub(crate) fn has_new_keys(&self) -> bool {
        !self.new_keys.is_empty()
    }

    /// How many columns the plan would have with the new keys.
    pub(crate) fn column_count(&self) -> usize {
        self.columns.len() + self.new_keys.len()
    }

    /// The keys the plan has no column for.
    pub(crate) fn new_keys(&self) -> Vec<NewKey> {
        let mut keys: Vec<_> = self.new_keys.iter().map(|(key, at)| NewKey { key: key.clone(), at: *at }).collect();
        keys.sort_by_key(|new| new.at);
        keys
    }

    /// Every column's key that came, and where it came first.
    pub(crate) fn seen_keys(&self) -> impl Iterator<Item = NewKey> {
        let seen = |(key, column): (&String, &u32)| {
            self.first_seen.get(*column as usize).copied().flatten().map(|at| NewKey { key: key.clone(), at })
        };
        self.columns.iter().filter_map(seen)
    }

    /// Where each column's key came first, by column.
    pub(crate) fn first_seen(&self) -> &[Option<Position>] {
        &self.first_seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: u64) -> Position {
        Position { file: 0, offset }
    }

    #[test]
    fn keys_are_found_in_any_order() {
        let keys = ["a", "b", "c"].map(String::from);
        let mut index = KeyIndex::new(&keys, ColumnNames::Exact);
        for line in ["abc", "cab", "ac", "bca", "abc"] {
            let mut cursor = Cursor::LINE_START;
            for key in line.chars() {
                let column = index.column(&mut cursor, key.to_string().as_bytes(), at(0));
                assert_eq!(column, Some(u32::from(key) - u32::from('a')), "{line}");
            }
        }
    }

    #[test]
    fn new_keys_and_first_places_are_noted() {
        let mut index = KeyIndex::new(&["a".to_owned(), "b".to_owned()], ColumnNames::Exact);
        let mut cursor = Cursor::LINE_START;
        assert_eq!(index.column(&mut cursor, b"z", at(7)), None);
        assert_eq!(index.column(&mut cursor, b"b", at(9)), Some(1));
        assert_eq!(index.column(&mut cursor, b"b", at(19)), Some(1));
        assert_eq!(index.column(&mut cursor, b"A", at(29)), None);
        assert_eq!(index.first_seen(), [None, Some(at(9))]);
        let new: Vec<_> = index.new_keys().into_iter().map(|k| k.key).collect();
        assert_eq!(new, ["z", "A"]);
    }

    #[test]
    fn lower_merges_spellings() {
        let mut index = KeyIndex::new(&["straße".to_owned()], ColumnNames::Lower);
        let mut cursor = Cursor::LINE_START;
        for key in ["straße", "STRAßE", "Straße"] {
            assert_eq!(index.column(&mut cursor, key.as_bytes(), at(3)), Some(0));
        }
        assert!(!index.has_new_keys());
    }
}
