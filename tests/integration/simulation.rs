//! The builder's logic under everything that can happen to it, by the thousand: crashes between any two steps, events
//! twice and in any order, locks that pass on while their holder pauses, errors before and after an effect, old listings.
//!
//! One seed is one history. Workers and sweepers are futures, polled one step at a time in an order the seed decides; a
//! step is one operation on the store or the objects. A crash drops a future; a pause just does not poll it. In the end
//! the faults cease, and all that must hold is checked. `MILLWORK_SEEDS=first..last` replays.

use crate::random::{Random, each_seed};
use crate::store::faults::{Fate, Faulty, Gate};
use async_trait::async_trait;
use chrono::{DateTime, Duration, Utc};
use futures::stream::BoxStream;
use millwork_manifest::{BatchCaps, FileRules, FileState, Flush, Manifest, ObjectUri, RunState};
use millwork_manifest_builder::{Builder, Cut, Settings};
use millwork_queue::decode;
use millwork_storage::{Location, MemoryObjects, Object, Objects, StorageError, StorageResult};
use millwork_tracking::{Overwrites, Run, SqliteStore, TrackingStore};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};

const FILES: usize = 30;
const MAX_FILES: usize = 4;
const MAX_BYTES: u64 = 400;
const LOCK_TTL_SECONDS: i64 = 300;
/// How long an actor pauses.
const PAUSE_STEPS: usize = 100;

/// What all actors of a history share.
struct World {
    random: Random,
    clock: AtomicI64,
    /// Whether things fail.
    is_rough: AtomicBool,
    queue: Mutex<Vec<Message>>,
    /// Whether the actor that was polled stands before a step, rather than waiting for SQLite's thread.
    is_at_step: AtomicBool,
}

/// A message in the queue.
struct Message {
    id: usize,
    body: String,
    /// Nobody sees it before.
    visible_at: i64,
}

impl World {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp(self.clock.load(Ordering::Relaxed), 0).unwrap()
    }

    /// Lets another actor go on, then says what becomes of the operation.
    async fn step(&self) -> Fate {
        let mut has_yielded = false;
        std::future::poll_fn(|_| {
            if std::mem::replace(&mut has_yielded, true) {
                return Poll::Ready(());
            }
            self.is_at_step.store(true, Ordering::Relaxed);
            Poll::Pending
        })
        .await;
        if !self.is_rough.load(Ordering::Relaxed) {
            return Fate::Succeeds;
        }
        match self.random.below(100) {
            0..3 => Fate::FailsBefore,
            3..6 => Fate::FailsAfter,
            6..16 => Fate::IsStale,
            _ => Fate::Succeeds,
        }
    }
}

#[async_trait]
impl Gate for World {
    async fn fate(&self, operation: &'static str) -> Fate {
        match self.step().await {
            // In the end all works, but that the counters are lost for good.
            Fate::Succeeds if operation == "backlogs" && !self.is_rough.load(Ordering::Relaxed) => Fate::IsStale,
            fate => fate,
        }
    }
}

/// Objects behind the same gate.
struct GatedObjects {
    inner: MemoryObjects,
    world: Arc<World>,
}

impl GatedObjects {
    async fn through<T>(&self, effect: impl Future<Output = StorageResult<T>> + Send) -> StorageResult<T> {
        let failed =
            || StorageError { operation: "reach", object: "object".to_owned(), source: io::Error::other("fault") };
        match self.world.step().await {
            Fate::FailsBefore => Err(failed()),
            Fate::FailsAfter => effect.await.and_then(|_| Err(failed())),
            _ => effect.await,
        }
    }
}

#[async_trait]
impl Objects for GatedObjects {
    async fn list(&self, place: &Location) -> StorageResult<BoxStream<'static, StorageResult<Object>>> {
        self.through(self.inner.list(place)).await
    }
    async fn head(&self, uri: &ObjectUri) -> StorageResult<Object> {
        self.through(self.inner.head(uri)).await
    }
    async fn read(&self, uri: &ObjectUri) -> StorageResult<Vec<u8>> {
        self.through(self.inner.read(uri)).await
    }
    async fn write_once(&self, uri: &ObjectUri, content: &[u8]) -> StorageResult<bool> {
        self.through(self.inner.write_once(uri, content)).await
    }
    async fn move_object(&self, from: &ObjectUri, to: &ObjectUri, etag: &str) -> StorageResult<()> {
        self.through(self.inner.move_object(from, to, etag)).await
    }
}

fn uri(text: &str) -> ObjectUri {
    text.parse().unwrap()
}

fn settings() -> Settings {
    Settings {
        input: "s3://in".parse().unwrap(),
        state: None,
        quarantine: Some(Location::parse("s3://bad").unwrap()),
        manifests: Location::parse("s3://manifests").unwrap(),
        output: None,
        rules: FileRules { size_tolerance_percent: 100.0, ..FileRules::default() },
        caps: BatchCaps { max_bytes: MAX_BYTES, max_files: MAX_FILES, max_wait_seconds: 1800 },
        overwrites: Overwrites::Record,
        lock_ttl: Duration::seconds(LOCK_TTL_SECONDS),
        unfinished_age: chrono::Duration::zero(),
        max_age: None,
    }
}

