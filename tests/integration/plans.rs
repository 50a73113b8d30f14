//! Change plans: the list that was shown is what changes, once, whatever dies.

use crate::servers::Aws;
use crate::store::faults::{Fate, Faulty, Gate};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_api::{
    Action, ChangeResult, FileQuery, Plan, PlanCost, PlanRequest, PlanState, Prices, Priority, RunQuery, Select,
};
use millwork_manifest::{
    DatePrefix, Failure, FailureClass, FileState, Manifest, ManifestFile, ManifestId, ObjectUri, QuarantineReason,
    RunState,
};
use millwork_scheduler::{Operator, PlanError, ReadPlaces, Service};
use millwork_storage::{Places, Storage};
use millwork_tracking::{
    AuditEntry, AuditFilter, FoundFile, Overwrites, PlanRecord, QueuedManifest, SqliteStore, TrackingStore, Via,
};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

type Store = Arc<dyn TrackingStore>;

fn service(store: &Store) -> Service {
    Service::new(store.clone(), ReadPlaces::new(Places::none(), Places::none(), None), Storage::default())
}

fn operator(name: &str) -> Operator {
    Operator { actor: name.to_owned(), via: Via::Api }
}

fn id(name: &str) -> ManifestId {
    name.parse().unwrap()
}

/// Default prices.
pub(crate) fn prices() -> Prices {
    millwork_scheduler::read_prices(None).unwrap()
}

/// Queues a run of one file.
async fn queue(store: &Store, name: &str) {
    let uri = format!("s3://in/2025-12-23-{name}.ndjson").parse().unwrap();
    let files = vec![ManifestFile { uri, size_bytes: Some(7), etag: None, version_id: None }];
    let manifest = Manifest {
        id: id(name),
        date: "2025-12-23".parse().unwrap(),
        created_at: Utc::now(),
        files,
        traceparents: Vec::new(),
    };
    let queued = QueuedManifest { manifest, uri: format!("inline:{name}") };
    assert!(store.submit(&queued, 0, Utc::now()).await.unwrap());
}

/// The same, of a run that has failed.
async fn fail(store: &Store, name: &str) {
    queue(store, name).await;
    let failure = Failure::new(FailureClass::Storage, "an outage".to_owned());
    store.fail(&id(name), 0, &failure, Utc::now()).await.unwrap();
}

async fn state(store: &Store, name: &str) -> RunState {
    store.run_head(&id(name)).await.unwrap().unwrap().state
}

async fn notes(store: &Store) -> Vec<AuditEntry> {
    let mut notes = Vec::new();
    // A test may run over midnight.
    for day in [Utc::now() - Duration::days(1), Utc::now()] {
        let day = DatePrefix::from(day.date_naive());
        notes.extend(store.audits(&AuditFilter { day, subject: None, limit: 100, cursor: None }).await.unwrap().items);
    }
    notes
}

fn retry(names: &[&str]) -> PlanRequest {
    let ids = names.iter().map(|&name| name.to_owned()).collect();
    PlanRequest { action: Action::Retry, select: Select::Ids(ids), reason: Some("the outage is over".to_owned()) }
}

fn retry_failed() -> PlanRequest {
    let query = RunQuery { state: RunState::Failed.into(), ..RunQuery::default() };
    PlanRequest { action: Action::Retry, select: Select::Runs(query), reason: None }
}

fn results(plan: &Plan) -> Vec<Option<ChangeResult>> {
    plan.changes.iter().map(|change| change.result).collect()
}

/// Everything of a store that operators see, but plans.
async fn contents(store: &Store) -> String {
    let filter = millwork_tracking::RunFilter { limit: 100, ..Default::default() };
    let runs = store.list_runs(&filter).await.unwrap();
    let mut whole = Vec::new();
    for run in &runs.items {
        whole.push(store.run(&run.manifest_id).await.unwrap());
    }
    let files = millwork_tracking::FileFilter { limit: 100, ..Default::default() };
    let mut files = store.list_files(&files).await.unwrap().items;
    files.sort_by(|a, b| a.uri.as_str().cmp(b.uri.as_str()));
    format!("{whole:?} {files:?} {:?}", notes(store).await)
}

