//! Operations on the state: healthy ones have no finding, each damage is found alone, and what mends it mends it.

use crate::place::{Done, Place};
use crate::servers::Aws;
use crate::why::{World, date, sql};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{FileState, ObjectUri};
use millwork_scheduler::{
    About, Applied, Inspector, Operations, Operator, OrphanKind, Outcome, Requested, ResetQuery, Scope,
};
use millwork_tracking::{AuditEntry, AuditFilter, SqliteStore, TrackingStore, Via};
use std::collections::BTreeSet;
use std::sync::Arc;

const ALL: Scope = Scope { date: None, limit: 10_000, looks_at_objects: true };

fn operations(world: &World) -> Operations {
    Operations::new(world.inspector.clone())
}

fn stuck(uris: Vec<ObjectUri>) -> ResetQuery {
    ResetQuery { uris, date: None, state: None, older_than: Duration::hours(2), limit: 1000 }
}

fn who(name: &str) -> Operator {
    Operator { actor: name.to_owned(), via: Via::Cli }
}

/// The notes of the day of a moment.
async fn notes(store: &dyn TrackingStore, at: DateTime<Utc>) -> Vec<AuditEntry> {
    let filter = AuditFilter { day: at.date_naive().into(), subject: None, limit: 100, cursor: None };
    store.audits(&filter).await.unwrap().items
}

fn request(uri: ObjectUri, to: FileState) -> Requested {
    Requested { uri, to, expect_state: None, expect_version: None, reprocess: false }
}

/// Real runs, then a look at what they left, as it will be in an hour: nothing is too young then.
#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_state_has_no_finding() {
    let place = Place::new();
    place.generate(&["--files", "6", "--dates", "2", "--dirty", "5", "--size-mb", "0.1"]);
    let report = place.run_well(&[]);
    let state = place.path("out/_millwork/state.db");
    let store = Arc::new(SqliteStore::open(&state).unwrap());
    let places =
        millwork_storage::Places::of(&millwork_storage::Location::parse(place.path("in").to_str().unwrap()).unwrap());
    let mut about = About::default();
    about.written.push(("the output", millwork_storage::Location::parse(place.path("out").to_str().unwrap()).unwrap()));
    let operations = Operations::new(Inspector::on(store, millwork_storage::Storage::default(), Some(places), about));
    let later = Utc::now() + Duration::hours(1);
    let checked = operations.validate_consistency(ALL, later).await.unwrap();
    assert!(checked.findings.is_empty(), "{checked:?} of {report}");
    assert!(checked.files >= 12 && checked.runs >= 2 && checked.checked.len() == 13, "{checked:?}");
    let mut orphans = operations.find_orphans(Duration::zero(), later).await.unwrap();
    operations.add_orphaned_objects(&mut orphans, Duration::zero(), later).await.unwrap();
    assert!(orphans.orphans.is_empty() && orphans.objects_listed.unwrap() > 12, "{orphans:?}");

    // The commands say so, too, and keep the numbers.
    let url = format!("sqlite:{}", state.display());
    for arguments in [
        vec!["validate-consistency"],
        vec!["find_orphans", "--record"],
        vec!["get-stats", "--record"],
        vec!["query-by-status", "completed"],
        vec!["reset_stuck_files"],
    ] {
        let mut command = place.command("millwork");
        command.arg("state").args(&arguments).args(["--state", &url, "--json"]);
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, Some(0), "{arguments:?}: {}{}", done.stdout, done.stderr);
        assert!(done.json().is_object(), "{arguments:?}");
        // A state gives files as a scheduler does.
        for file in done.json()["files"].as_array().into_iter().flatten() {
            let known: millwork_api::File = serde_json::from_value(file.clone()).unwrap();
            assert_eq!(&serde_json::to_value(known).unwrap(), file);
        }
    }
}

/// A world with a run of each kind, all of which is as it should be.
async fn sound() -> World {
    let mut world = World::new();
    world.fill().await;
    // Somebody runs the manifests.
    world.lead();
    world
}

