//! States that somebody damaged by hand, singly and in pairs, in SQLite and in DynamoDB: each damage is found by the invariant it
//! breaks, explained, mended if it has one possible truth, and noted.

mod tables;

use crate::place::Place;
use crate::servers::Aws;
use crate::why::{World, sql};
use chrono::Duration;
use millwork_scheduler::{Consistency, Operations, Operator, Scope};
use millwork_tracking::{AuditFilter, Via};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
pub(crate) use tables::Tables;

const ALL: Scope = Scope { date: None, limit: 10_000, looks_at_objects: true };

/// Ways to damage a sound state, as statements for SQLite, with the invariants that each breaks.
const DAMAGES: [(&str, &[&str]); 16] = [
    ("UPDATE files SET manifest_id = NULL WHERE uri LIKE '%-c.ndjson'", &["states-legal", "files-follow-run"]),
    ("UPDATE files SET status = 'lost' WHERE uri LIKE '%-f.ndjson'", &["states-legal"]),
    ("UPDATE timeline SET status = 'pending' WHERE uri LIKE '%-a.ndjson'", &["timeline-ends-in-state"]),
    ("DELETE FROM runs WHERE manifest_id = 'done'", &["completed-has-commit"]),
    ("DELETE FROM commits WHERE manifest_id = 'done'", &["completed-has-commit"]),
    (
        "UPDATE files SET status = 'quarantined', reason = 'too-small', quarantine_uri = 'file:///nowhere/x' WHERE uri LIKE '%-f.ndjson'; UPDATE timeline SET status = 'quarantined' WHERE uri LIKE '%-f.ndjson'",
        &["quarantine-exists"],
    ),
    ("UPDATE backlogs SET pending_files = 7", &["counters"]),
    ("UPDATE backlogs SET pending_bytes = 7", &["counters"]),
    (
        "INSERT INTO locks VALUES ('LOCK#2025-12-23', 'dead', 3, '2025-01-01T00:00:00.000000Z', '2025-01-01T00:00:00.000000Z')",
        &["locks"],
    ),
    (
        "UPDATE documents SET document = (SELECT replace(document, '\"open\"', '\"waits\"') FROM documents WHERE manifest_id = 'open') WHERE manifest_id = 'waits'",
        &["one-open-manifest", "files-follow-run", "totals"],
    ),
    (
        "UPDATE files SET status = 'completed' WHERE uri LIKE '%-c.ndjson'; INSERT INTO timeline SELECT uri, updated_at, status, '' FROM files WHERE uri LIKE '%-c.ndjson'",
        &["files-follow-run"],
    ),
    ("DELETE FROM documents WHERE manifest_id = 'waits'", &["document-is-store-copy"]),
    ("UPDATE commits SET result = replace(result, '\"lines\":1', '\"lines\":2')", &["ledger-adds-up"]),
    ("UPDATE commits SET result = replace(result, '\"bytes\":7', '\"bytes\":8')", &["outputs-exist", "totals"]),
    ("UPDATE commits SET result = replace(result, '{\"rows\":2,', '{\"rows\":3,')", &["totals"]),
    ("UPDATE runs SET files = 9 WHERE manifest_id = 'done'", &["totals"]),
];

/// Pairs of damages of which the second takes away what the first one damaged, or both are one: the output of a run that is gone, a
/// document that is gone, a date for which nothing waits any more.
const MOOT: [(usize, &[usize]); 4] = [(3, &[12, 13, 14, 15]), (4, &[12, 13, 14]), (9, &[11]), (1, &[5, 7, 8])];
/// Damages that leave no file waiting, so that neither the counter nor the lock of its date is one of a date that waits.
const NOTHING_WAITS: (usize, [usize; 2]) = (5, [7, 8]);
/// Damages that have one possible truth: a state with any two of them is sound after the mending.
const MENDED: [usize; 6] = [0, 2, 6, 7, 8, 10];
/// Pair of damages of one file after which nothing tells where it was: it is completed, and in no manifest.
const UNTOLD: (usize, usize) = (0, 10);