async fn a_plan_over_a_filter_acts_on_its_list_while_more_match(store: Store) {
    let service = service(&store);
    for name in ["a", "b", "c"] {
        fail(&store, name).await;
    }
    queue(&store, "waits").await;
    let before = contents(&store).await;
    let plan = service.make_plan(retry_failed(), &operator("ops"), &prices()).await.unwrap();
    assert_eq!(contents(&store).await, before, "a plan changes nothing but itself");
    let mut planned: Vec<_> = plan.changes.iter().map(|change| change.subject.as_str()).collect();
    planned.sort_unstable();
    assert_eq!((planned, plan.state), (vec!["a", "b", "c"], PlanState::Open));
    let cost = PlanCost { bytes: 3 * 7, unsized_subjects: 0, usd: None };
    assert_eq!(plan.cost, Some(cost), "nothing was converted yet that would tell a price");
    assert!(plan.changes.iter().all(|change| (change.before.as_str(), change.after.as_str()) == ("failed", "queued")));
    fail(&store, "later").await;
    // Another process, such as a standby, or this one after a restart.
    let applied = self::service(&store).apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!((applied.state, results(&applied)), (PlanState::Applied, vec![Some(ChangeResult::Done); 3]));
    for name in ["a", "b", "c"] {
        assert_eq!(state(&store, name).await, RunState::Queued);
    }
    assert_eq!(state(&store, "later").await, RunState::Failed, "it matches, and was not in the list");
    let notes = notes(&store).await;
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert_eq!((note.plan.as_deref(), note.subjects.len(), note.actor.as_str()), (Some(plan.id.as_str()), 3, "ops"));
    assert_eq!(note.outcome.as_deref(), Some("3 done, 0 skipped, 0 failed"));
    let again = service.apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(again, Err(PlanError::Used { .. })), "{again:?}");
}

async fn what_has_changed_since_is_left_alone(store: Store) {
    let service = service(&store);
    fail(&store, "a").await;
    fail(&store, "b").await;
    let plan = service.make_plan(retry(&["a", "b", "b"]), &operator("ops"), &prices()).await.unwrap();
    assert_eq!(plan.changes.len(), 2);
    service.retry(&id("a")).await.unwrap();
    let applied = service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(results(&applied), [Some(ChangeResult::Skipped), Some(ChangeResult::Done)]);
    assert!(applied.changes[0].message.as_ref().unwrap().contains("queued"), "{applied:?}");

    fail(&store, "c").await;
    let plan = service.make_plan(retry(&["c"]), &operator("ops"), &prices()).await.unwrap();
    service.retry(&id("c")).await.unwrap();
    let all = service.apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(all, Err(PlanError::AllChanged { .. })), "{all:?}");
}

async fn a_run_whose_files_went_elsewhere_is_left_out(store: Store) {
    let service = service(&store);
    fail(&store, "a").await;
    fail(&store, "b").await;
    let mut manifest = store.manifest(&id("a")).await.unwrap().unwrap();
    manifest.id = id("again");
    let queued = QueuedManifest { manifest, uri: "inline:again".to_owned() };
    assert!(store.submit(&queued, 0, Utc::now()).await.unwrap());
    let before = contents(&store).await;
    let plan = service.make_plan(retry_failed(), &operator("ops"), &prices()).await.unwrap();
    let planned: Vec<_> = plan.changes.iter().map(|change| change.subject.as_str()).collect();
    assert_eq!(planned, ["b"], "{plan:?}");
    let [refused] = plan.refused.as_slice() else { panic!("{plan:?}") };
    assert!(refused.subject == "a" && refused.reason.contains("in manifest `again`"), "{refused:?}");
    assert!(service.retry(&id("a")).await.is_err());
    assert_eq!(contents(&store).await, before, "what is refused changes nothing");
}

async fn a_plan_is_for_its_maker_and_for_a_time(store: Store) {
    let service = service(&store);
    fail(&store, "a").await;
    let plan = service.make_plan(retry(&["a"]), &operator("ops"), &prices()).await.unwrap();
    let other = service.apply_plan(&plan.id, &operator("another")).await;
    assert!(matches!(other, Err(PlanError::OfAnother { .. })), "{other:?}");
    let unknown = service.apply_plan("none", &operator("ops")).await;
    assert!(matches!(unknown, Err(PlanError::Unknown(_))), "{unknown:?}");
    // A quarter of an hour later.
    let record = store.plan(&plan.id).await.unwrap().unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&record.document).unwrap();
    document["plan"]["valid_until"] = serde_json::json!(DateTime::<Utc>::UNIX_EPOCH);
    let older = PlanRecord { revision: record.revision + 1, document: document.to_string(), ..record };
    assert!(store.update_plan(&older).await.unwrap());
    let late = service.apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(late, Err(PlanError::Expired { .. })), "{late:?}");
    assert_eq!(service.known_plan(&plan.id).await.unwrap().state, PlanState::Expired);
    assert_eq!((state(&store, "a").await, notes(&store).await.len()), (RunState::Failed, 0));
}

