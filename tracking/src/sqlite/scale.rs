//! Tests with a large state: queries do not slow down with its size, and a database of the previous format is migrated.

use super::{SqliteStore, schema};
use crate::{FileFilter, FileStore, NumberStore, RunFilter, RunState, RunStore};
use millwork_manifest::FileState;
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

#[tokio::test]
async fn a_large_state_of_the_format_before_is_changed_and_answers_at_once() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("state.db");
    seed(&path);
    let store = SqliteStore::open(&path).unwrap();
    let mut slow = Vec::new();
    let mut timed = |what: &'static str, began: Instant| {
        if began.elapsed() > PATIENCE {
            slow.push((what, began.elapsed()));
        }
    };
    let began = Instant::now();
    let dates = store.date_totals(None, None).await.unwrap();
    timed("all dates", began);
    assert_eq!(dates.len() as u64, DATES);
    let files =
        |state| dates.iter().filter_map(|(_, totals)| totals.files.get(&state)).map(|total| total.files).sum::<u64>();
    assert_eq!((files(FileState::Pending), files(FileState::Completed)), (FILES / 1000, FILES - FILES / 1000));
    let runs: u64 = dates.iter().map(|(_, totals)| totals.runs[&RunState::Completed]).sum();
    let rows: u64 = dates.iter().map(|(_, totals)| totals.output.rows).sum();
    assert_eq!((runs, rows), (RUNS, 7 * RUNS));
    let began = Instant::now();
    let (date, totals) = dates[0].clone();
    assert_eq!(store.date_totals(Some(date), Some(date)).await.unwrap(), [(date, totals.clone())]);
    timed("a date", began);
    let began = Instant::now();
    assert_eq!(store.count_files().await.unwrap().iter().map(|(_, count)| count).sum::<u64>(), FILES);
    timed("files by state", began);
    let began = Instant::now();
    let page = store.list_runs(&RunFilter { limit: 100, ..RunFilter::default() }).await.unwrap();
    timed("runs", began);
    assert_eq!(page.items[0].summary.map(|summary| (summary.rows, summary.executors)), Some((7, 2)));
    let began = Instant::now();
    let filter = FileFilter { state: Some(FileState::Completed), limit: 100, ..FileFilter::default() };
    assert_eq!(store.list_files(&filter).await.unwrap().items.len(), 100);
    timed("files", began);
    let began = Instant::now();
    let _ = (store.arrivals().await.unwrap(), store.backlogs().await.unwrap(), store.count_runs().await.unwrap());
    timed("what the recorder asks", began);
    assert!(slow.is_empty(), "{slow:?}");
    assert_eq!(store.recount_totals(date).await.unwrap(), totals, "a count changes nothing");
}