#[tokio::test]
async fn each_orphan_is_found_alone() {
    let outcomes = [
        ("DELETE FROM runs WHERE manifest_id = 'waits'", OrphanKind::ManifestedWithoutRun, 1),
        ("UPDATE runs SET status = 'cancelled' WHERE manifest_id = 'open'", OrphanKind::ProcessingWithoutOpenRun, 2),
        ("UPDATE runs SET status = 'draft' WHERE manifest_id = 'waits'", OrphanKind::OldDraft, 1),
        ("UPDATE backlogs SET pending_files = 0", OrphanKind::Uncounted, 1),
    ];
    for (statement, kind, count) in outcomes {
        let world = sound().await;
        world.sql(statement);
        let found = operations(&world).find_orphans(Duration::minutes(2), world.now).await.unwrap();
        let kinds: Vec<_> = found.orphans.iter().map(|orphan| orphan.kind).collect();
        assert_eq!(kinds, vec![kind; count], "{statement}: {found:?}");
    }
    let world = sound().await;
    world.place.input("2025-12-23-stranger.ndjson", "{}\n");
    std::fs::write(world.place.path("out/stranger.parquet"), "x").unwrap();
    std::fs::remove_file(world.place.path("in/2025-12-23-f.ndjson")).unwrap();
    let mut found = operations(&world).find_orphans(Duration::zero(), world.now).await.unwrap();
    operations(&world).add_orphaned_objects(&mut found, Duration::zero(), world.now).await.unwrap();
    let kinds: BTreeSet<OrphanKind> = found.orphans.iter().map(|orphan| orphan.kind).collect();
    let wanted = [OrphanKind::UnknownObject, OrphanKind::MissingObject, OrphanKind::UnnamedOutput];
    let wanted: BTreeSet<OrphanKind> = wanted.into_iter().collect();
    assert_eq!(kinds, wanted, "{found:?}");
}

#[tokio::test]
async fn what_is_stuck_is_put_back_as_its_run_prescribes() {
    let world = sound().await;
    world.sql("UPDATE runs SET status = 'failed' WHERE manifest_id = 'open'");
    world.sql("UPDATE files SET status = 'processing' WHERE uri LIKE '%-a.ndjson'");
    let operations = operations(&world);
    let before = world.store.files(&[world.uri("a"), world.uri("c")]).await.unwrap();
    let plan = operations.plan_reset(&stuck(Vec::new()), world.now + Duration::hours(3)).await.unwrap();
    // A plan changes nothing.
    let dry = Applied::dry(plan);
    assert_eq!((dry.count(Outcome::Planned), dry.is_dry_run), (3, true), "{dry:?}");
    assert_eq!(world.store.files(&[world.uri("a"), world.uri("c")]).await.unwrap(), before);
    assert!(notes(&*world.store, world.now).await.is_empty());
    let plan = operations.plan_reset(&stuck(Vec::new()), world.now + Duration::hours(3)).await.unwrap();
    let applied = operations.apply(plan, "reset-stuck-files", &who("ana@ops"), "host lost", world.now).await.unwrap();
    assert_eq!(applied.count(Outcome::Done), 3, "{applied:?}");
    let state = async |name: &str| world.store.files(&[world.uri(name)]).await.unwrap().remove(0).unwrap().state;
    assert_eq!(
        [state("a").await, state("c").await, state("d").await],
        [FileState::Completed, FileState::Pending, FileState::Pending]
    );
    let noted = notes(&*world.store, world.now).await;
    assert_eq!(
        (noted.len(), noted[0].actor.as_str(), noted[0].action.as_str()),
        (1, "ana@ops", "state reset-stuck-files")
    );
    assert_eq!((noted[0].reason.as_deref(), noted[0].subjects.len()), (Some("host lost"), 3), "{noted:?}");
    assert_eq!(noted[0].outcome.as_deref(), Some("3 done, 0 skipped, 0 failed"));
    // Nothing is left to be found.
    let after = operations.plan_reset(&stuck(Vec::new()), world.now + Duration::hours(3)).await.unwrap();
    assert!(after.is_empty(), "{after:?}");
    let healthy = operations.plan_reset(&stuck(vec![world.uri("e")]), world.now).await.unwrap();
    assert!(healthy[0].after.is_none() && healthy[0].why.contains("goes on"), "{healthy:?}");
}

/// The files of a result that cannot be read may have been converted: none becomes pending, and none of its outputs nobody's.
#[tokio::test]
async fn a_result_that_cannot_be_read_is_named_and_takes_no_file_for_unconverted() {
    let world = sound().await;
    world.sql("UPDATE files SET status = 'processing', manifest_id = NULL WHERE uri LIKE '%-a.ndjson'");
    let plan =
        async || operations(&world).plan_reset(&stuck(vec![world.uri("a")]), world.now + Duration::hours(3)).await;
    let readable = plan().await.unwrap();
    let after = readable[0].after.as_ref().unwrap_or_else(|| panic!("{readable:?}"));
    assert_eq!(after.state, FileState::Completed, "{readable:?}");
    world.sql("UPDATE commits SET result = '{\"rows\": \"many\"}' WHERE manifest_id = 'done'");
    let error = plan().await.unwrap_err().to_string();
    assert!(error.contains("result of a run") && error.contains("done: "), "{error}");
}

