//! Wishes for rounds of a date: what was shown is cut, once, by whichever builder looks, whatever dies.

use crate::plans::prices;
use crate::servers::Aws;
use crate::store::faults::{Fate, Faulty, Gate};
use crate::taken_back::settings;
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use millwork_api::{Action, ChangeResult, DateQuery, Plan, PlanRequest, Select};
use millwork_diagnosis::Code;
use millwork_manifest::{BatchCaps, DatePrefix, FileState, ObjectUri, RunState};
use millwork_manifest_builder::{Builder, Settings};
use millwork_scheduler::{Operator, PlanError, ReadPlaces, Service};
use millwork_storage::{Location, MemoryObjects, Places, Storage};
use millwork_tracking::{
    AuditEntry, AuditFilter, BuilderAbout, BuilderNote, FoundFile, Overwrites, Round, RunFilter, SqliteStore,
    TrackingStore, Via, Wish, open_wishes,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

type Store = Arc<dyn TrackingStore>;

const DATE: &str = "2025-12-23";

fn date() -> DatePrefix {
    DATE.parse().unwrap()
}

fn service(store: &Store) -> Service {
    Service::new(
        store.clone(),
        ReadPlaces { input: Places::none(), manifests: Places::none(), mended: None },
        Storage::default(),
    )
}

fn ops() -> Operator {
    Operator { actor: "ops".to_owned(), via: Via::Api }
}

fn uri(name: &str) -> ObjectUri {
    format!("s3://in/{DATE}-{name}.ndjson").parse().unwrap()
}

/// A builder for which nothing is due by itself.
fn builder(store: &Store, objects: &MemoryObjects, name: &str) -> Builder {
    let settings =
        Settings { caps: BatchCaps::new(1.0, 100, 1_000_000), ..settings(&Location::parse("s3://in").unwrap()) };
    Builder::new(store.clone(), Arc::new(objects.clone()), settings, name.to_owned())
}

/// Takes in files that arrive at a moment.
async fn arrive(store: &Store, names: &[&str], at: DateTime<Utc>) {
    let found = |name: &&str| FoundFile {
        uri: uri(name),
        date: Some(date()),
        size_bytes: 1 << 20,
        etag: "e".to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    };
    let found: Vec<FoundFile> = names.iter().map(found).collect();
    store.track(&found, Overwrites::Record, at).await.unwrap();
}

fn of(action: Action) -> PlanRequest {
    let select = Select::Ids(vec![DATE.to_owned()]);
    PlanRequest { action, select, reason: Some("the day is to be closed".to_owned()) }
}

async fn planned(store: &Store, action: Action) -> Plan {
    service(store).make_plan(of(action), &ops(), &prices()).await.unwrap()
}

/// The runs of the date that a builder has queued, with the names of their files.
async fn manifests(store: &Store) -> Vec<Vec<String>> {
    let filter = RunFilter { date: Some(date()), limit: 100, ..RunFilter::default() };
    let mut found = Vec::new();
    for run in store.list_runs(&filter).await.unwrap().items {
        assert_eq!(run.state, RunState::Queued, "{run:?}");
        let manifest = store.manifest(&run.manifest_id).await.unwrap().unwrap();
        let mut names: Vec<String> = manifest.files.iter().map(|file| file.uri.to_string()).collect();
        names.sort_unstable();
        found.push(names);
    }
    found
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| uri(name).to_string()).collect()
}

async fn notes(store: &Store) -> Vec<AuditEntry> {
    let mut notes = Vec::new();
    for day in [Utc::now() - Duration::days(1), Utc::now()] {
        let day = DatePrefix::from(day.date_naive());
        notes.extend(store.audits(&AuditFilter { day, subject: None, limit: 100, cursor: None }).await.unwrap().items);
    }
    notes
}

async fn code(store: &Store) -> Code {
    service(store).inspector().date(date(), Utc::now()).await.unwrap().code
}

async fn waits(store: &Store) -> usize {
    open_wishes(&**store, Utc::now()).await.unwrap().len()
}