fn is_moot(i: usize, j: usize) -> bool {
    MOOT.iter().any(|(first, others)| *first == i && others.contains(&j))
        || (NOTHING_WAITS.0 == i && NOTHING_WAITS.1.contains(&j))
}

fn names(found: &Consistency) -> BTreeSet<&str> {
    found.findings.iter().map(|finding| finding.invariant.as_str()).collect()
}

fn operations(world: &World) -> Operations {
    Operations::new(world.inspector.clone())
}

async fn sound() -> World {
    let mut world = World::new();
    world.fill().await;
    world.lead();
    world
}

/// The database, byte by byte as its contents are.
pub(crate) fn dump(path: &Path) -> String {
    let script = "import sqlite3, sys; print('\\n'.join(sqlite3.connect(sys.argv[1], timeout=30).iterdump()))";
    let mut python = Command::new(crate::place::python().get_program());
    let done = crate::place::Done::of(python.args(["-c", script]).arg(path).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout
}

/// Explains what was found, and mends as much of it as has one possible truth. Returns the names of what is left.
async fn mend(world: &World, found: &Consistency, what: &str) -> BTreeSet<String> {
    let told = format!("{what}: {found:?}");
    assert!(found.findings.iter().all(|one| !one.remedy.is_empty() && !one.found.is_empty()), "{told}");
    let operations = operations(world);
    let plan = operations.plan_mending(found, None, world.now).await.unwrap();
    let ana = Operator { actor: "ana".to_owned(), via: Via::Cli };
    let (files, dates, locks) = (plan.changes.len(), plan.dates.len(), plan.locks.len());
    if !plan.is_empty() {
        let _ = operations.mend(plan, &ana, "mended", world.now).await.unwrap();
        let filter = AuditFilter { day: world.now.date_naive().into(), subject: None, limit: 100, cursor: None };
        let notes = world.store.audits(&filter).await.unwrap().items;
        let is_noted = |action: &str| notes.iter().any(|note| note.action == action && note.outcome.is_some());
        assert!(dates == 0 || is_noted("state recount"), "{told} {notes:?}");
        assert!(locks == 0 || is_noted("state unlock"), "{told} {notes:?}");
        assert!(files == 0 || is_noted("state validate-consistency"), "{told} {notes:?}");
    }
    // What was changed just now is too young to be judged.
    let later = world.now + Duration::minutes(3);
    let left = operations.validate_consistency(ALL, later).await.unwrap();
    let (before, left_names) = (names(found), names(&left));
    assert!(left_names.is_subset(&before), "{told} {left:?}");
    assert!(!left_names.contains("counters") && !left_names.contains("locks"), "{told} {left:?}");
    left_names.into_iter().map(str::to_owned).collect()
}

fn check_pair(i: usize, j: usize, found: &Consistency) {
    let wanted: BTreeSet<&str> = DAMAGES[i].1.iter().chain(DAMAGES[j].1).copied().collect();
    assert!(is_moot(i, j) || names(found).is_superset(&wanted), "{i} and {j}: {found:?}");
}

fn check_left(i: usize, j: usize, left: &BTreeSet<String>) {
    let has_one_truth = [i, j].iter().all(|damage| MENDED.contains(damage)) && (i, j) != UNTOLD;
    assert!(!has_one_truth || left.is_empty(), "{i} and {j}: {left:?}");
}

#[tokio::test]
async fn each_damage_is_found_by_the_invariant_it_breaks() {
    let world = sound().await;
    let healthy = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
    assert!(healthy.findings.is_empty(), "{healthy:?}");
    drop(world);
    for (i, (statement, broken)) in DAMAGES.into_iter().enumerate() {
        let world = sound().await;
        world.sql(statement);
        let found = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
        assert_eq!(names(&found), broken.iter().copied().collect(), "{statement}: {found:?}");
        // A plan changes no byte.
        let before = dump(&world.place.path("state.db"));
        let _ = operations(&world).plan_mending(&found, None, world.now).await.unwrap().dry();
        assert!(dump(&world.place.path("state.db")) == before, "{statement}");
        check_left(i, i, &mend(&world, &found, statement).await);
    }
    // Without a scheduler the open run has nobody.
    let mut world = sound().await;
    world.resign();
    let found = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
    assert!(found.findings.iter().all(|finding| finding.invariant == "open-runs-have-holder"), "{found:?}");
    assert_eq!(found.findings.len(), 1);
    std::fs::remove_file(world.place.path("out/done.parquet")).unwrap();
    let found = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
    assert!(found.findings.iter().any(|finding| finding.invariant == "outputs-exist"), "{found:?}");
}

/// One hides no other, and nothing new is broken by the mending.
#[tokio::test]
async fn damages_in_pairs_are_found_and_mended_as_far_as_there_is_one_truth() {
    for (i, j) in pairs().filter(|(i, j)| i != j) {
        let world = sound().await;
        world.sql(&format!("{}; {}", DAMAGES[i].0, DAMAGES[j].0));
        let found = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
        check_pair(i, j, &found);
        check_left(i, j, &mend(&world, &found, &format!("{i} and {j}")).await);
    }
}

/// Each damage with itself and with each that comes after it.
fn pairs() -> impl Iterator<Item = (usize, usize)> {
    (0..DAMAGES.len()).flat_map(|i| (i..DAMAGES.len()).map(move |j| (i, j)))
}

#[tokio::test]
async fn damages_in_pairs_are_found_and_mended_in_dynamodb_too() {
    let aws = Aws::start();
    let (store, client, names_of_tables) = aws.fresh_store_and_tables().await;
    let mut world = World::on(Place::new(), store);
    world.fill().await;
    // Somebody runs the manifests.
    let _ = world.store.lock("LOCK#runs", "host-3", Duration::hours(2), world.now).await.unwrap().unwrap();
    let tables = Tables::new(client, names_of_tables);
    let sound = tables.dump().await;
    let healthy = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
    assert!(healthy.findings.is_empty(), "{healthy:?}");
    for (i, j) in pairs() {
        tables.restore(&sound).await;
        tables.damage(i, &world).await;
        if i != j {
            tables.damage(j, &world).await;
        }
        let found = operations(&world).validate_consistency(ALL, world.now).await.unwrap();
        check_pair(i, j, &found);
        if i == j {
            assert_eq!(names(&found), DAMAGES[i].1.iter().copied().collect(), "{i}: {found:?}");
            // A plan changes no byte.
            let before = tables.dump().await;
            let _ = operations(&world).plan_mending(&found, None, world.now).await.unwrap().dry();
            assert!(tables.dump().await == before, "{i}");
        }
        check_left(i, j, &mend(&world, &found, &format!("{i} and {j}")).await);
    }
}

/// A file in no manifest goes to no second one while the run that names it is open, or has its rows.
#[tokio::test]
async fn a_file_whose_manifest_is_not_noted_goes_back_to_the_run_that_names_it() {
    let world = sound().await;
    world.sql(
        "UPDATE files SET manifest_id = NULL; UPDATE files SET status = 'processing' WHERE uri LIKE '%-a.ndjson'; \
         UPDATE documents SET document = replace(document, '-e.ndjson', '-z.ndjson') WHERE manifest_id = 'waits'",
    );
    sql(&world.place.path("state.db"), "UPDATE files SET updated_at = '2025-01-01T00:00:00.000000Z'");
    let query = millwork_scheduler::ResetQuery {
        uris: ["a", "c", "e"].map(|name| world.uri(name)).to_vec(),
        date: None,
        state: None,
        older_than: Duration::zero(),
        limit: 10,
    };
    let plan = operations(&world).plan_reset(&query, world.now).await.unwrap();
    let after = plan.iter().map(|planned| {
        let after = planned.after.as_ref().unwrap();
        (after.state.as_str(), after.manifest_id.as_deref())
    });
    let wanted = [("completed", Some("done")), ("processing", Some("open")), ("pending", None)];
    assert_eq!(after.collect::<Vec<_>>(), wanted, "{plan:?}");
}
