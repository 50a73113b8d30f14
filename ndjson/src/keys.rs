//! Index from keys to columns, which needs no hashing while keys come in the usual order.

mod spelling;

use super::columns::{METADATA_COLUMNS, check_columns};
use super::defects::ScanError;
use super::json::{Field, Keys};
use super::unescape::unescape;
use crate::compare::same;
use crate::limits::{MAX_COLUMNS, MAX_NAME_BYTES};
use crate::names::{ColumnNames, Words};
use crate::range::FileRange;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use serde::{Deserialize, Serialize};
use spelling::{Spelling, Token};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::BuildHasher;

/// Limit of the spellings of keys that are compared directly.
const MAX_SPELLINGS: usize = 4 * MAX_COLUMNS;

/// Position in a manifest's input: index of the file, and byte offset in its decompressed content.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    pub file: u32,
    pub offset: u64,
}

/// A key without a column in the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    pub key: String,
    pub at: Position,
}

/// Index from keys to columns of one plan.
pub struct KeyIndex {
    names: ColumnNames,
    /// A spelling of each column's key.
    columns: HashMap<String, u32>,
    spellings: Vec<Spelling>,
    /// Column of each spelling.
    column_of: Vec<u32>,
    /// Spellings by a fast hash, with a random seed and a limited number of keys against collision attacks.
    by_spelling: HashTable<u32>,
    hashes: RandomState,
    /// The two spellings with which the last lines started.
    first: [u32; 2],
    first_seen: Vec<Option<Position>>,
    /// Number of columns in the plan, and the keys of columns added after them.
    planned: usize,
    late: Vec<String>,
    /// Limit of the columns up to which unknown keys become columns at once.
    max_columns: usize,
    /// Keys to be learnt; `None` for all.
    wanted: Option<Words>,
    /// Column for keys that the query does not use, after all others.
    ignored: Option<u32>,
    /// Keys without a column.
    new_keys: HashMap<String, Position>,
    /// Total bytes of the keys, with and without a column.
    key_bytes: usize,
    /// Previous spelling in the current line, and whether the line has a key that is unknown or new.
    before: u32,
    has_news: bool,
    /// True if the last key that was searched was among the next few expected.
    is_in_order: bool,
}

/// Tells whether the column of a key is renamed, so that a query uses another name for it.
fn is_metadata(key: &str) -> bool {
    METADATA_COLUMNS.contains(&key)
}

const START: u32 = u32::MAX;
/// Number of spellings after the last one that are tried before a hash lookup, while this succeeds: in a fixed order of
/// keys, some may be absent.
const NEAR: u32 = 4;

impl Keys for KeyIndex {
    #[inline(always)]
    fn start_line(&mut self) {
        (self.before, self.has_news) = (START, false);
    }

    #[inline(always)]
    fn expect(&mut self, bytes: &[u8], at: usize) -> Option<(u32, usize)> {
        let [first, second] = self.guesses();
        let is = |slot: u32| {
            let token = self.spellings.get(slot as usize).map(|spelling| &spelling.token);
            token.filter(|token| token.stands_at(bytes, at)).map(|token| at + token.length)
        };
        if let Some(after) = is(first) {
            self.before = first;
            return Some((first, after));
        }
        let after = is(second)?;
        self.came(second);
        Some((second, after))
    }

    fn find(&mut self, key: &[u8], is_escaped: bool) -> u32 {
        let next = self.before.wrapping_add(1);
        let mut near = next..next.saturating_add(NEAR);
        let is = |slot: &u32| self.spellings.get(*slot as usize).is_some_and(|spelling| same(&spelling.key, key));
        let known = if self.is_in_order { near.find(is) } else { None };
        match known.or_else(|| self.spelling(key)).filter(|_| !is_escaped) {
            Some(slot) => {
                self.is_in_order = slot.wrapping_sub(next) < NEAR;
                self.has_news |= !self.spellings[slot as usize].has_come;
                self.came(slot);
                slot
            }
            None => {
                self.has_news = true;
                Self::UNKNOWN
            }
        }
    }
}