/// The files of a history: most of them valid, of two dates; some refused.
fn files(random: &Random) -> Vec<(ObjectUri, usize)> {
    (0..FILES)
        .map(|i| {
            let key = match random.below(20) {
                0 => format!("2025-12-23-{i}.csv"),
                1 => format!("nodate-{i}.ndjson"),
                n => format!("f/2025-12-{}-{i}.ndjson", 23 + n % 2),
            };
            // One in a while is larger than a manifest.
            let size = if random.percent(5) { 500 } else { 10 + random.below(150) };
            (uri(&format!("s3://in/{key}")), size)
        })
        .collect()
}

fn event(object: &Object, sequencer: usize) -> String {
    json!({"Records": [{"eventVersion": "2.1", "eventName": "ObjectCreated:Put", "s3": {
        "bucket": {"name": "in"},
        "object": {"key": object.uri.key(), "size": object.size_bytes, "eTag": object.etag,
                   "sequencer": format!("{sequencer:X}")}}}]})
    .to_string()
}

/// Receives, takes in, deletes, and makes what is due, for ever.
async fn worker(builder: Builder, world: Arc<World>) {
    loop {
        let _ = world.step().await;
        let now = world.clock.load(Ordering::Relaxed);
        let batch: Vec<(usize, String)> = {
            let mut queue = world.queue.lock().unwrap();
            let visible: Vec<usize> = (0..queue.len()).filter(|i| queue[*i].visible_at <= now).collect();
            let take = world.random.below(4) + 1;
            let first = if visible.is_empty() { 0 } else { world.random.below(visible.len()) };
            let taken = visible[first..].iter().take(take).map(|i| {
                queue[*i].visible_at = now + 360;
                (queue[*i].id, queue[*i].body.clone())
            });
            taken.collect()
        };
        let events: Vec<_> = batch.iter().flat_map(|(_, body)| decode(body).events).collect();
        let Ok(arrived) = builder.arrive(&events).await else { continue };
        let _ = world.step().await;
        world.queue.lock().unwrap().retain(|message| !batch.iter().any(|(id, _)| *id == message.id));
        for date in arrived.due {
            let _ = builder.cut(date, Flush::WhenAged(world.now())).await;
        }
    }
}

async fn sweeper(builder: Builder, world: Arc<World>) {
    loop {
        let _ = world.step().await;
        let _ = builder.sweep().await;
    }
}

type Actor = Pin<Box<dyn Future<Output = ()>>>;

fn new_actor(index: usize, builder: &Builder, world: &Arc<World>) -> Actor {
    if index < 3 {
        Box::pin(worker(builder.clone(), world.clone()))
    } else {
        Box::pin(sweeper(builder.clone(), world.clone()))
    }
}

/// Lets an actor make one step.
fn step(actor: &mut Actor, world: &World) {
    world.is_at_step.store(false, Ordering::Relaxed);
    while actor.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
        if world.is_at_step.load(Ordering::Relaxed) {
            return;
        }
        std::thread::yield_now();
    }
}

/// Runs a future that only this thread advances.
fn run<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
        std::thread::yield_now();
    }
}

fn simulate(seed: u64) {
    let world = Arc::new(World {
        random: Random::new(seed),
        clock: AtomicI64::new(1_766_000_000),
        is_rough: AtomicBool::new(true),
        queue: Mutex::default(),
        is_at_step: AtomicBool::new(false),
    });
    let objects = MemoryObjects::default();
    let inner: Arc<dyn TrackingStore> = Arc::new(SqliteStore::in_memory().unwrap());
    let store = Arc::new(Faulty::new(inner.clone(), world.clone()));
    let gated = Arc::new(GatedObjects { inner: objects.clone(), world: world.clone() });
    let clock = world.clone();
    let builder =
        Builder::new(store, gated, settings(), "simulated".to_owned()).with_clock(Arc::new(move || clock.now()));
    let files = files(&world.random);
    for (number, (uri, size)) in files.iter().enumerate() {
        objects.put(uri, &vec![b'x'; *size]);
        let body = event(&run(objects.head(uri)).unwrap(), number);
        let copies = if world.random.percent(10) { 2 } else { 1 };
        for _ in 0..copies {
            let at = world.clock.load(Ordering::Relaxed) + world.random.below(600) as i64;
            let mut queue = world.queue.lock().unwrap();
            let id = queue.len();
            queue.push(Message { id, body: body.clone(), visible_at: at });
        }
    }
    let mut actors: Vec<Actor> = (0..5).map(|i| new_actor(i, &builder, &world)).collect();
    // An actor that pauses comes back after the others have had time for much, its lock among it.
    let mut pause = (actors.len(), 0);
    for now in 0..1500 {
        let i = world.random.below(actors.len());
        if world.random.percent(1) {
            pause = (i, now + PAUSE_STEPS);
            world.clock.fetch_add(LOCK_TTL_SECONDS + 60, Ordering::Relaxed);
        }
        if pause.0 == i && now < pause.1 {
            continue;
        }
        step(&mut actors[i], &world);
        if world.random.percent(2) {
            actors[i] = new_actor(i, &builder, &world);
        }
        world.clock.fetch_add(world.random.below(3) as i64, Ordering::Relaxed);
    }
    drop(actors);
    settle(&world, &builder);
    check(&files, &objects, &inner);
}