async fn what_was_shown_is_cut_by_the_next_builder_that_looks(store: Store) {
    let (objects, now) = (MemoryObjects::default(), Utc::now());
    let refused = planned(&store, Action::Cut).await;
    assert!(refused.changes.is_empty() && refused.refused[0].reason.contains("no file"), "{refused:?}");
    arrive(&store, &["a", "b", "c"], now - Duration::minutes(2)).await;
    let plan = planned(&store, Action::Cut).await;
    let [change] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!((change.before.as_str(), plan.cost), ("3 files pending, 3.0 MiB", None));
    assert!(change.after.contains("none has ever shown itself"), "{change:?}");
    // A file that comes later is neither meant nor in the way.
    arrive(&store, &["late"], now - Duration::minutes(1)).await;
    let applied = service(&store).apply_plan(&plan.id, &ops()).await.unwrap();
    assert_eq!(applied.changes[0].result, Some(ChangeResult::Done), "{applied:?}");
    assert!(applied.changes[0].message.as_ref().unwrap().starts_with("asked; it is done once a builder runs"));
    assert!(matches!(service(&store).apply_plan(&plan.id, &ops()).await, Err(PlanError::Used { .. })));
    assert_eq!((manifests(&store).await.len(), waits(&store).await), (0, 1), "a scheduler makes no manifests");
    assert_eq!(code(&store).await, Code::DueNoBuilder, "nobody takes the wish");
    // Another plan of the same is refused, and says who asked; one of more is not.
    store.mark_missing(&gone("late"), now).await.unwrap();
    let again = planned(&store, Action::Cut).await;
    assert!(again.changes.is_empty() && again.refused[0].reason.contains("asked for already, by ops"), "{again:?}");
    arrive(&store, &["later"], now).await;
    assert_eq!(planned(&store, Action::Cut).await.changes.len(), 1);

    let (first, second) = (builder(&store, &objects, "first"), builder(&store, &objects, "second"));
    let about =
        BuilderAbout { wish_interval_seconds: Some(7), max_files: 100, max_bytes: 1 << 30, ..BuilderAbout::default() };
    let sign =
        BuilderNote { id: "first".to_owned(), seen_at: Utc::now(), note: serde_json::to_string(&about).unwrap() };
    store.inspection().note_builder(&sign).await.unwrap();
    let told = service(&store).inspector().date(date(), Utc::now()).await.unwrap();
    assert!(told.code == Code::Due && told.next.by_itself && told.sentence.contains("`ops`"), "{told:?}");
    let after = planned(&store, Action::Cut).await.changes[0].after.clone();
    assert_eq!(after, "in manifests, by `first` within 7 s");
    // Whoever is first takes it; the other finds nothing, or waits for the date.
    let (one, other) = tokio::join!(first.take_wishes(), second.take_wishes());
    assert_eq!(one.unwrap().made.len() + other.unwrap().made.len(), 1);
    second.sweep().await.unwrap();
    assert_eq!(manifests(&store).await, [named(&["a", "b", "c"])]);
    assert_eq!((waits(&store).await, state(&store, "later").await), (0, FileState::Pending));
    let notes = notes(&store).await;
    let of_builder: Vec<_> = notes.iter().filter(|note| note.via == Via::Service).collect();
    let [note] = of_builder.as_slice() else { panic!("{notes:?}") };
    assert_eq!((note.plan.as_deref(), note.action.as_str()), (Some(plan.id.as_str()), "cut"));
    assert_eq!(note.reason.as_deref(), Some("the day is to be closed"));
    assert!(note.outcome.as_ref().unwrap().starts_with("1 made"), "{note:?}");
    assert!(note.before.as_ref().unwrap().contains("ops"));
}

