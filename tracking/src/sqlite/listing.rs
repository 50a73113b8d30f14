//! Listings of files and runs, page by page.
//!
//! A listing reads one index, or one range per state or class, whose pages are merged. Conditions outside the index are
//! checked row by row: a page then reads a bounded number of entries, and its cursor continues after the last of them.

use super::job::Done;
use super::rows::{FILE_COLUMNS, LISTED_RUN_COLUMNS, collect, readable, run, time, tracked_file};
use crate::{FileFilter, Page, Run, RunFilter, TrackedFile, TrackingError};
use chrono::{DateTime, Utc};
use millwork_manifest::{FileState, ManifestId};
use rusqlite::{Connection, OptionalExtension, params_from_iter};

/// Limit of the rows of files that are read for a page: 5,000, which takes about 10 ms.
const MAX_ROWS: usize = if cfg!(test) { 3 } else { 5000 };
/// Limit of the entries of an index that are read for a page: 50,000, which takes about 10 ms.
const MAX_ENTRIES: usize = if cfg!(test) { 5 } else { 50_000 };
/// Limit of the runs that are read in order of id and then sorted: 2,000, which takes about 5 ms.
const MAX_SORTED: usize = if cfg!(test) { 8 } else { 2000 };

/// Index of the primary key, as SQLite names it.
const FILES_BY_KEY: &str = "sqlite_autoindex_files_1";
const RUNS_BY_KEY: &str = "sqlite_autoindex_runs_1";

/// Time and key of an item, which define its position.
type Place = (String, String);

/// SQL conditions, and the values of their `?` placeholders in order.
#[derive(Clone, Default)]
struct Conditions {
    text: String,
    values: Vec<String>,
}

impl Conditions {
    fn and(mut self, condition: &str, values: &[&str]) -> Self {
        self.text.push_str(" AND ");
        self.text.push_str(condition);
        self.values.extend(values.iter().map(|value| (*value).to_owned()));
        self
    }

    fn and_if(self, condition: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.and(condition, &[value]),
            None => self,
        }
    }

    /// Adds the condition that a time lies in a range, whose end is exclusive.
    fn and_between(self, column: &str, since: Option<String>, until: Option<String>) -> Self {
        self.and_if(&format!("{column} >= ?"), since.as_deref()).and_if(&format!("{column} < ?"), until.as_deref())
    }

    fn and_begins(self, key: &str, prefix: Option<&str>) -> Self {
        match prefix {
            Some(prefix) => self.and(&format!("{key} >= ? AND {key} < ?"), &[prefix, &format!("{prefix}\u{10ffff}")]),
            None => self,
        }
    }

    fn and_any(self, column: &str, words: &[&str]) -> Self {
        match words {
            [] => self,
            _ => self.and(&format!("{column} IN ({})", vec!["?"; words.len()].join(", ")), words),
        }
    }
}

/// Range of an index that a listing reads, in index order.
struct Way {
    index: &'static str,
    /// Conditions that select the range of the index.
    range: Conditions,
    /// Further conditions.
    rest: Conditions,
    /// Limit of the entries that are read; `None` if there are no further conditions.
    look: Option<usize>,
}

impl Way {
    fn new(index: &'static str, range: Conditions, rest: Conditions, look: usize) -> Self {
        let look = (!rest.text.is_empty()).then_some(look);
        Self { index, range, rest, look }
    }
}

/// Table and sort order of a listing.
struct Kind<T> {
    table: &'static str,
    columns: &'static str,
    key: &'static str,
    /// Columns by which all that is shown of an item is found.
    found_by: &'static str,
    /// Columns of the sort order; the last one is the key.
    order: &'static [&'static str],
    is_descending: bool,
    read: fn(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
    place: fn(&T) -> Place,
    /// Column with the time in an item's position.
    time: &'static str,
    /// True if invalid rows are skipped.
    passes_over: bool,
}

impl<T> Kind<T> {
    fn order_text(&self) -> String {
        let direction = if self.is_descending { " DESC" } else { "" };
        self.order.iter().map(|column| format!("{column}{direction}")).collect::<Vec<_>>().join(", ")
    }