#[tokio::test]
async fn only_changes_that_can_harm_no_row_are_made_and_only_if_nothing_has_changed() {
    let world = sound().await;
    let operations = operations(&world);
    for (name, to, part) in [
        ("a", FileState::Pending, "--reprocess"),
        ("c", FileState::Pending, "cancel the run first"),
        ("e", FileState::Pending, "cancel the run first"),
        ("f", FileState::Completed, "only a run"),
        ("f", FileState::Pending, "already"),
        ("nowhere", FileState::Pending, "no such file"),
    ] {
        let plan = operations.plan(&[request(world.uri(name), to)], world.now).await.unwrap();
        assert!(plan[0].after.is_none() && plan[0].why.contains(part), "{name}: {plan:?}");
        let applied = operations.apply(plan, "update-state", &who("ana"), "because", world.now).await.unwrap();
        assert_eq!(applied.count(Outcome::Refused), 1);
    }
    // Refused by an operator, it stays so, whatever is listed.
    let refuse = request(world.uri("f"), FileState::Quarantined);
    let plan = operations.plan(std::slice::from_ref(&refuse), world.now).await.unwrap();
    let late = operations.plan(&[refuse], world.now).await.unwrap();
    let applied = operations.apply(plan, "update-state", &who("ana"), "not ours", world.now).await.unwrap();
    assert_eq!(applied.count(Outcome::Done), 1, "{applied:?}");
    let skipped = operations.apply(late, "update-state", &who("bob"), "too late", world.now).await.unwrap();
    assert_eq!(skipped.count(Outcome::Skipped), 1, "{skipped:?}");
    assert!(skipped.changes[0].planned.why.contains("by now"), "{skipped:?}");
    world.tracked(&[]).await;
    let file = world.store.files(&[world.uri("f")]).await.unwrap().remove(0).unwrap();
    assert_eq!((file.state, file.reason.as_deref()), (FileState::Quarantined, Some("by-operator")));
    let back = Requested { expect_version: Some(file.version), ..request(world.uri("f"), FileState::Pending) };
    let wrong = Requested { expect_version: Some(99), ..back.clone() };
    assert!(operations.plan(&[wrong], world.now).await.unwrap()[0].why.contains("version"));
    let plan = operations.plan(&[back], world.now).await.unwrap();
    assert_eq!(
        operations.apply(plan, "update-state", &who("ana"), "ours", world.now).await.unwrap().count(Outcome::Done),
        1
    );
    // A converted file is converted once more, with the content that it has now.
    world.place.input("2025-12-23-a.ndjson", "{\"newer\":true}\n");
    let again = Requested { reprocess: true, ..request(world.uri("a"), FileState::Pending) };
    let plan = operations.plan(&[again], world.now).await.unwrap();
    assert_eq!(
        operations.apply(plan, "update-state", &who("ana"), "corrected", world.now).await.unwrap().count(Outcome::Done),
        1
    );
    let file = world.store.files(&[world.uri("a")]).await.unwrap().remove(0).unwrap();
    assert_eq!((file.state, file.size_bytes, file.manifest_id), (FileState::Pending, 15, None));
    let timeline = operations.story_of_file(&world.uri("a")).await.unwrap();
    assert!(timeline.steps.last().unwrap().detail.as_ref().unwrap().contains("by ana: corrected"), "{timeline:?}");
    let backlog = world.store.backlog(date()).await.unwrap();
    assert_eq!(backlog.pending_files, 2);
}

/// The same operations on DynamoDB's protocol, and a damage found there.
#[tokio::test]
async fn operations_work_on_dynamodb() {
    use millwork_tracking::{FoundFile, Overwrites};
    let aws = Aws::start();
    let store = aws.fresh_store().await;
    let now = Utc::now();
    let uri: ObjectUri = "s3://in/2025-12-23-a.ndjson".parse().unwrap();
    let found = FoundFile {
        uri: uri.clone(),
        date: Some(date()),
        size_bytes: 7,
        etag: "1".to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    };
    let _ = store.track(&[found], Overwrites::Record, now).await.unwrap();
    let operations =
        Operations::new(Inspector::on(store.clone(), millwork_storage::Storage::default(), None, About::default()));
    let later = now + Duration::hours(1);
    let checked = operations.validate_consistency(Scope { looks_at_objects: false, ..ALL }, later).await.unwrap();
    assert!(checked.findings.is_empty() && checked.files == 1, "{checked:?}");
    let plan = operations.plan(&[request(uri.clone(), FileState::Quarantined)], later).await.unwrap();
    let applied = operations.apply(plan, "update-state", &who("ana"), "not ours", later).await.unwrap();
    assert_eq!(applied.count(Outcome::Done), 1, "{applied:?}");
    let report = operations.get_file_state(&uri, later).await.unwrap();
    assert_eq!(report.diagnosis.code.as_str(), "refused", "{report:?}");
    assert_eq!(store.backlog(date()).await.unwrap().pending_files, 0);
    assert_eq!(notes(&*store, later).await.len(), 1);
    let stats = operations.get_stats(1000, later).await.unwrap();
    assert_eq!(stats.totals(), [("quarantined-bytes".to_owned(), 7), ("quarantined-files".to_owned(), 1)]);
    operations.record("stats", &stats.totals(), later).await.unwrap();
    operations.record("stats", &stats.totals(), later).await.unwrap();
    let metrics = store.metrics(later.date_naive().into()).await.unwrap();
    assert!(
        metrics.iter().any(|metric| metric.metric_type.ends_with("quarantined-files") && metric.value == 1),
        "{metrics:?}"
    );
}

