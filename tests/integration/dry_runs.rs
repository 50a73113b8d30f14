//! Plans and dry runs of every kind change no byte of a state but the record of the plan, in SQLite and in DynamoDB.

use crate::damages::{Tables, dump};
use crate::place::{Done, Place, binary};
use crate::servers::Aws;
use crate::why::World;
use chrono::Duration;
use millwork_api::{Action, DateQuery, FileQuery, PlanRequest, Priority, RunQuery, Select, WantedState};
use millwork_manifest::{Failure, FailureClass};
use millwork_scheduler::{Applied, Operations, Operator, Outcome, PlanError, ReadPlaces, ResetQuery, Service};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::Via;
use std::process::Command;

fn operator() -> Operator {
    Operator { actor: "ops".to_owned(), via: Via::Api }
}

/// Adds a run that failed, and a file that was refused.
async fn add_trouble(world: &World) {
    let id = world.started("broken", &["g"]).await;
    world.store.fail(&id, 1, &Failure::new(FailureClass::Storage, "an outage"), world.now).await.unwrap();
    world.place.input("no-date.ndjson", "{}\n");
    world.tracked(&[]).await;
}

fn service(world: &World) -> Service {
    let input = Places::of(&Location::parse(world.place.path("in").to_str().unwrap()).unwrap());
    Service::new(world.store.clone(), ReadPlaces::new(input, Places::none(), None), Storage::default())
}

/// Plans of every kind, of subjects that are named and of those that match.
fn requests(world: &World) -> Vec<PlanRequest> {
    let refused = world.place.path("in/no-date.ndjson").display().to_string();
    let named = [
        (Action::Retry, "broken"),
        (Action::Cancel, "open"),
        (Action::Cancel, "waits"),
        (Action::Force, "done"),
        (Action::Priority(Priority(9)), "waits"),
        (Action::Redrive, &format!("file://{refused}")),
        (Action::Reset, world.uri("c").as_str()),
        (Action::SetState(WantedState::Quarantined), world.uri("f").as_str()),
        (Action::Recount, "2025-12-23"),
        (Action::Cut, "2025-12-23"),
        (Action::Sweep, "2025-12-23"),
    ]
    .map(|(action, subject)| (action, Select::Ids(vec![subject.to_owned()])));
    let runs = [Action::Retry, Action::Cancel, Action::Force, Action::Priority(Priority(9))];
    let matching = runs.map(|action| (action, Select::Runs(RunQuery::default())));
    let files = (Action::Redrive, Select::Files(FileQuery::default()));
    let dates =
        [Action::Recount, Action::Cut, Action::Sweep].map(|action| (action, Select::Dates(DateQuery::default())));
    let all = named.into_iter().chain(matching).chain([files]).chain(dates);
    all.map(|(action, select)| PlanRequest { action, select, reason: Some("trial".to_owned()) }).collect()
}

/// Operations on files that are only planned.
async fn try_operations(world: &World) {
    let operations = Operations::new(world.inspector.clone());
    let late = world.now + Duration::days(1);
    let query = ResetQuery { uris: Vec::new(), date: None, state: None, older_than: Duration::zero(), limit: 10 };
    let _ = Applied::dry(operations.plan_reset(&query, late).await.unwrap());
    let to = |name: &str, to| millwork_scheduler::Requested {
        uri: world.uri(name),
        to,
        expect_state: None,
        expect_version: None,
        reprocess: true,
    };
    use millwork_manifest::FileState::{Pending, Quarantined};
    let changes = [to("a", Pending), to("f", Quarantined), to("g", Pending)];
    let dry = Applied::dry(operations.plan(&changes, late).await.unwrap());
    assert!(dry.count(Outcome::Planned) >= 2, "{dry:?}");
    let scope = millwork_scheduler::Scope { date: None, limit: 1000, looks_at_objects: true };
    let found = operations.validate_consistency(scope, late).await.unwrap();
    let _ = operations.plan_mending(&found, None, late).await.unwrap().dry();
}

#[tokio::test]
async fn a_plan_of_any_kind_changes_no_byte_of_sqlite() {
    let mut world = World::new();
    world.fill().await;
    add_trouble(&world).await;
    let path = world.place.path("state.db");
    // The plan itself is kept.
    let contents = || {
        let dump = dump(&path);
        dump.lines().filter(|line| !line.starts_with("INSERT INTO \"plans\"")).collect::<Vec<_>>().join("\n")
    };
    let before = contents();
    let service = service(&world);
    let mut planned = 0;
    for request in requests(&world) {
        let plan = service.make_plan(request.clone(), &operator(), &crate::plans::prices()).await.unwrap();
        planned += plan.changes.len();
        assert!(contents() == before, "{request:?}");
    }
    assert!(planned >= 10, "{planned}");
    try_operations(&world).await;
    assert!(contents() == before);
}