    /// Adds the condition that items come after a position, or else at or before it.
    fn beside(&self, conditions: Conditions, is_after: bool, (at, key): &Place) -> Conditions {
        let sign = match (is_after, self.is_descending) {
            (true, false) => ">",
            (true, true) => "<",
            (false, false) => "<=",
            (false, true) => ">=",
        };
        match self.order {
            [one] => conditions.and(&format!("{one} {sign} ?"), &[key]),
            both => conditions.and(&format!("({}) {sign} (?, ?)", both.join(", ")), &[at, key]),
        }
    }

    fn sort_key(&self, place: Place) -> Place {
        if self.order.len() == 1 { (String::new(), place.1) } else { place }
    }

    /// Tells whether a position comes after another.
    fn is_after(&self, one: &Place, other: &Place) -> bool {
        let (one, other) = (self.sort_key(one.clone()), self.sort_key(other.clone()));
        if self.is_descending { one < other } else { one > other }
    }

    /// Page of the merged items of several index ranges, which are disjoint.
    fn page(&self, c: &Connection, ways: Vec<Way>, cursor: Option<Place>, limit: usize) -> Done<Page<T>> {
        let limit = limit.max(1);
        let (mut items, mut end) = (Vec::new(), None::<Place>);
        for mut way in ways {
            if let Some(place) = &cursor {
                way.range = self.beside(way.range, true, place);
            }
            let (found, reached) = self.follow(c, way, limit)?;
            items.extend(found.into_iter().map(|item| ((self.place)(&item), item)));
            end = match (end, reached) {
                (Some(one), Some(other)) => Some(if self.is_after(&one, &other) { other } else { one }),
                (one, other) => one.or(other),
            };
        }
        items.sort_by_cached_key(|(place, _)| self.sort_key(place.clone()));
        if self.is_descending {
            items.reverse();
        }
        if let Some(end) = &end {
            items.retain(|(place, _)| !self.is_after(place, end));
        }
        if items.len() > limit {
            items.truncate(limit);
            end = items.last().map(|(place, _)| place.clone());
        }
        let next_cursor = end.map(|(at, key)| format!("{at} {key}"));
        Ok(Page { items: items.into_iter().map(|(_, item)| item).collect(), next_cursor })
    }

    /// Reads up to one item more than the limit, and the position up to which the range was read; `None` if it was read
    /// to its end.
    fn follow(&self, c: &Connection, way: Way, limit: usize) -> Done<(Vec<T>, Option<Place>)> {
        let Self { table, columns, key, found_by, time, .. } = self;
        let (index, order) = (way.index, self.order_text());
        let mut end = None;
        let mut all = way.range;
        if let Some(look) = way.look {
            let sql = format!(
                "SELECT {time}, {key} FROM {table} INDEXED BY {index} WHERE true{} ORDER BY {order} LIMIT 1 OFFSET {look}",
                all.text
            );
            let place = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
            end = c.prepare_cached(&sql)?.query_row(params_from_iter(&all.values), place).optional()?;
        }
        if let Some(end) = &end {
            all = self.beside(all, false, end);
        }
        all.text.push_str(&way.rest.text);
        all.values.extend(way.rest.values);
        // All that is shown is read only for matching entries.
        let sql = format!(
            "{columns} WHERE ({found_by}) IN (SELECT {found_by} FROM {table} INDEXED BY {index} WHERE true{} ORDER BY {order} LIMIT {})",
            all.text,
            limit.saturating_add(1)
        );
        let mut statement = c.prepare_cached(&sql)?;
        let rows: Vec<_> = statement.query_map(params_from_iter(&all.values), self.read)?.collect();
        let is_full = rows.len() > limit;
        let items = if self.passes_over { readable(rows.into_iter())? } else { collect(rows.into_iter())? };
        let last =
            items.iter().map(self.place).reduce(|one, other| if self.is_after(&other, &one) { other } else { one });
        Ok((items, last.filter(|_| is_full).or(end)))
    }
}

const FILES: Kind<TrackedFile> = Kind {
    table: "files",
    columns: FILE_COLUMNS,
    key: "uri",
    found_by: "uri",
    order: &["upload_time", "uri"],
    is_descending: false,
    read: tracked_file,
    place: |file| (time(file.arrived_at), file.uri.to_string()),
    time: "upload_time",
    passes_over: false,
};

const FILES_BY_URI: Kind<TrackedFile> = Kind { order: &["uri"], ..FILES };

