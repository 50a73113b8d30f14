//! Comparison of listings with a full scan, for each combination of filters. Limits of what a page reads are small in
//! tests.

use super::SqliteStore;
use super::listing::{files, runs};
use crate::{FileFilter, Page, Run, RunFilter, TrackedFile};
use chrono::{DateTime, Utc};
use millwork_manifest::{DatePrefix, FailureClass, FileState, RunState};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::path::Path;

const ITEMS: usize = 60;
/// Limit of the pages of a listing in these tests.
const MAX_PAGES: usize = 200;

const DATES: [&str; 2] = ["2025-12-22", "2025-12-23"];
const CLASSES: [FailureClass; 3] = [FailureClass::Input, FailureClass::Storage, FailureClass::Timeout];
const REASONS: [&str; 2] = ["too-small", "too-large"];

/// Time of an item: two items share each time, in an order other than that of their names.
fn moment(i: usize) -> String {
    format!("2025-12-23T00:00:{:02}.000000Z", (i * 7 % ITEMS) / 2)
}

fn state_of_file(i: usize) -> FileState {
    FileState::ALL[(i / 2) % FileState::ALL.len()]
}

fn state_of_run(i: usize) -> RunState {
    RunState::ALL[(i / 3) % RunState::ALL.len()]
}

fn reason(i: usize) -> Option<&'static str> {
    matches!(state_of_file(i), FileState::Failed | FileState::Quarantined).then(|| REASONS[i % 2])
}

fn class(i: usize) -> Option<FailureClass> {
    (state_of_run(i) == RunState::Failed).then(|| CLASSES[i % 3])
}

fn uri(i: usize) -> String {
    format!("s3://in/{}/{i:03}.ndjson", ["a", "b", "bc"][i % 3])
}

fn id(i: usize) -> String {
    format!("{}-{i:03}", if i < 6 { "few" } else { "many" })
}

fn date(i: usize) -> &'static str {
    DATES[(i / 5) % 2]
}

fn seeded(path: &Path) -> Connection {
    drop(SqliteStore::open(path).unwrap());
    let c = Connection::open(path).unwrap();
    for i in 0..ITEMS {
        let sql = "INSERT INTO files VALUES (?1, ?2, 7, 'e', NULL, NULL, ?3, 1, NULL, ?4, NULL, NULL, ?5, ?5)";
        c.execute(sql, (uri(i), date(i), state_of_file(i).as_str(), reason(i), moment(i))).unwrap();
        let sql = "INSERT INTO runs VALUES (?1, ?2, 's3://m', ?3, 0, 1, 7, 1, 0, 1, NULL, 0, NULL, ?4, ?5, ?5, NULL, NULL, NULL, '[]', NULL)";
        let class = class(i).map(FailureClass::as_str);
        c.execute(sql, (id(i), date(i), state_of_run(i).as_str(), class, moment(i))).unwrap();
    }
    c
}