async fn what_cannot_change_is_told_with_the_reason(store: Store) {
    let service = service(&store);
    queue(&store, "waits").await;
    let ids = ["waits", "unknown", ".hidden", "\u{1b}[31m"].map(str::to_owned).to_vec();
    let request = |action| PlanRequest { action, select: Select::Ids(ids.clone()), reason: None };
    let plan = service.make_plan(request(Action::Retry), &operator("ops"), &prices()).await.unwrap();
    assert!(plan.changes.is_empty());
    let reasons: Vec<_> = plan.refused.iter().map(|refusal| refusal.reason.as_str()).collect();
    assert!(reasons[0].contains("queued already") && reasons[1].contains("no run"), "{reasons:?}");
    assert!(reasons[2].contains("no manifest id") && reasons.len() == 4, "{reasons:?}");
    let nothing = service.apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(nothing, Err(PlanError::Bad(_))), "{nothing:?}");
    let plan = service.make_plan(request(Action::Priority(Priority(7))), &operator("ops"), &prices()).await.unwrap();
    assert_eq!(plan.changes[0].after, "queued, priority 7");
    service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(store.run_head(&id("waits")).await.unwrap().unwrap().priority, 7);
    let plan = service.make_plan(request(Action::Cancel), &operator("ops"), &prices()).await.unwrap();
    service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(state(&store, "waits").await, RunState::Cancelled);
    let filter = FileQuery { prefix: Some("x".repeat(9 << 10)), ..FileQuery::default() };
    for (action, select) in [
        (Action::Retry, Select::Ids(Vec::new())),
        (Action::Retry, Select::Ids(vec!["m".to_owned(); 1001])),
        (Action::Retry, Select::Ids(vec!["m".repeat(300 << 10)])),
        (Action::Redrive, Select::Files(filter)),
    ] {
        let request = PlanRequest { action, select, reason: None };
        let refused = service.make_plan(request, &operator("ops"), &prices()).await;
        assert!(matches!(refused, Err(PlanError::Bad(_))), "{refused:?}");
    }
}

/// Fails one operation, from one of its calls on, as long as it is told to.
struct Failing {
    operation: &'static str,
    from: usize,
    fate: Fate,
    calls: AtomicUsize,
    is_on: AtomicBool,
    seen: Mutex<Vec<&'static str>>,
}

#[async_trait]
impl Gate for Failing {
    async fn fate(&self, operation: &'static str) -> Fate {
        self.seen.lock().unwrap().push(operation);
        let is_it = operation == self.operation && self.is_on.load(Ordering::Relaxed);
        if is_it && self.calls.fetch_add(1, Ordering::Relaxed) >= self.from { self.fate } else { Fate::Succeeds }
    }
}

fn failing(store: &Store, operation: &'static str, from: usize, fate: Fate) -> (Store, Arc<Failing>) {
    let gate = Failing {
        operation,
        from,
        fate,
        calls: AtomicUsize::new(0),
        is_on: AtomicBool::new(true),
        seen: Mutex::default(),
    };
    let gate = Arc::new(gate);
    (Arc::new(Faulty::new(store.clone(), gate.clone())), gate)
}

async fn what_cannot_be_noted_is_not_done(store: Store) {
    fail(&store, "a").await;
    let (behind, gate) = failing(&store, "audit", 0, Fate::FailsBefore);
    let service = service(&behind);
    let plan = service.make_plan(retry(&["a"]), &operator("ops"), &prices()).await.unwrap();
    let refused = service.apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(refused, Err(PlanError::Tracking(_))), "{refused:?}");
    assert_eq!((state(&store, "a").await, notes(&store).await.len()), (RunState::Failed, 0));
    assert!(!gate.seen.lock().unwrap().contains(&"requeue"));
    assert_eq!(service.known_plan(&plan.id).await.unwrap().state, PlanState::Open);
    gate.is_on.store(false, Ordering::Relaxed);
    service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(state(&store, "a").await, RunState::Queued);
}