impl KeyIndex {
    /// Creates an index for the plan's columns, given by their normalized keys.
    pub fn new(keys: &[String], names: ColumnNames) -> Self {
        let mut index = Self {
            names,
            columns: keys.iter().zip(0..).map(|(key, column)| (key.clone(), column)).collect(),
            spellings: Vec::with_capacity(keys.len()),
            column_of: Vec::with_capacity(keys.len()),
            by_spelling: HashTable::with_capacity(keys.len()),
            hashes: RandomState::default(),
            first: [0; 2],
            first_seen: vec![None; keys.len()],
            planned: keys.len(),
            late: Vec::new(),
            max_columns: keys.len(),
            wanted: None,
            ignored: None,
            new_keys: HashMap::new(),
            key_bytes: keys.iter().map(String::len).sum(),
            before: START,
            has_news: false,
            is_in_order: false,
        };
        for (key, column) in keys.iter().zip(0..) {
            index.add_spelling(key.as_bytes(), column);
        }
        index
    }

    /// Creates an index without columns, which adds one for every key.
    pub fn learning(names: ColumnNames) -> Self {
        Self { max_columns: usize::MAX, ..Self::new(&[], names) }
    }

    /// Lets up to `most` unknown keys become columns.
    pub fn with_late(self, most: usize) -> Self {
        Self { max_columns: self.planned.saturating_add(most).min(MAX_COLUMNS), ..self }
    }

    /// Restricts learning to these keys, if they are given.
    pub fn only(self, wanted: Option<Words>) -> Self {
        Self { wanted, ..self }
    }

    /// Ignores keys without a column. No keys become columns then.
    pub fn ignoring_others(mut self) -> Self {
        self.ignored = Some(self.planned as u32);
        self.first_seen.push(None);
        Self { max_columns: self.planned, ..self }
    }

    fn add_spelling(&mut self, key: &[u8], column: u32) -> u32 {
        let slot = self.spellings.len() as u32;
        self.spellings.push(Spelling { token: Token::NONE, has_come: false, key: key.into(), next: [slot + 1; 2] });
        self.column_of.push(column);
        let Self { by_spelling, spellings, hashes, .. } = self;
        by_spelling.insert_unique(hashes.hash_one(key), slot, |slot| hashes.hash_one(&*spellings[*slot as usize].key));
        slot
    }

    /// The number of a spelling, if it is known.
    #[inline(always)]
    fn spelling(&self, key: &[u8]) -> Option<u32> {
        let is = |slot: &u32| same(&self.spellings[*slot as usize].key, key);
        self.by_spelling.find(self.hashes.hash_one(key), is).copied()
    }

    /// The two most likely next spellings.
    #[inline(always)]
    fn guesses(&self) -> [u32; 2] {
        self.spellings.get(self.before as usize).map_or(self.first, |spelling| spelling.next)
    }

    /// Records that the spelling in `slot` followed the previous one, as a guess for the next time.
    fn came(&mut self, slot: u32) {
        let after = match self.spellings.get_mut(self.before as usize) {
            Some(spelling) => &mut spelling.next,
            None => &mut self.first,
        };
        *after = [slot, after[0]];
        self.before = slot;
    }

    /// Column of a key in a line whose keys are resolved.
    #[inline(always)]
    pub fn column(&self, field: &Field) -> u32 {
        self.column_of[field.spelling as usize]
    }

    /// Resolves the keys of a line that is a row: looks up unknown ones, and records first positions. Returns false if
    /// any key, of this line or an earlier one, has no column. Adds the number of replaced characters in keys to
    /// `replaced`. `position` is called for each key in turn.
    #[inline(always)]
    pub fn settle(
        &mut self,
        bytes: &[u8],
        fields: &mut [Field],
        replaced: &mut u64,
        position: impl FnMut(u32) -> Position,
    ) -> bool {
        if self.has_news {
            self.settle_slowly(bytes, fields, replaced, position);
        }
        !self.has_new_keys()
    }