fn gone(name: &str) -> FoundFile {
    FoundFile {
        uri: uri(name),
        date: Some(date()),
        size_bytes: 0,
        etag: String::new(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    }
}

async fn state(store: &Store, name: &str) -> FileState {
    store.files(&[uri(name)]).await.unwrap().remove(0).unwrap().state
}

async fn a_date_whose_files_have_changed_is_left_alone(store: Store) {
    let now = Utc::now();
    arrive(&store, &["a", "b"], now).await;
    let plan = planned(&store, Action::Cut).await;
    store.mark_missing(&gone("a"), now).await.unwrap();
    let applied = service(&store).apply_plan(&plan.id, &ops()).await;
    assert!(matches!(applied, Err(PlanError::AllChanged { .. })), "{applied:?}");
    assert_eq!(waits(&store).await, 0);
    let known = service(&store).known_plan(&plan.id).await.unwrap();
    assert!(known.changes[0].message.as_ref().unwrap().contains("1 file pending"), "{known:?}");
}

/// Fails one operation, from one of its calls on.
struct Failing {
    operation: &'static str,
    from: usize,
    fate: Fate,
    calls: AtomicUsize,
}

#[async_trait]
impl Gate for Failing {
    async fn fate(&self, operation: &'static str) -> Fate {
        let is_it = operation == self.operation;
        if is_it && self.calls.fetch_add(1, Ordering::Relaxed) >= self.from { self.fate } else { Fate::Succeeds }
    }
}

fn failing(store: &Store, operation: &'static str, from: usize, fate: Fate) -> Store {
    Arc::new(Faulty::new(store.clone(), Arc::new(Failing { operation, from, fate, calls: AtomicUsize::new(0) })))
}

/// A builder dies at each step of a wish, before its effect and after it: the next one makes what is left, and nothing twice.
async fn a_wish_outlives_its_builder<F: Future<Output = Store>>(fresh: &impl Fn() -> F) {
    let steps = [
        ("lock", 0),
        ("note", 0),
        ("audit", 0),
        ("next_batch_index", 0),
        ("begin_draft", 0),
        ("claim", 0),
        ("finish_draft", 0),
        ("audit", 1),
        ("put_note", 0),
        ("put_note", 1),
    ];
    for ((operation, from), fate) in
        steps.into_iter().flat_map(|step| [(step, Fate::FailsBefore), (step, Fate::FailsAfter)])
    {
        let (store, objects) = (fresh().await, MemoryObjects::default());
        let now = Utc::now();
        arrive(&store, &["a", "b"], now - Duration::minutes(1)).await;
        let plan = planned(&store, Action::Cut).await;
        service(&store).apply_plan(&plan.id, &ops()).await.unwrap();
        let dying = builder(&failing(&store, operation, from, fate), &objects, "dying");
        let _ = dying.take_wishes().await;
        // A lock of the dead ends by itself.
        let later = builder(&store, &objects, "next").with_clock(Arc::new(|| Utc::now() + Duration::minutes(1)));
        arrive(&store, &["late"], now).await;
        later.sweep().await.unwrap();
        later.sweep().await.unwrap();
        let place = format!("{operation} {from} {fate:?}");
        assert_eq!(manifests(&store).await, [named(&["a", "b"])], "{place}");
        assert_eq!((waits(&store).await, state(&store, "late").await), (0, FileState::Pending), "{place}");
    }
}

/// The scheduler dies after the wish was left: whoever applies the plan again leaves no other.
async fn a_plan_that_broke_off_wishes_once(store: Store) {
    let objects = MemoryObjects::default();
    arrive(&store, &["a", "b"], Utc::now()).await;
    let plan = planned(&store, Action::Cut).await;
    let broken = service(&failing(&store, "put_note", 0, Fate::FailsAfter)).apply_plan(&plan.id, &ops()).await;
    assert!(broken.is_err() && waits(&store).await == 1, "{broken:?}");
    builder(&store, &objects, "b").take_wishes().await.unwrap();
    let applied = service(&store).apply_plan(&plan.id, &ops()).await.unwrap();
    assert_eq!(applied.changes[0].result, Some(ChangeResult::Done));
    assert!(applied.changes[0].message.as_ref().unwrap().contains("`b` has taken it: 1 manifest"), "{applied:?}");
    builder(&store, &objects, "b").take_wishes().await.unwrap();
    assert_eq!((manifests(&store).await.len(), waits(&store).await), (1, 0));
}

async fn a_sweep_finishes_what_a_crash_left(store: Store) {
    let objects = MemoryObjects::default();
    arrive(&store, &["a", "b"], Utc::now()).await;
    let dying = builder(&failing(&store, "finish_draft", 0, Fate::FailsBefore), &objects, "dying");
    assert!(dying.cut(date(), millwork_manifest::Flush::Now).await.is_err());
    let all = PlanRequest { action: Action::Sweep, select: Select::Dates(DateQuery::default()), reason: None };
    let plan = service(&store).make_plan(all, &ops(), &prices()).await.unwrap();
    let [change] = plan.changes.as_slice() else { panic!("{plan:?}") };
    assert_eq!(
        (change.subject.as_str(), change.before.as_str()),
        (DATE, "1 manifest unfinished, 0 files pending, 0 B")
    );
    service(&store).apply_plan(&plan.id, &ops()).await.unwrap();
    let again = planned(&store, Action::Sweep).await;
    assert!(again.changes.is_empty(), "{again:?}");
    let taken = builder(&store, &objects, "b").take_wishes().await.unwrap();
    assert_eq!((taken.finished.len(), taken.made.len(), waits(&store).await), (1, 0, 0));
    assert_eq!(manifests(&store).await, [named(&["a", "b"])]);
    let nothing = planned(&store, Action::Sweep).await;
    assert!(nothing.changes.is_empty() && nothing.refused[0].reason.contains("unfinished"), "{nothing:?}");
}

/// Checks that a wish which no builder has taken for a day is over.
async fn a_wish_lapses(store: Store) {
    let wish = |hours| Wish {
        date: date(),
        round: Round::Sweep,
        plan: format!("plan{hours}"),
        actor: "ops".to_owned(),
        reason: None,
        asked_at: Utc::now() - Duration::hours(hours),
    };
    for hours in [23, 25] {
        wish(hours).leave(&*store).await.unwrap();
    }
    let plans: Vec<_> = open_wishes(&*store, Utc::now()).await.unwrap().into_iter().map(|wish| wish.plan).collect();
    assert_eq!(plans, ["plan23"]);
}

async fn wishes_hold<F: Future<Output = Store>>(fresh: impl Fn() -> F) {
    what_was_shown_is_cut_by_the_next_builder_that_looks(fresh().await).await;
    a_date_whose_files_have_changed_is_left_alone(fresh().await).await;
    a_wish_outlives_its_builder(&fresh).await;
    a_plan_that_broke_off_wishes_once(fresh().await).await;
    a_sweep_finishes_what_a_crash_left(fresh().await).await;
    a_wish_lapses(fresh().await).await;
}

#[tokio::test]
async fn wishes_hold_in_sqlite() {
    wishes_hold(|| async { Arc::new(SqliteStore::in_memory().unwrap()) as Store }).await;
}

#[tokio::test]
async fn wishes_hold_in_dynamodb() {
    let aws = Aws::start();
    wishes_hold(|| async { aws.fresh_store().await }).await;
}