/// Reads a listing to its end, and compares it with the expected items.
fn check<T>(
    asked: &dyn Debug,
    expected: &BTreeSet<String>,
    page: impl Fn(usize, Option<String>) -> Page<T>,
    name: impl Fn(&T) -> (String, String),
    in_order: Option<bool>,
) {
    for limit in [3, 100] {
        let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
        loop {
            let page = page(limit, cursor.take());
            assert!(page.items.len() <= limit, "{asked:?}");
            seen.extend(page.items.iter().map(&name));
            pages += 1;
            assert!(pages < MAX_PAGES, "a listing goes on for ever: {asked:?}");
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        let names: BTreeSet<String> = seen.iter().map(|(_, name)| name.clone()).collect();
        assert_eq!(names.len(), seen.len(), "something is shown twice: {asked:?}");
        assert_eq!(&names, expected, "{limit} a page: {asked:?}");
        if let Some(is_descending) = in_order {
            let is_ordered = seen.is_sorted_by(|one, other| if is_descending { one > other } else { one < other });
            assert!(is_ordered, "{asked:?}: {seen:?}");
        }
    }
}

fn dates() -> impl Iterator<Item = Option<DatePrefix>> {
    std::iter::once(None).chain(DATES.iter().map(|date| date.parse().ok()))
}

/// No time bounds, either bound, and both.
fn times() -> [(Option<usize>, Option<usize>); 4] {
    [(None, None), (Some(20), None), (None, Some(40)), (Some(20), Some(40))]
}

fn second(n: Option<usize>) -> Option<DateTime<Utc>> {
    n.map(|n| format!("2025-12-23T00:00:{:02}Z", n / 2).parse().unwrap())
}

fn is_within(i: usize, since: Option<DateTime<Utc>>, until: Option<DateTime<Utc>>) -> bool {
    let at = moment(i).parse::<DateTime<Utc>>().unwrap();
    since.is_none_or(|since| at >= since) && until.is_none_or(|until| at < until)
}

fn is_asked_file(filter: &FileFilter, i: usize) -> bool {
    (filter.states.is_empty() || filter.states.contains(&state_of_file(i)))
        && filter.date.is_none_or(|asked| asked.to_string() == date(i))
        && filter.prefix.as_deref().is_none_or(|prefix| uri(i).starts_with(prefix))
        && filter.reason.as_deref().is_none_or(|wanted| reason(i) == Some(wanted))
        && is_within(i, filter.since, filter.until)
}

fn is_asked_run(filter: &RunFilter, i: usize) -> bool {
    let classes = &filter.failure_classes;
    (filter.states.is_empty() || filter.states.contains(&state_of_run(i)))
        && filter.date.is_none_or(|asked| asked.to_string() == date(i))
        && (classes.is_empty() || class(i).is_some_and(|class| classes.contains(&class)))
        && filter.prefix.as_deref().is_none_or(|prefix| id(i).starts_with(prefix))
        && is_within(i, filter.since, filter.until)
}

/// All combinations of what a listing of files can be asked for.
fn file_filters() -> Vec<FileFilter> {
    use FileState::{Completed, Failed, Pending, Processing, Quarantined};
    let states: [&[FileState]; 7] = [
        &[],
        &[Pending],
        &[Completed],
        &[Failed],
        &[Processing],
        &[Failed, Quarantined, Pending],
        &[Completed, Failed],
    ];
    let mut filters = Vec::new();
    for states in states {
        for date_asked in dates() {
            for prefix in [None, Some("s3://in/b"), Some("s3://in/bc/"), Some("s3://no/")] {
                for wanted in [None, Some(REASONS[0])] {
                    for time in times() {
                        filters.push(FileFilter {
                            state: if let [one] = states { Some(*one) } else { None },
                            states: states.to_vec(),
                            date: date_asked,
                            prefix: prefix.map(str::to_owned),
                            reason: wanted.map(str::to_owned),
                            since: second(time.0),
                            until: second(time.1),
                            ..FileFilter::default()
                        });
                    }
                }
            }
        }
    }
    filters
}

/// All combinations of what a listing of runs can be asked for.
fn run_filters() -> Vec<RunFilter> {
    use RunState::{Completed, Failed, Queued};
    let states: [&[RunState]; 4] = [&[], &[Failed], &[Completed], &[Failed, Queued]];
    let classes: [&[FailureClass]; 3] = [&[], &CLASSES[..1], &CLASSES[..2]];
    let mut filters = Vec::new();
    for states in states {
        for date_asked in dates() {
            for classes in classes {
                for prefix in [None, Some("few"), Some("many-0"), Some("none")] {
                    for time in times() {
                        filters.push(RunFilter {
                            state: if let [one] = states { Some(*one) } else { None },
                            states: states.to_vec(),
                            date: date_asked,
                            failure_class: if let [one] = classes { Some(*one) } else { None },
                            failure_classes: classes.to_vec(),
                            prefix: prefix.map(str::to_owned),
                            since: second(time.0),
                            until: second(time.1),
                            ..RunFilter::default()
                        });
                    }
                }
            }
        }
    }
    filters
}

#[test]
fn a_listing_of_files_shows_all_that_is_asked_for_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let c = seeded(&root.path().join("state.db"));
    let name = |file: &TrackedFile| (super::rows::time(file.arrived_at), file.uri.to_string());
    for filter in file_filters() {
        let expected = (0..ITEMS).filter(|i| is_asked_file(&filter, *i)).map(uri).collect();
        let page = |limit, cursor| match files(&c, &FileFilter { limit, cursor, ..filter.clone() }) {
            Ok(page) => page,
            Err(_) => panic!("{filter:?}"),
        };
        check(&filter, &expected, page, name, filter.prefix.is_none().then_some(false));
    }
}

#[test]
fn a_listing_of_runs_shows_all_that_is_asked_for_the_newest_first() {
    let root = tempfile::tempdir().unwrap();
    let c = seeded(&root.path().join("state.db"));
    let name = |run: &Run| (super::rows::time(run.created_at), run.manifest_id.to_string());
    for filter in run_filters() {
        let expected = (0..ITEMS).filter(|i| is_asked_run(&filter, *i)).map(id).collect();
        let page = |limit, cursor| match runs(&c, &RunFilter { limit, cursor, ..filter.clone() }) {
            Ok(page) => page,
            Err(_) => panic!("{filter:?}"),
        };
        check(&filter, &expected, page, name, Some(true));
    }
}

/// A column that is shown and not in the index would have each row read from the table.
#[test]
fn what_is_shown_of_runs_is_in_an_index() {
    let root = tempfile::tempdir().unwrap();
    let c = seeded(&root.path().join("state.db"));
    let plan = |sql: &str| -> String {
        let mut statement = c.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let steps = statement.raw_query().mapped(|row| row.get::<_, String>(3)).collect::<Result<Vec<_>, _>>();
        steps.unwrap().join("; ")
    };
    let listed = format!("{} WHERE (created_at, manifest_id) IN (SELECT 'a', 'b')", super::rows::LISTED_RUN_COLUMNS);
    assert!(plan(&listed).contains("COVERING INDEX runs_listed"), "{}", plan(&listed));
    let ahead = plan(super::inspection::AHEAD);
    assert!(ahead.contains("COVERING INDEX runs_ahead"), "{ahead}");
}