    #[inline(never)]
    fn settle_slowly(
        &mut self,
        bytes: &[u8],
        fields: &mut [Field],
        replaced: &mut u64,
        mut position: impl FnMut(u32) -> Position,
    ) {
        for field in fields {
            let at = position(field.key_start);
            if field.spelling == Self::UNKNOWN {
                let key = &bytes[field.key_start as usize..field.key_end as usize];
                let mut text = Vec::new();
                if field.key_is_escaped {
                    *replaced += unescape(key, &mut text);
                }
                let key = if field.key_is_escaped { &text } else { key };
                let Some(slot) = self.look_up(key, at) else { continue };
                field.spelling = slot;
            }
            let spelling = &mut self.spellings[field.spelling as usize];
            if !spelling.has_come {
                (spelling.has_come, spelling.token) = (true, Token::new(&spelling.key));
                let first = &mut self.first_seen[self.column_of[field.spelling as usize] as usize];
                *first = Some(first.map_or(at, |seen| seen.min(at)));
            }
        }
    }

    #[inline(never)]
    fn look_up(&mut self, key: &[u8], at: Position) -> Option<u32> {
        if let Some(slot) = self.spelling(key) {
            return Some(slot);
        }
        let normalized = self.names.normalize(&String::from_utf8_lossy(key));
        match self.columns.get(&normalized) {
            Some(other) if self.spellings.len() >= MAX_SPELLINGS => Some(*other),
            Some(other) => Some(self.add_spelling(key, self.column_of[*other as usize])),
            None if self.ignored.is_some() => self.ignored_spelling(key),
            None if self
                .wanted
                .as_ref()
                .is_some_and(|wanted| !wanted.contains(&normalized) && !is_metadata(&normalized)) =>
            {
                None
            }
            None if self.has_too_many_columns() => None,
            None if self.columns.len() < self.max_columns => {
                self.key_bytes += normalized.len();
                let slot = self.add_spelling(key, self.columns.len() as u32);
                self.late.push(normalized.clone());
                self.columns.insert(normalized, slot);
                self.first_seen.push(None);
                Some(slot)
            }
            None => {
                match self.new_keys.entry(normalized) {
                    Entry::Occupied(mut first) => *first.get_mut() = at.min(*first.get()),
                    Entry::Vacant(new) => {
                        self.key_bytes += new.key().len();
                        new.insert(at);
                    }
                }
                None
            }
        }
    }

    /// Spelling for the column of unused keys; the first such spelling if there is no room for more.
    fn ignored_spelling(&mut self, key: &[u8]) -> Option<u32> {
        let ignored = self.ignored?;
        match self.spellings.len() < MAX_SPELLINGS {
            true => Some(self.add_spelling(key, ignored)),
            false => self.column_of.iter().position(|column| *column == ignored).map(|slot| slot as u32),
        }
    }

    /// Keys of the columns that were added to those of the plan, in order.
    #[inline(always)]
    pub fn late(&self) -> &[String] {
        &self.late
    }

    /// Keys of [`Self::late`], with the positions of their first occurrence.
    pub fn late_keys(&self) -> impl Iterator<Item = NewKey> {
        let first = self.first_seen.iter().skip(self.planned);
        self.late.iter().zip(first).filter_map(|(key, at)| at.map(|at| NewKey { key: key.clone(), at }))
    }

    /// Tells whether any key has no column.
    pub fn has_new_keys(&self) -> bool {
        !self.new_keys.is_empty()
    }

    /// Tells whether the new keys would exceed the limit of columns, or of the length of their names. No further keys
    /// are collected then.
    fn has_too_many_columns(&self) -> bool {
        self.columns.len() + self.new_keys.len() > MAX_COLUMNS || self.key_bytes > MAX_NAME_BYTES
    }

    /// Refuses a manifest with too many columns, the last of which was in this range, or with names that are too long
    /// in total.
    pub fn check_columns(&self, range: &FileRange) -> Result<(), ScanError> {
        check_columns(self.columns.len() + self.new_keys.len(), self.key_bytes, || range.uri.to_string())
    }