/// The faults cease: what is still in the queue is taken in, and the sweep makes what is left.
fn settle(world: &Arc<World>, builder: &Builder) {
    world.is_rough.store(false, Ordering::Relaxed);
    world.clock.fetch_add(10_000, Ordering::Relaxed);
    let bodies: Vec<String> = world.queue.lock().unwrap().drain(..).map(|message| message.body).collect();
    for body in bodies {
        run(builder.arrive(&decode(&body).events)).unwrap();
    }
    world.clock.fetch_add(10_000, Ordering::Relaxed);
    for _ in 0..2 {
        let swept = run(builder.sweep()).unwrap();
        assert!(swept.busy.is_empty(), "{swept:?}");
    }
    assert!(run(builder.sweep()).unwrap().made.is_empty());
    assert!(
        matches!(run(builder.cut("2025-12-23".parse().unwrap(), Flush::Now)).unwrap(), Cut::Made(made) if made.is_empty())
    );
}

/// What must hold after any history.
fn check(files: &[(ObjectUri, usize)], objects: &MemoryObjects, store: &Arc<dyn TrackingStore>) {
    let contents = objects.all();
    let documents = contents.iter().filter(|(uri, _)| uri.as_str().starts_with("s3://manifests/"));
    let mut in_manifest: BTreeMap<ObjectUri, String> = BTreeMap::new();
    let queued = run(store.due(1000, Utc::now() + Duration::days(10_000))).unwrap();
    let mut count = 0;
    for (uri, text) in documents {
        // It reads well: it is not empty, mixes no dates, and lists nothing twice.
        let manifest = Manifest::parse(uri.as_str(), text, DateTime::default()).unwrap();
        let bytes = manifest.total_bytes();
        assert!(manifest.files.len() <= MAX_FILES, "{uri}: {} files", manifest.files.len());
        assert!(bytes <= MAX_BYTES || manifest.files.len() == 1, "{uri}: {bytes} bytes");
        let is_of = |queued: &&Run| queued.manifest_uri == uri.as_str();
        let of = queued.iter().find(is_of).unwrap_or_else(|| panic!("{uri} has no run"));
        assert_eq!((of.files, of.bytes), (manifest.files.len() as u64, bytes));
        assert_eq!(run(store.manifest(&of.manifest_id)).unwrap().as_ref(), Some(&manifest));
        for file in &manifest.files {
            let other = in_manifest.insert(file.uri.clone(), manifest.id.to_string());
            assert_eq!(other, None, "{} is in two manifests", file.uri);
        }
        count += 1;
    }
    assert_eq!(queued.len(), count, "a run without a document");
    assert!(run(store.drafts(Utc::now() + Duration::days(10_000))).unwrap().is_empty());
    let left: BTreeSet<&ObjectUri> = contents.iter().map(|(uri, _)| uri).collect();
    for (file, _) in files {
        let known =
            run(store.files(std::slice::from_ref(file))).unwrap().remove(0).unwrap_or_else(|| panic!("{file} is lost"));
        let key = file.key();
        if key.starts_with("f/") {
            assert_eq!(known.state, FileState::Manifested, "{file}");
            assert_eq!(known.manifest_id.as_ref(), in_manifest.get(file), "{file}");
            assert!(in_manifest.contains_key(file), "{file} is in no manifest");
        } else {
            assert_eq!(known.state, FileState::Quarantined, "{file}");
            let reason = known.reason.unwrap();
            let folder = if key.starts_with("nodate") { "no-date" } else { "2025-12-23" };
            let place = format!("s3://bad/{folder}/{reason}/{key}");
            assert!(left.contains(&uri(&place)), "{file} was not moved");
            assert_eq!(known.quarantine_uri, Some(place));
            assert!(!left.contains(file), "{file} is in both places");
        }
    }
    assert!(run(store.backlogs()).unwrap().is_empty());
    let is_queued = |id: &String| run(store.run(&id.parse().unwrap())).unwrap().unwrap().state == RunState::Queued;
    assert!(in_manifest.values().all(is_queued));
    // What was kept on the way is what a count comes to.
    for (date, totals) in run(store.date_totals(None, None)).unwrap() {
        assert_eq!(run(store.recount_totals(date)).unwrap(), totals, "{date}");
    }
}

#[test]
fn no_history_loses_or_doubles_a_file() {
    each_seed(0..2000, simulate);
}