#[tokio::test]
async fn a_plan_of_any_kind_changes_no_byte_of_dynamodb() {
    let aws = Aws::start();
    let (store, client, names) = aws.fresh_store_and_tables().await;
    let mut world = World::on(Place::new(), store);
    world.fill().await;
    add_trouble(&world).await;
    let tables = Tables::new(client, names);
    let contents = async || {
        let mut dump = tables.dump().await;
        dump.retain(|(_, key), _| !key.starts_with("PLAN#"));
        dump
    };
    let before = contents().await;
    let service = service(&world);
    for request in requests(&world) {
        let _ = service.make_plan(request.clone(), &operator(), &crate::plans::prices()).await.unwrap();
        assert!(contents().await == before, "{request:?}");
    }
    try_operations(&world).await;
    assert!(contents().await == before);
}

/// Two who apply one plan at once have one effect.
#[tokio::test]
async fn a_plan_that_is_applied_twice_at_once_has_one_effect() {
    let mut world = World::new();
    world.fill().await;
    let service = service(&world);
    let force = PlanRequest {
        action: Action::Force,
        select: Select::Ids(vec!["done".to_owned()]),
        reason: Some("twice".to_owned()),
    };
    let plan = service.make_plan(force, &operator(), &crate::plans::prices()).await.unwrap();
    let ops = operator();
    let apply = || service.apply_plan(&plan.id, &ops);
    let (one, two, three) = tokio::join!(apply(), apply(), apply());
    let outcomes = [one, two, three];
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_ok()).count(), 1, "{outcomes:?}");
    let is_refused = |error: &PlanError| matches!(error, PlanError::Used { .. } | PlanError::Busy { .. });
    assert!(outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).all(is_refused), "{outcomes:?}");
    assert_eq!(world.store.run_head(&"done".parse().unwrap()).await.unwrap().unwrap().generation, 2);
}

/// Mark of a command that ends well, with findings or without.
const ANY: i32 = -1;

/// Commands that only show what they would do.
#[tokio::test]
async fn a_command_that_only_shows_changes_no_byte() {
    let mut world = World::new();
    world.fill().await;
    add_trouble(&world).await;
    world.sql("UPDATE backlogs SET pending_files = 7; UPDATE runs SET status = 'failed' WHERE manifest_id = 'open'");
    world.sql("UPDATE files SET updated_at = '2025-01-01T00:00:00.000000Z'; UPDATE runs SET updated_at = '2025-01-01T00:00:00.000000Z'");
    let path = world.place.path("state.db");
    let state = format!("sqlite:{}", path.display());
    let uri = world.uri("f").to_string();
    let before = (dump(&path), world.place.files("in"), world.place.files("out"));
    let input = world.place.path("in").display().to_string();
    for (program, arguments, code) in [
        ("millwork", vec!["state", "reset-stuff"], 2),
        ("millwork", vec!["state", "reset-stuck-files"], 3),
        ("millwork", vec!["state", "validate-consistency", "--fix"], 3),
        ("millwork", vec!["state", "validate-consistency", "--fix", "--json"], 3),
        ("millwork", vec!["state", "update-state", &uri, "--to", "quarantined"], 3),
        ("millwork", vec!["state", "find-orphans"], ANY),
        ("millwork", vec!["state", "get-stats"], ANY),
        ("millwork", vec!["why", "waits"], ANY),
        ("millwork", vec!["doctor"], ANY),
        ("millwork", vec!["backfill", "--prefix", &input, "--dry-run"], 3),
        ("millwork", vec!["backfill", "--prefix", &input], 3),
        ("millwork", vec!["sweep", "--max-wait-seconds", "0"], 3),
        ("millwork", vec!["dates", "cut", "2025-12-23"], ANY),
        ("millwork-manifest-builder", vec!["redrive", "--prefix", &input], ANY),
    ] {
        let mut command = Command::new(binary(program));
        command.args(&arguments).args(["--state", &state]).env("INPUT_PLACES", &input);
        command.env("MILLWORK_MANIFESTS", world.place.path("manifests")).env("SIZE_TOLERANCE_PERCENT", "100");
        let done = Done::of(command.output().unwrap());
        let is_right = done.code == Some(code) || (code == ANY && matches!(done.code, Some(0 | 3)));
        assert!(is_right, "{arguments:?}: {:?} {}{}", done.code, done.stdout, done.stderr);
        assert!((dump(&path), world.place.files("in"), world.place.files("out")) == before, "{arguments:?}");
    }
}