const RUNS: Kind<Run> = Kind {
    table: "runs",
    columns: LISTED_RUN_COLUMNS,
    key: "manifest_id",
    found_by: "created_at, manifest_id",
    order: &["created_at", "manifest_id"],
    is_descending: true,
    read: run,
    place: |run| (time(run.created_at), run.manifest_id.to_string()),
    time: "created_at",
    passes_over: true,
};

/// Page of files after its cursor, `{upload_time} {uri}`. Ordered by arrival; with a prefix ordered by URI, unless the
/// states are ones with few files.
pub(super) fn files(c: &Connection, filter: &FileFilter) -> Done<Page<TrackedFile>> {
    let cursor = filter.cursor.as_ref().map(|cursor| {
        let place = cursor.split_once(' ').map(|(at, uri)| (at.to_owned(), uri.to_owned()));
        place.ok_or_else(|| TrackingError::BadCursor(cursor.clone()))
    });
    let cursor = cursor.transpose()?;
    let states: Vec<FileState> = filter.state.map_or_else(|| filter.states.clone(), |state| vec![state]);
    let is_few = !states.is_empty() && !states.contains(&FileState::Completed);
    if filter.prefix.is_some() && !is_few && filter.reason.is_none() {
        return FILES_BY_URI.page(c, vec![way_by_uri(filter, &states)], cursor, filter.limit);
    }
    // Later pages begin after the cursor, so that the lower bound is implied.
    let since = filter.since.map(time).filter(|since| cursor.as_ref().is_none_or(|(at, _)| at < since));
    let within = Conditions::default().and_between("upload_time", since, filter.until.map(time));
    FILES.page(c, ways_by_arrival(filter, &states, is_few, &within), cursor, filter.limit)
}

/// Way to the files with a prefix, in order of URI.
fn way_by_uri(filter: &FileFilter, states: &[FileState]) -> Way {
    let date = filter.date.map(|date| date.to_string());
    let rest = Conditions::default().and_any("status", &words_of(states)).and_if("date_prefix = ?", date.as_deref());
    let rest = rest.and_between("upload_time", filter.since.map(time), filter.until.map(time));
    Way::new(FILES_BY_KEY, Conditions::default().and_begins("uri", filter.prefix.as_deref()), rest, MAX_ROWS)
}

/// Ways to files in order of arrival, which is in a range.
fn ways_by_arrival(filter: &FileFilter, states: &[FileState], is_few: bool, within: &Conditions) -> Vec<Way> {
    let words = words_of(states);
    let date = filter.date.map(|date| date.to_string());
    let none = Conditions::default();
    let begins = none.clone().and_begins("uri", filter.prefix.as_deref());
    let of = |column: &str, value: &str| within.clone().and(&format!("{column} = ?"), &[value]);
    match (filter.reason.as_deref(), date.as_deref()) {
        (Some(reason), date) => {
            let rest = begins.and_any("status", &words).and_if("date_prefix = ?", date);
            vec![Way::new("files_by_reason", of("reason", reason), rest, MAX_ENTRIES)]
        }
        (None, Some(date)) if is_few => {
            states.iter().map(|state| way_to_few(*state, date, within, begins.clone())).collect()
        }
        (None, Some(date)) => {
            vec![Way::new("files_by_date", of("date_prefix", date), none.and_any("status", &words), MAX_ROWS)]
        }
        (None, None) if states.is_empty() => vec![Way::new("files_by_age", within.clone(), none, MAX_ENTRIES)],
        (None, None) => {
            let way = |state: &&str| Way::new("files_by_status", of("status", state), begins.clone(), MAX_ENTRIES);
            words.iter().map(way).collect()
        }
    }
}

fn words_of(states: &[FileState]) -> Vec<&'static str> {
    states.iter().map(|state| state.as_str()).collect()
}

/// Way to the files of a date in a state that few are in.
fn way_to_few(state: FileState, date: &str, within: &Conditions, begins: Conditions) -> Way {
    let of = |column: &str, value: &str| within.clone().and(&format!("{column} = ?"), &[value]);
    let word = state.as_str();
    match state {
        // A partial index is used only by a query that repeats its condition literally.
        FileState::Pending => {
            Way::new("files_pending", of("date_prefix", date).and("status = 'pending'", &[]), begins, MAX_ENTRIES)
        }
        FileState::Failed | FileState::Quarantined => {
            let range = of("date_prefix", date).and("status = ? AND status IN ('failed', 'quarantined')", &[word]);
            Way::new("files_ended", range, begins, MAX_ENTRIES)
        }
        _ => Way::new("files_by_status", of("status", word), begins.and("date_prefix = ?", &[date]), MAX_ROWS),
    }
}