    /// Keys without a column.
    pub fn new_keys(&self) -> Vec<NewKey> {
        let mut keys: Vec<_> = self.new_keys.iter().map(|(key, at)| NewKey { key: key.clone(), at: *at }).collect();
        keys.sort_by_key(|new| new.at);
        keys
    }

    /// Keys of columns that occurred, with the positions of their first occurrence.
    pub fn seen_keys(&self) -> impl Iterator<Item = NewKey> {
        let seen = |(key, slot): (&String, &u32)| {
            let first = self.first_seen[self.column_of[*slot as usize] as usize];
            first.map(|at| NewKey { key: key.clone(), at })
        };
        self.columns.iter().filter_map(seen)
    }

    /// Position of the first occurrence of each column's key, by column of the plan.
    pub fn first_seen(&self) -> &[Option<Position>] {
        &self.first_seen[..self.planned]
    }
}

#[cfg(test)]
mod tests {
    use super::super::json::scan_fields;
    use super::*;

    /// Columns of a line with these keys; `None` for a key without one.
    fn columns(index: &mut KeyIndex, keys: &[&str], offset: u64) -> Vec<Option<u32>> {
        let members: Vec<_> = keys.iter().map(|key| format!("{}:null", serde_json::to_string(key).unwrap())).collect();
        let line = format!("{{{}}}\n", members.join(","));
        let mut fields = Vec::new();
        scan_fields(line.as_bytes(), 0, &mut fields, index).unwrap();
        index.settle(line.as_bytes(), &mut fields, &mut 0, |at| Position { file: 0, offset: offset + u64::from(at) });
        let known = |field: &Field| (field.spelling != KeyIndex::UNKNOWN).then(|| index.column(field));
        fields.iter().map(known).collect()
    }

    fn at(offset: u64) -> Position {
        Position { file: 0, offset }
    }

    #[test]
    fn keys_are_found_in_any_order() {
        let long = "k".repeat(40);
        let keys = ["a", "b", "c", &long, "a\"b", "é"];
        let mut index = KeyIndex::new(&keys.map(String::from), ColumnNames::Exact);
        for line in
            [[0, 1, 2, 3, 4], [2, 0, 1, 4, 3], [0, 2, 5, 5, 0], [1, 2, 0, 3, 4], [0, 1, 2, 3, 4], [0, 1, 2, 3, 4]]
        {
            let names = line.map(|column| keys[column]);
            assert_eq!(columns(&mut index, &names, 0), line.map(|column| Some(column as u32)), "{line:?}");
        }
    }

    #[test]
    fn new_keys_and_first_places_are_noted() {
        let mut index = KeyIndex::new(&["a".to_owned(), "b".to_owned()], ColumnNames::Exact);
        assert_eq!(columns(&mut index, &["z", "b"], 100), [None, Some(1)]);
        assert_eq!(columns(&mut index, &["b", "A"], 200), [Some(1), None]);
        assert_eq!(index.first_seen(), [None, Some(at(111))]);
        let new: Vec<_> = index.new_keys().into_iter().map(|k| k.key).collect();
        assert_eq!(new, ["z", "A"]);
    }

    #[test]
    fn unknown_keys_become_columns_as_long_as_there_is_room() {
        let mut index = KeyIndex::new(&["a".to_owned()], ColumnNames::Lower).with_late(2);
        assert_eq!(columns(&mut index, &["Z", "a", "z", "\u{1}"], 100), [Some(1), Some(0), Some(1), Some(2)]);
        assert!(!index.has_new_keys());
        let late: Vec<_> = index.late_keys().map(|new| (new.key, new.at.offset)).collect();
        assert_eq!(late, [("z".to_owned(), 102), ("\u{1}".to_owned(), 129)]);
        assert_eq!(
            (index.late(), index.first_seen()),
            (&["z".to_owned(), "\u{1}".to_owned()][..], &[Some(at(111))][..])
        );
        assert_eq!(columns(&mut index, &["z", "x", "a"], 200), [Some(1), None, Some(0)]);
        assert!(index.has_new_keys());
        assert_eq!(index.new_keys(), [NewKey { key: "x".to_owned(), at: at(211) }]);
    }

