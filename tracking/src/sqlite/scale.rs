//! Tests with a large state: queries do not slow down with its size, and a database of the previous format is migrated.

use super::{SqliteStore, schema};
use crate::{DateTotals, FileFilter, FileStore, NumberStore, RunFilter, RunStore};
use millwork_manifest::{DatePrefix, FileState, RunState};
use rusqlite::Connection;
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: u64 = 1_000_000;
const RUNS: u64 = 100_000;
const DATES: u64 = 400;
/// Time limit for a query: one that reads all files or runs takes seconds in a debug build, others take milliseconds.
const PATIENCE: Duration = Duration::from_millis(700);

/// Creates a state of format 3 with completed files and runs, and a thousandth of the files pending.
fn seed(path: &Path) {
    let c = Connection::open(path).unwrap();
    c.pragma_update(None, "synchronous", "off").unwrap();
    c.pragma_update(None, "journal_mode", "wal").unwrap();
    c.execute_batch(schema::TABLES).unwrap();
    c.execute_batch("ALTER TABLE locks DROP COLUMN acquired_at; DROP TABLE builders").unwrap();
    let numbers =
        |count: u64| format!("WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {count} - 1)");
    let date = |i: &str| format!("date('2025-01-01', '+' || ({i} % {DATES}) || ' days')");
    let time = "strftime('%Y-%m-%dT%H:%M:%S', 1766000000 + i, 'unixepoch') || '.000000Z'";
    c.execute_batch(&format!(
        "BEGIN; {} INSERT INTO files SELECT printf('s3://in/f/%07d.ndjson', i), {}, 10, 'e', NULL, NULL,
            CASE i % 1000 WHEN 0 THEN 'pending' ELSE 'completed' END, 3, 'm', NULL, NULL, NULL, {time}, {time} FROM n; COMMIT;",
        numbers(FILES),
        date("i")
    ))
    .unwrap();
    c.execute_batch(&format!(
        "BEGIN; {} INSERT INTO runs SELECT printf('m-%06d', i), {}, 's3://m', 'completed', 0, 10, 100, 1, 0, 1, NULL, 0, NULL, NULL,
            {time}, {time}, {time}, {time}, {time}, '[]' FROM n; COMMIT;",
        numbers(RUNS),
        date("i")
    ))
    .unwrap();
    // Result of a commit in that format.
    let result = r#"{"rows": 7, "rejected": 1, "input_bytes": 100, "output_bytes": 50, "outputs": [{"executor": "a"}, {"executor": "b"}]}"#;
    c.execute(&format!("INSERT INTO commits SELECT manifest_id, 1, 1, '', '{result}', '' FROM runs"), []).unwrap();
    c.pragma_update(None, "user_version", 3).unwrap();
}

/// Queries that took too long.
#[derive(Debug, Default)]
struct Slow(Vec<(&'static str, Duration)>);

impl Slow {
    async fn time<T, E: std::fmt::Debug>(
        &mut self,
        what: &'static str,
        query: impl Future<Output = Result<T, E>>,
    ) -> T {
        let began = Instant::now();
        let answer = query.await.unwrap();
        if began.elapsed() > PATIENCE {
            self.0.push((what, began.elapsed()));
        }
        answer
    }
}

/// Checks the totals of all dates. Returns those of the first.
async fn check_totals(store: &SqliteStore, slow: &mut Slow) -> (DatePrefix, DateTotals) {
    let dates = slow.time("all dates", store.date_totals(None, None)).await;
    assert_eq!(dates.len() as u64, DATES);
    let files =
        |state| dates.iter().filter_map(|(_, totals)| totals.files.get(&state)).map(|total| total.files).sum::<u64>();
    assert_eq!((files(FileState::Pending), files(FileState::Completed)), (FILES / 1000, FILES - FILES / 1000));
    let runs: u64 = dates.iter().map(|(_, totals)| totals.runs[&RunState::Completed]).sum();
    let rows: u64 = dates.iter().map(|(_, totals)| totals.output.rows).sum();
    assert_eq!((runs, rows), (RUNS, 7 * RUNS));
    let first = dates[0].clone();
    let of_first = store.date_totals(Some(first.0), Some(first.0));
    assert_eq!(slow.time("a date", of_first).await, std::slice::from_ref(&first));
    first
}

#[tokio::test]
async fn a_large_state_of_the_format_before_is_changed_and_answers_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    seed(&path);
    let store = SqliteStore::open(&path).unwrap();
    let mut slow = Slow::default();
    let (date, totals) = check_totals(&store, &mut slow).await;
    let counts = slow.time("files by state", store.count_files()).await;
    assert_eq!(counts.iter().map(|(_, count)| count).sum::<u64>(), FILES);
    let newest = RunFilter { limit: 100, ..RunFilter::default() };
    let page = slow.time("runs", store.list_runs(&newest)).await;
    assert_eq!(page.items[0].summary.map(|summary| (summary.rows, summary.executors)), Some((7, 2)));
    let completed = FileFilter { state: Some(FileState::Completed), limit: 100, ..FileFilter::default() };
    assert_eq!(slow.time("files", store.list_files(&completed)).await.items.len(), 100);
    slow.time("arrivals", store.arrivals()).await;
    slow.time("backlogs", store.backlogs()).await;
    slow.time("runs by state", store.count_runs()).await;
    assert!(slow.0.is_empty(), "{slow:?}");
    assert_eq!(store.recount_totals(date).await.unwrap(), totals, "a count changes nothing");
}