/// `millwork state` and `millwork doctor`, as a stranger types them.
#[tokio::test]
async fn commands_show_first_and_change_when_told() {
    let world = sound().await;
    world.sql("UPDATE runs SET status = 'failed' WHERE manifest_id = 'open'");
    sql(
        &world.place.path("state.db"),
        "UPDATE files SET updated_at = '2025-01-01T00:00:00.000000Z' WHERE status = 'processing'",
    );
    let url = format!("sqlite:{}", world.place.path("state.db").display());
    let ran = |arguments: &[&str]| {
        let mut command = world.place.command("millwork");
        Done::of(command.args(arguments).args(["--state", &url]).output().unwrap())
    };
    let shown = ran(&["state", "reset-stuck-files"]);
    assert_eq!(shown.code, Some(3), "{}{}", shown.stdout, shown.stderr);
    assert!(shown.stdout.contains("- processing") && shown.stdout.contains("+ pending"), "{}", shown.stdout);
    assert!(shown.stderr.contains("nothing was changed"), "{}", shown.stderr);
    let nameless = ran(&["state", "reset-stuck-files", "--yes"]);
    assert!(nameless.code == Some(2) && nameless.stderr.contains("say why"), "{}", nameless.stderr);
    let made = ran(&["state", "reset-stuck-files", "--yes", "--reason", "host lost"]);
    assert_eq!(made.code, Some(0), "{}{}", made.stdout, made.stderr);
    world.sql("UPDATE backlogs SET pending_files = 9; UPDATE files SET updated_at = '2025-01-01T00:00:00.000000Z'");
    let told = ran(&["state", "validate-consistency", "--fix"]);
    assert!(told.code == Some(3) && told.stdout.contains("would be counted anew"), "{}{}", told.stdout, told.stderr);
    assert_eq!(world.store.backlog(date()).await.unwrap().pending_files, 9, "a plan changes nothing");
    let mended = ran(&["state", "validate-consistency", "--fix", "--yes", "--reason", "counted wrong"]);
    assert_eq!(mended.code, Some(0), "{}{}", mended.stdout, mended.stderr);
    assert_ne!(world.store.backlog(date()).await.unwrap().pending_files, 9);
    let again = ran(&["state", "reset-stuck-files"]);
    assert_eq!(again.code, Some(0), "{}", again.stdout);
    world
        .sql("UPDATE files SET status = 'failed' WHERE uri = (SELECT uri FROM files WHERE status = 'pending' LIMIT 1)");
    let input = world.place.path("in");
    let out = world.place.path("out");
    let places = ["--input-places", input.to_str().unwrap(), "--output", out.to_str().unwrap()];
    let examined = ran(&[&["doctor", "--json"][..], &places].concat());
    let checks = examined.json();
    let verdict = |name: &str| {
        let checks = checks["checks"].as_array().unwrap();
        let found = checks.iter().find(|check| check["name"].as_str().unwrap().starts_with(name));
        found.unwrap_or_else(|| panic!("no check `{name}`: {checks:?}"))["verdict"].as_str().unwrap().to_owned()
    };
    assert_eq!([verdict("state"), verdict("tables"), verdict("input"), verdict("output")], ["fine"; 4], "{checks}");
    assert_eq!((verdict("failed files"), examined.code), ("warning".to_owned(), Some(3)), "{checks}");
    let left: Vec<_> = world.place.files("out").into_iter().filter(|name| name.contains("doctor")).collect();
    assert!(left.is_empty(), "{left:?}");
    let absent = ran(&["doctor", "--output", "/proc/nowhere"]);
    assert!(absent.code == Some(3) && absent.stdout.contains("✗ output /proc/nowhere"), "{}", absent.stdout);
}