/// What broke off between two changes, before or after the effect of one, goes on: each change is made once.
async fn what_broke_off_goes_on(store: Store, fate: Fate) {
    let names = ["a", "b", "c", "d"];
    for name in names {
        fail(&store, name).await;
    }
    let (behind, gate) = failing(&store, "requeue", 2, fate);
    let first = service(&behind);
    let plan = first.make_plan(retry(&names), &operator("ops"), &prices()).await.unwrap();
    assert!(first.apply_plan(&plan.id, &operator("ops")).await.is_err());
    assert_eq!(first.known_plan(&plan.id).await.unwrap().state, PlanState::Applying);
    assert_eq!(notes(&store).await[0].outcome, None, "the note says that it was about to be done");
    // One of those that were retried fails again meanwhile: it must not be retried twice by one plan.
    let failure = Failure::new(FailureClass::Input, "another one".to_owned());
    store.fail(&id("a"), 0, &failure, Utc::now()).await.unwrap();
    gate.is_on.store(false, Ordering::Relaxed);
    let applied = service(&store).apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(applied.state, PlanState::Applied);
    assert_eq!(state(&store, "a").await, RunState::Failed);
    for name in &names[1..] {
        assert_eq!(state(&store, name).await, RunState::Queued, "{name}");
    }
    assert_eq!(results(&applied)[1..], [Some(ChangeResult::Done); 3]);
    let notes = notes(&store).await;
    assert_eq!(notes.len(), 1, "one plan is one note: {notes:?}");
    assert!(notes[0].outcome.is_some());
}

/// A process that dies after the note, before the first change: whoever applies it again makes all of them.
async fn a_death_between_note_and_effect_loses_nothing(store: Store) {
    fail(&store, "a").await;
    let plan = service(&store).make_plan(retry(&["a"]), &operator("ops"), &prices()).await.unwrap();
    let (behind, gate) = failing(&store, "requeue", 0, Fate::FailsBefore);
    let dead = service(&behind).apply_plan(&plan.id, &operator("ops")).await;
    assert!(dead.is_err() && gate.seen.lock().unwrap().contains(&"audit"));
    // The dead let go of nothing: until the time of its lock is over, nobody else goes on.
    let name = format!("PLAN#{}", plan.id);
    let lock = store.lock(&name, "the dead", Duration::seconds(15), Utc::now()).await.unwrap().unwrap();
    let busy = service(&store).apply_plan(&plan.id, &operator("ops")).await;
    assert!(matches!(busy, Err(PlanError::Busy { .. })), "{busy:?}");
    store.unlock(&lock).await.unwrap();
    let applied = service(&store).apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(results(&applied), [Some(ChangeResult::Done)]);
    assert_eq!((state(&store, "a").await, notes(&store).await.len()), (RunState::Queued, 1));
}

/// Refused files that the rules of today accept are taken back; the others are told, and stay.
async fn refused_files_are_taken_back_where_the_rules_allow(store: Store) {
    let root = tempfile::tempdir().unwrap();
    let uri = |name: &str| ObjectUri::from_path(&root.path().join(name)).unwrap();
    let (large, small) = ("2025-12-23-large.ndjson", "2025-12-23-small.ndjson");
    std::fs::write(root.path().join(large), vec![b'\n'; 200_000]).unwrap();
    std::fs::write(root.path().join(small), "{}\n").unwrap();
    let found = [large, small].map(|name| FoundFile {
        uri: uri(name),
        date: Some("2025-12-23".parse().unwrap()),
        size_bytes: 3,
        etag: "as it was".to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: Some(QuarantineReason::TooSmall),
    });
    store.track(&found, Overwrites::Record, Utc::now()).await.unwrap();
    let places = ReadPlaces::new(root.path().to_str().unwrap().parse().unwrap(), Places::none(), None);
    let service = Service::new(store.clone(), places, Storage::default());
    let query = FileQuery { reason: Some("too-small".to_owned()), ..FileQuery::default() };
    let request = PlanRequest { action: Action::Redrive, select: Select::Files(query), reason: None };
    let plan = service.make_plan(request, &operator("ops"), &prices()).await.unwrap();
    let planned: Vec<_> = plan.changes.iter().map(|change| change.subject.clone()).collect();
    assert_eq!(planned, [uri(large).to_string()], "{plan:?}");
    assert!(plan.refused[0].subject.ends_with(small) && plan.refused[0].reason.contains("rules"), "{plan:?}");
    let applied = service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert_eq!(results(&applied), [Some(ChangeResult::Done)], "{applied:?}");
    let files = store.files(&[uri(large), uri(small)]).await.unwrap();
    let states: Vec<_> = files.into_iter().map(|file| file.unwrap().state).collect();
    assert_eq!(states, [FileState::Pending, FileState::Quarantined]);
    let elsewhere = PlanRequest {
        action: Action::Redrive,
        select: Select::Ids(vec!["s3://elsewhere/2025-12-23-a.ndjson".to_owned()]),
        reason: None,
    };
    let plan = service.make_plan(elsewhere, &operator("ops"), &prices()).await.unwrap();
    assert!(plan.changes.is_empty() && plan.refused[0].reason.contains("INPUT_PLACES"), "{plan:?}");
}