/// Page of runs, newest first, after its cursor, `{created_at} {manifest_id}`.
pub(super) fn runs(c: &Connection, filter: &RunFilter) -> Done<Page<Run>> {
    let cursor =
        filter.cursor.as_ref().map(|cursor| place(cursor).ok_or_else(|| TrackingError::BadCursor(cursor.clone())));
    let cursor = cursor.transpose()?.map(|(at, id)| (time(at), id.to_string()));
    // Later pages begin before the cursor, so that the upper bound is implied.
    let until = filter.until.map(time).filter(|until| cursor.as_ref().is_none_or(|(at, _)| at >= until));
    let within = Conditions::default().and_between("created_at", filter.since.map(time), until);
    let begins = Conditions::default().and_begins("manifest_id", filter.prefix.as_deref());
    let is_sorted = filter.prefix.is_some() && has_few(c, &begins)?;
    RUNS.page(c, ways_to_runs(filter, is_sorted, within, begins), cursor, filter.limit)
}

/// Ways to runs: those whose ids begin alike are read in order of id, and sorted, if there are few.
fn ways_to_runs(filter: &RunFilter, is_sorted: bool, within: Conditions, begins: Conditions) -> Vec<Way> {
    let states = filter.state.map_or_else(|| filter.states.clone(), |state| vec![state]);
    let states: Vec<&str> = states.iter().map(|state| state.as_str()).collect();
    let classes = filter.failure_class.map_or_else(|| filter.failure_classes.clone(), |class| vec![class]);
    let classes: Vec<&str> = classes.iter().map(|class| class.as_str()).collect();
    let date = filter.date.map(|date| date.to_string());
    if is_sorted {
        let rest = within.and_any("status", &states).and_any("failure_class", &classes);
        let rest = rest.and_if("date_prefix = ?", date.as_deref());
        return vec![Way { look: None, ..Way::new(RUNS_BY_KEY, begins, rest, MAX_SORTED) }];
    }
    if classes.is_empty() {
        return ways_by_state(&states, date.as_deref(), &within, &begins);
    }
    let rest = begins.and_any("status", &states).and_if("date_prefix = ?", date.as_deref());
    let of_class = |class: &&str| within.clone().and("failure_class = ?", &[class]);
    let way = |class: &&str| Way::new("runs_by_class", of_class(class), rest.clone(), MAX_ENTRIES);
    classes.iter().map(way).collect()
}

/// Ways to the runs of these states, or of any, of a date or of all dates.
fn ways_by_state(states: &[&str], date: Option<&str>, within: &Conditions, begins: &Conditions) -> Vec<Way> {
    let of = |column: &str, value: &str| within.clone().and(&format!("{column} = ?"), &[value]);
    let way = |index, range| Way::new(index, range, begins.clone(), MAX_ENTRIES);
    match date {
        Some(date) if states.is_empty() => vec![way("runs_by_date", of("date_prefix", date))],
        Some(date) => {
            let of_date = |state: &&str| of("status", state).and("date_prefix = ?", &[date]);
            states.iter().map(|state| way("runs_by_date_state", of_date(state))).collect()
        }
        None if states.is_empty() => vec![way("runs_by_age", within.clone())],
        None => states.iter().map(|state| way("runs_by_status", of("status", state))).collect(),
    }
}

/// Tells whether a range of ids has few enough runs to sort them.
fn has_few(c: &Connection, range: &Conditions) -> Done<bool> {
    let sql = format!("SELECT count(*) FROM (SELECT 1 FROM runs WHERE true{} LIMIT {})", range.text, MAX_SORTED + 1);
    let count: usize = c.prepare_cached(&sql)?.query_row(params_from_iter(&range.values), |row| row.get(0))?;
    Ok(count <= MAX_SORTED)
}

fn place(cursor: &str) -> Option<(DateTime<Utc>, ManifestId)> {
    let (at, id) = cursor.split_once(' ')?;
    Some((at.parse().ok()?, id.parse().ok()?))
}