    #[test]
    fn lower_merges_spellings() {
        let mut index = KeyIndex::new(&["straße".to_owned()], ColumnNames::Lower);
        for key in ["straße", "STRAßE", "Straße", "STRAßE"] {
            assert_eq!(columns(&mut index, &[key], 3), [Some(0)]);
        }
        assert!(!index.has_new_keys());
    }

    #[test]
    fn only_lines_with_news_are_settled() {
        let mut index = KeyIndex::new(&["a", "b", "never"].map(String::from), ColumnNames::Lower);
        let mut settles = |keys: &[&str]| {
            columns(&mut index, keys, 0);
            index.has_news
        };
        let lines = [vec!["A", "b"], vec!["A", "b"], vec!["b", "A"], vec!["b", "a"], vec!["a", "A"], vec![]];
        assert_eq!(lines.map(|keys| settles(&keys)), [true, false, false, true, false, false]);
    }

    #[test]
    fn spellings_are_not_kept_without_end() {
        let mut index = KeyIndex::new(&["x".repeat(17)], ColumnNames::Lower);
        for number in 0..MAX_SPELLINGS as u32 + 100 {
            let letter = |bit: u32| if number >> bit & 1 == 1 { 'X' } else { 'x' };
            let key: String = (0..17).map(letter).collect();
            assert_eq!(columns(&mut index, &[&key], u64::from(number)), [Some(0)]);
        }
        assert_eq!((index.spellings.len(), index.by_spelling.len()), (MAX_SPELLINGS, MAX_SPELLINGS));
        assert_eq!(index.first_seen(), [Some(at(2))]);
    }

    #[test]
    fn keys_beyond_the_limit_are_not_kept() {
        let plan = |most| KeyIndex::new(&[], ColumnNames::Exact).with_late(most);
        for mut index in [KeyIndex::learning(ColumnNames::Exact), plan(0), plan(7), plan(MAX_COLUMNS + 7)] {
            for number in 0..MAX_COLUMNS + 100 {
                assert_eq!(index.has_too_many_columns(), number > MAX_COLUMNS);
                columns(&mut index, &[&number.to_string()], number as u64);
            }
            assert_eq!(index.columns.len() + index.new_keys.len(), MAX_COLUMNS + 1);
        }
    }

    #[test]
    fn keys_have_a_limit_together() {
        let plan = |most| KeyIndex::new(&[], ColumnNames::Exact).with_late(most);
        for mut index in [KeyIndex::learning(ColumnNames::Exact), plan(0), plan(7)] {
            let mut add = |key: &str| {
                columns(&mut index, &[key], 0);
                (index.has_too_many_columns(), index.key_bytes)
            };
            for number in 0..MAX_NAME_BYTES / 4096 {
                // A repeated key counts once.
                add(&format!("{number:04096}"));
                assert_eq!(add(&format!("{number:04096}")), (false, (number + 1) * 4096));
            }
            assert_eq!(add("k"), (true, MAX_NAME_BYTES + 1));
            assert_eq!(add("another"), (true, MAX_NAME_BYTES + 1));
        }
    }

    #[test]
    fn keys_that_nobody_wants_are_as_good_as_not_there() {
        let mut index = KeyIndex::new(&["a".to_owned(), "b".to_owned()], ColumnNames::Exact).ignoring_others();
        for line in 0..3 {
            let unwanted = format!("x{line}");
            assert_eq!(
                columns(&mut index, &["a", &unwanted, "b", "y"], line * 100),
                [Some(0), Some(2), Some(1), Some(2)]
            );
        }
        assert!(!index.has_new_keys() && index.late().is_empty() && index.first_seen().len() == 2);
        let wanted = std::sync::Arc::new(["a".to_owned()].into());
        let mut index = KeyIndex::learning(ColumnNames::Exact).only(Some(wanted));
        columns(&mut index, &["x", "a", "_date", "y"], 0);
        let mut seen: Vec<_> = index.seen_keys().map(|new| new.key).collect();
        seen.sort();
        assert_eq!(seen, ["_date", "a"]);
    }
}