/// Plans that nobody applies are limited, for one operator and for all, and soon forgotten.
async fn plans_that_nobody_applies_are_limited(store: Store) {
    let service = service(&store);
    fail(&store, "a").await;
    let make = |actor: &'static str| {
        let service = service.clone();
        async move { service.make_plan(retry(&["a"]), &operator(actor), &prices()).await }
    };
    // All at once: whoever comes first, there are no more than the limit.
    let made = futures::future::join_all((0..103).map(|_| make("ops"))).await;
    let (made, refused): (Vec<_>, Vec<_>) = made.into_iter().partition(Result::is_ok);
    assert_eq!((made.len(), refused.len()), (100, 3));
    for error in refused {
        let error = error.unwrap_err();
        assert!(
            matches!(error, PlanError::TooMany { limit: 100, .. }) && error.to_string().contains("by `ops`"),
            "{error}"
        );
    }
    let plan = made.into_iter().next().unwrap().unwrap();
    let kept = store.plan(&plan.id).await.unwrap().unwrap();
    assert!(kept.forget_after <= plan.valid_until + Duration::hours(1), "nobody has applied it");
    make("another").await.unwrap();
    assert!(matches!(service.known_plan("open").await, Err(PlanError::Unknown(_))), "the register is no plan");
    // One that is applied makes room, and is kept.
    service.apply_plan(&plan.id, &operator("ops")).await.unwrap();
    assert!(store.plan(&plan.id).await.unwrap().unwrap().forget_after > Utc::now() + Duration::days(80));
    make("ops").await.unwrap();
    assert!(matches!(make("ops").await, Err(PlanError::TooMany { .. })));
    // So does time.
    let register = store.plan("open").await.unwrap().unwrap();
    let mut document: serde_json::Value = serde_json::from_str(&register.document).unwrap();
    assert_eq!(document.as_array().map(Vec::len), Some(101));
    for entry in document.as_array_mut().unwrap() {
        entry["until"] = serde_json::json!(DateTime::<Utc>::UNIX_EPOCH);
    }
    let older = PlanRecord { revision: register.revision + 1, document: document.to_string(), ..register };
    assert!(store.update_plan(&older).await.unwrap());
    make("ops").await.unwrap();
    let register = store.plan("open").await.unwrap().unwrap();
    assert_eq!(register.document.matches("until").count(), 1, "what is over is taken out: {}", register.document);
}

async fn plans_hold<F: Future<Output = Store>>(fresh: impl Fn() -> F) {
    a_plan_over_a_filter_acts_on_its_list_while_more_match(fresh().await).await;
    what_has_changed_since_is_left_alone(fresh().await).await;
    a_run_whose_files_went_elsewhere_is_left_out(fresh().await).await;
    a_plan_is_for_its_maker_and_for_a_time(fresh().await).await;
    what_cannot_change_is_told_with_the_reason(fresh().await).await;
    what_cannot_be_noted_is_not_done(fresh().await).await;
    what_broke_off_goes_on(fresh().await, Fate::FailsBefore).await;
    what_broke_off_goes_on(fresh().await, Fate::FailsAfter).await;
    a_death_between_note_and_effect_loses_nothing(fresh().await).await;
    refused_files_are_taken_back_where_the_rules_allow(fresh().await).await;
    plans_that_nobody_applies_are_limited(fresh().await).await;
}

#[tokio::test]
async fn plans_hold_in_sqlite() {
    plans_hold(|| async { Arc::new(SqliteStore::in_memory().unwrap()) as Store }).await;
}

#[tokio::test]
async fn plans_hold_in_dynamodb() {
    let aws = Aws::start();
    plans_hold(|| async { aws.fresh_store().await }).await;
}
