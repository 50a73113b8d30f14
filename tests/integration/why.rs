//! Diagnoses of real situations: files that exist, stores that hold what a crash, a person or the work left in them, and
//! processes that run, or do not.

use crate::cluster::Cluster;
use crate::place::{Done, Place, python, wait_until};
use chrono::{DateTime, Duration, Utc};
use millwork_diagnosis::{Code, Diagnosis, Standing};
use millwork_manifest::{
    BatchCaps, DatePrefix, Failure, FailureClass, FileRules, Manifest, ManifestFile, ManifestId, ObjectUri,
};
use millwork_manifest_builder::{Builder, Settings};
use millwork_scheduler::{About, Inspector};
use millwork_storage::{Location, Places, Storage};
use millwork_tracking::{BuilderNote, Commit, Draft, Overwrites, QueuedManifest, SqliteStore, TrackingStore};
use serde_json::json;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

const DATE: &str = "2025-12-23";

/// A directory of input, a state beside it, and who looks at both.
pub(crate) struct World {
    pub(crate) place: Place,
    pub(crate) store: Arc<dyn TrackingStore>,
    builder: Builder,
    pub(crate) inspector: Inspector,
    pub(crate) now: DateTime<Utc>,
    /// What a scheduler on this state holds.
    leader: Option<File>,
}

impl World {
    pub(crate) fn new() -> Self {
        let place = Place::new();
        let state = place.path("state.db");
        let store: Arc<dyn TrackingStore> = Arc::new(SqliteStore::open(&state).unwrap());
        Self::on(place, store)
    }

    /// A world whose state is this store.
    pub(crate) fn on(place: Place, store: Arc<dyn TrackingStore>) -> Self {
        let input = Places::of(&Location::parse(place.path("in").to_str().unwrap()).unwrap());
        let out = Location::parse(place.path("out").to_str().unwrap()).unwrap();
        let settings = Settings {
            input: input.clone(),
            state: None,
            quarantine: None,
            manifests: out.clone(),
            output: None,
            rules: FileRules { size_tolerance_percent: 100.0, ..FileRules::default() },
            caps: BatchCaps { max_bytes: 1 << 30, max_files: 10, max_wait_seconds: 1800 },
            overwrites: Overwrites::Record,
            lock_ttl: Duration::seconds(300),
            unfinished_age: Duration::zero(),
            max_age: None,
        };
        let builder = Builder::new(store.clone(), Arc::new(Storage::from_env()), settings, "builder-7".to_owned());
        let mut about = About::default();
        about.written.push(("the output", out));
        let inspector = Inspector::on(store.clone(), Storage::default(), Some(input), about);
        Self { place, store, builder, inspector, now: Utc::now(), leader: None }
    }

    pub(crate) fn uri(&self, name: &str) -> ObjectUri {
        ObjectUri::from_path(&self.place.path("in").join(format!("{DATE}-{name}.ndjson"))).unwrap()
    }

    /// Writes files, which a listing takes in.
    pub(crate) async fn tracked(&self, names: &[&str]) {
        for name in names {
            self.place.input(&format!("{DATE}-{name}.ndjson"), "{\"a\":1}\n");
        }
        let input = Location::parse(self.place.path("in").to_str().unwrap()).unwrap();
        let _ = self.builder.backfill(&input).await.unwrap();
    }

    /// The manifest of files that are tracked, as a builder would make it.
    async fn manifest(&self, id: &str, names: &[&str]) -> QueuedManifest {
        let uris: Vec<ObjectUri> = names.iter().map(|name| self.uri(name)).collect();
        let files = self.store.files(&uris).await.unwrap().into_iter().flatten();
        let files = files.map(|file| ManifestFile {
            uri: file.uri,
            size_bytes: Some(file.size_bytes),
            etag: Some(file.etag),
            version_id: None,
        });
        let manifest = Manifest {
            id: id.parse().unwrap(),
            date: date(),
            created_at: self.now,
            files: files.collect(),
            traceparents: Vec::new(),
        };
        QueuedManifest { manifest, uri: format!("inline:{id}") }
    }

    /// A queued run of files that are tracked first.
    pub(crate) async fn queued(&self, id: &str, names: &[&str]) -> ManifestId {
        self.tracked(names).await;
        assert!(self.store.submit(&self.manifest(id, names).await, 0, self.now).await.unwrap());
        id.parse().unwrap()
    }

    /// The same, with an attempt.
    pub(crate) async fn started(&self, id: &str, names: &[&str]) -> ManifestId {
        let id = self.queued(id, names).await;
        let lock =
            self.store.lock("LOCK#runs", "host-3", Duration::zero(), DateTime::UNIX_EPOCH).await.unwrap().unwrap();
        assert_eq!(self.store.start_attempt(&id, &lock, self.now).await.unwrap(), 1);
        id
    }

    /// The same, converted, with one output, which is there.
    pub(crate) async fn completed(&self, id: &str, names: &[&str]) -> ManifestId {
        let id = self.started(id, names).await;
        std::fs::create_dir_all(self.place.path("out")).unwrap();
        let output = self.place.path(&format!("out/{id}.parquet"));
        std::fs::write(&output, "parquet").unwrap();
        let row = |name: &&str| json!({"uri": self.uri(name), "size_bytes": 8, "lines": 1, "rows": 1, "rejected": 0, "blank": 0, "replaced_characters": 0});
        let result = json!({
            "rows": names.len(), "rejected": 0, "input_bytes": 8 * names.len(), "output_bytes": 7, "replaced_characters": 0,
            "outputs": [{"uri": ObjectUri::from_path(&output).unwrap(), "rows": names.len(), "bytes": 7, "manifest_id": id, "executor": "e"}],
            "rejected_lines": null, "renamed_columns": [], "ledger": names.iter().map(row).collect::<Vec<_>>(),
        });
        let commit = Commit { manifest_id: id.clone(), attempt: 1, record: "{}".to_owned() };
        assert!(self.store.commit(&commit, &result, self.now).await.unwrap());
        self.store.complete(&id, self.now).await.unwrap();
        id
    }

    /// A run of each kind, and a file that waits, all of which is as it should be; an hour later.
    pub(crate) async fn fill(&mut self) {
        let _ = self.completed("done", &["a", "b"]).await;
        let _ = self.started("open", &["c", "d"]).await;
        let _ = self.queued("waits", &["e"]).await;
        self.tracked(&["f"]).await;
        self.now += Duration::hours(1);
    }

    /// Notes that a builder was alive so many seconds ago.
    pub(crate) async fn builder_seen(&self, seconds_ago: i64) {
        let seen_at = self.now - Duration::seconds(seconds_ago);
        let note = "{\"mode\":\"serve\",\"max_files\":10,\"max_bytes\":1073741824,\"max_wait_seconds\":1800,\"expected_file_size_mb\":10,\"size_tolerance_percent\":100}";
        let note = BuilderNote { id: "host:7".to_owned(), seen_at, note: note.to_owned() };
        self.store.inspection().note_builder(&note).await.unwrap();
    }

    async fn file(&self, name: &str) -> Diagnosis {
        self.inspector.file(&self.uri(name), self.now).await.unwrap()
    }

    async fn run(&self, id: &ManifestId) -> Diagnosis {
        self.inspector.run(id, self.now).await.unwrap()
    }

    async fn day(&self) -> Diagnosis {
        self.inspector.date(date(), self.now).await.unwrap()
    }

    /// Somebody changes the state by hand, or a crash did.
    pub(crate) fn sql(&self, statement: &str) {
        sql(&self.place.path("state.db"), statement);
    }

    /// A scheduler runs the manifests from now on.
    pub(crate) fn lead(&mut self) {
        let lock = File::create(self.place.path("state.db.lock")).unwrap();
        lock.try_lock().unwrap();
        self.leader = Some(lock);
    }

    /// It is gone.
    pub(crate) fn resign(&mut self) {
        self.leader = None;
    }
}

pub(crate) fn date() -> DatePrefix {
    DATE.parse().unwrap()
}

/// Runs a statement on a SQLite database, beside whoever has it open.
pub(crate) fn sql(path: &Path, statement: &str) {
    let script =
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1], timeout=30); c.executescript(sys.argv[2]); c.commit()";
    let done = Done::of(python().args(["-c", script]).arg(path).arg(statement).output().unwrap());
    assert_eq!(done.code, Some(0), "{}", done.stderr);
}

fn is(diagnosis: &Diagnosis, code: Code, part: &str) {
    assert_eq!(diagnosis.code, code, "{diagnosis:?}");
    assert!(diagnosis.sentence.contains(part), "{code}: {}", diagnosis.sentence);
}

#[tokio::test]
async fn what_is_not_known_is_told_apart() {
    let world = World::new();
    world.tracked(&["known-1"]).await;
    world.place.input(&format!("{DATE}-new.ndjson"), "{}\n");
    is(&world.file("new").await, Code::NeverSeen, "no event and no listing");
    is(&world.file("known-2").await, Code::NoObject, "known-1.ndjson");
    let output = ObjectUri::from_path(&world.place.path("out/x.parquet")).unwrap();
    is(&world.inspector.file(&output, world.now).await.unwrap(), Code::OwnPlace, "the output");
    is(&world.run(&"unknown".parse().unwrap()).await, Code::UnknownRun, "never submitted");
    let empty = world.inspector.date("2024-02-29".parse().unwrap(), world.now).await.unwrap();
    is(&empty, Code::EmptyDate, "2024-02-29");
    is(&world.inspector.executor("e1", world.now).await.unwrap(), Code::ExecutorAway, "no executor `e1`");
}

#[tokio::test]
async fn nothing_is_told_of_what_lies_outside_the_places_of_input() {
    let world = World::new();
    let outside = world.place.path("secret.ndjson");
    let uri = ObjectUri::from_path(&outside).unwrap();
    let absent = world.inspector.file(&uri, world.now).await.unwrap();
    std::fs::write(&outside, "secret").unwrap();
    let present = world.inspector.file(&uri, world.now).await.unwrap();
    is(&absent, Code::Foreign, "INPUT_PLACES");
    assert_eq!(absent, present, "whether it is there is not told");
    // Nor by way of a link.
    let link = world.place.path("in").join(format!("{DATE}-link.ndjson"));
    std::os::unix::fs::symlink(&outside, &link).unwrap();
    let present = world.file("link").await;
    std::fs::remove_file(&outside).unwrap();
    assert_eq!(world.file("link").await, present);
    is(&present, Code::Foreign, "INPUT_PLACES");
    // A state alone, without the places, looks at nothing.
    let blind = Inspector::on(world.store.clone(), Storage::default(), None, About::default());
    is(&blind.file(&uri, world.now).await.unwrap(), Code::NotLooked, "places of input are not known");
}

#[tokio::test]
async fn what_waits_is_told_by_what_it_waits_for() {
    let mut world = World::new();
    world.tracked(&["a", "b"]).await;
    world.now = Utc::now();
    world.builder_seen(5).await;
    is(&world.file("a").await, Code::Filling, "2 of 10 files");
    is(&world.day().await, Code::Filling, "2 of 10 files");
    let next = world.file("a").await.next;
    assert!(next.by_itself && next.at.unwrap() - world.now > Duration::seconds(1700), "{next:?}");
    // Half an hour later the builder is dead.
    world.now += Duration::seconds(1900);
    is(&world.file("a").await, Code::DueNoBuilder, "`host:7`");
    is(&world.day().await, Code::DueNoBuilder, "no builder has shown itself for 31 min");
    world.builder_seen(5).await;
    is(&world.file("a").await, Code::Due, "waits for 31 min");
    let ttl = Duration::seconds(300);
    let lock = world.store.lock("LOCK#2025-12-23", "builder-7", ttl, world.now).await.unwrap().unwrap();
    is(&world.file("a").await, Code::DueLocked, "held by `builder-7`");
    assert_eq!(world.file("a").await.next.at.map(|at| at.timestamp()), Some(lock.expires_at.timestamp()));
    world.store.unlock(&lock).await.unwrap();
    world.sql("UPDATE backlogs SET pending_files = 0, pending_bytes = 0");
    is(&world.file("a").await, Code::Uncounted, "0 files");
    is(&world.day().await, Code::Uncounted, "counter of 2025-12-23");
    let _ = world.store.recount(date()).await.unwrap();
    std::fs::remove_file(world.place.path("in").join(format!("{DATE}-a.ndjson"))).unwrap();
    is(&world.file("a").await, Code::Gone, "its object is gone");
}

#[tokio::test]
async fn what_a_dead_builder_left_is_a_draft() {
    let world = World::new();
    world.tracked(&["a"]).await;
    let QueuedManifest { manifest, uri } = world.manifest("m1", &["a"]).await;
    let lock =
        world.store.lock("LOCK#2025-12-23", "builder-7", Duration::seconds(300), world.now).await.unwrap().unwrap();
    let id = manifest.id.clone();
    world.store.begin_draft(&Draft { manifest, uri, begun_at: world.now }, &lock).await.unwrap();
    let seen = world.store.pending(date(), 10).await.unwrap();
    assert_eq!(world.store.claim(&id, &seen, &lock, world.now).await.unwrap().len(), 1);
    is(&world.file("a").await, Code::Draft, "is making it");
    world.store.unlock(&lock).await.unwrap();
    is(&world.file("a").await, Code::Draft, "its builder died");
    is(&world.run(&id).await, Code::Draft, "its builder died");
    let later = world.inspector.attention(world.now + Duration::hours(1)).await.unwrap();
    assert!(later.items.iter().any(|item| item.code == Code::Draft), "{later:?}");
}

/// More runs under way and more drafts than are looked at: that is told, and the first of the queue is among what is.
#[tokio::test]
async fn what_is_not_looked_at_is_told() {
    let world = World::new();
    for n in 0..51 {
        let _ = world.started(&format!("open{n}"), &[&format!("open{n}")]).await;
    }
    let _ = world.queued("waits", &["waits"]).await;
    let attention = world.inspector.attention(world.now).await.unwrap();
    let without_leader = attention.items.iter().filter(|item| item.code == Code::NoLeader);
    assert_eq!(without_leader.map(|item| item.count).sum::<u64>(), 51, "{attention:?}");
    assert!(attention.is_capped, "{attention:?}");
    let world = World::new();
    world.tracked(&["a"]).await;
    let lock = world.store.lock("LOCK#2025-12-23", "b", Duration::seconds(300), world.now).await.unwrap().unwrap();
    for n in 0..51 {
        let QueuedManifest { manifest, uri } = world.manifest(&format!("draft{n}"), &["a"]).await;
        world.store.begin_draft(&Draft { manifest, uri, begun_at: world.now }, &lock).await.unwrap();
    }
    let later = world.now + Duration::hours(1);
    let attention = world.inspector.attention(later).await.unwrap();
    let drafts = attention.items.iter().filter(|item| item.code == Code::Draft).map(|item| item.count).sum::<u64>();
    assert!((drafts, attention.is_capped) == (50, true), "{attention:?}");
    let operations = millwork_scheduler::Operations::new(world.inspector.clone());
    let orphans = operations.find_orphans(Duration::minutes(2), later).await.unwrap();
    let of_drafts = orphans.orphans.iter().filter(|orphan| orphan.kind == millwork_scheduler::OrphanKind::OldDraft);
    assert!((of_drafts.count(), orphans.is_capped) == (51, false), "{orphans:?}");
}

#[tokio::test]
async fn a_queued_run_waits_for_a_scheduler_a_turn_or_a_time() {
    let mut world = World::new();
    let first = world.queued("m1", &["a"]).await;
    let second = world.queued("m2", &["b"]).await;
    is(&world.run(&first).await, Code::NoLeader, "no scheduler runs");
    is(&world.file("a").await, Code::NoLeader, "no scheduler runs");
    is(&world.day().await, Code::NoLeader, "2 of 2 runs");
    world.lead();
    is(&world.run(&second).await, Code::Queued, "place 2; 8 B are before it");
    is(&world.day().await, Code::Queued, "2 of 2 runs still open");
    let lock = world.store.lock("LOCK#runs", "host-3", Duration::zero(), DateTime::UNIX_EPOCH).await.unwrap().unwrap();
    let attempt = world.store.start_attempt(&first, &lock, world.now).await.unwrap();
    let later = world.now + Duration::seconds(38);
    let slow_down = Failure::new(FailureClass::Storage, "503 SlowDown");
    assert!(world.store.retry_later(&first, attempt, &slow_down, later, world.now).await.unwrap());
    is(&world.run(&first).await, Code::RetryWaits, "attempt 1 of 3 failed (`storage`: 503 SlowDown)");
    assert_eq!(world.file("a").await.next.at.map(|at| at.timestamp()), Some(later.timestamp()));
}

#[tokio::test]
async fn a_run_under_way_is_told_by_its_step() {
    let mut world = World::new();
    world.lead();
    let id = world.started("m1", &["a", "b"]).await;
    is(&world.run(&id).await, Code::Planning, "its 2 files");
    world.store.set_running(&id, 1, world.now).await.unwrap();
    is(&world.file("a").await, Code::Converting, "executors convert it");
    // The object of one file is overwritten meanwhile.
    world.place.input(&format!("{DATE}-b.ndjson"), "{\"a\":2, \"b\": 3}\n");
    is(&world.file("b").await, Code::Changed, "its object was overwritten");
    let began = world.now;
    world.now = began + Duration::minutes(61);
    is(&world.run(&id).await, Code::Slow, "more than half of the 2 h");
    world.now = began;
    let _ = world.store.cancel(&id, world.now).await.unwrap();
    is(&world.run(&id).await, Code::Cancelling, "to cancel it");
    let cancelled = Failure::new(FailureClass::Cancelled, "cancelled");
    world.store.fail(&id, 1, &cancelled, world.now).await.unwrap();
    is(&world.run(&id).await, Code::Cancelled, "was cancelled");
    is(&world.day().await, Code::Cancelled, "1 run");
}

#[tokio::test]
async fn a_failure_is_told_with_its_file_or_its_cause() {
    let world = World::new();
    let id = world.started("m1", &["a", "b"]).await;
    let truncated = Failure::new(FailureClass::Input, "line 88,120: truncated gzip").of_file(world.uri("a"));
    world.store.fail(&id, 1, &truncated, world.now).await.unwrap();
    is(&world.file("a").await, Code::AtFault, "truncated gzip");
    is(&world.run(&id).await, Code::AtFault, "2025-12-23-a.ndjson");
    is(&world.file("b").await, Code::SentBack, "which failed because of");
    is(&world.day().await, Code::RunFailed, "1 of 1 run failed");
    let lost = Failure::new(FailureClass::Resources, "no space left on /tmp/spill-1");
    for (id, name) in [("m2", "c"), ("m3", "d")] {
        world.queued(id, &[name]).await;
        let id: ManifestId = id.parse().unwrap();
        let lock = world.store.lock("LOCK#runs", "h", Duration::zero(), DateTime::UNIX_EPOCH).await.unwrap().unwrap();
        let attempt = world.store.start_attempt(&id, &lock, world.now).await.unwrap();
        world.store.fail(&id, attempt, &lost, world.now).await.unwrap();
    }
    is(&world.file("c").await, Code::RunFailed, "`resources`: no space left");
    let attention = world.inspector.attention(world.now).await.unwrap();
    let causes: Vec<_> = attention.items.iter().map(|item| (item.code, item.count)).collect();
    assert_eq!(causes, [(Code::RunFailed, 2), (Code::AtFault, 1)], "{attention:?}");
    assert!(attention.items[0].cause.starts_with("resources: no space left on …"), "{attention:?}");
    // The object that was at fault is replaced.
    world.place.input(&format!("{DATE}-a.ndjson"), "{\"mended\":1}\n");
    is(&world.file("a").await, Code::Changed, "other content by now");
}

#[tokio::test]
async fn what_is_converted_stays_so_and_what_happens_after_is_told() {
    let mut world = World::new();
    let id = world.completed("m1", &["a", "b"]).await;
    is(&world.file("a").await, Code::Done, "1 line → 1 row");
    is(&world.run(&id).await, Code::Done, "2 rows in 1 file");
    is(&world.day().await, Code::Done, "2 files of 1 run");
    world.place.input(&format!("{DATE}-b.ndjson"), "{\"newer\":1}\n");
    is(&world.file("b").await, Code::DoneOverwritten, "newer content");
    std::fs::remove_file(world.place.path("out/m1.parquet")).unwrap();
    is(&world.file("a").await, Code::DoneOutputMissing, "out/m1.parquet");
    is(&world.run(&id).await, Code::DoneOutputMissing, "1 of its 1 file is not where");
    // A commit that cannot be published.
    let stuck = world.started("m2", &["c"]).await;
    let commit = Commit { manifest_id: stuck.clone(), attempt: 1, record: "{}".to_owned() };
    assert!(world.store.commit(&commit, &json!({}), world.now).await.unwrap());
    world.lead();
    is(&world.run(&stuck).await, Code::Publishing, "decided on");
    world.now += Duration::seconds(60);
    is(&world.file("c").await, Code::Unpublishable, "cannot be shown");
}

#[tokio::test]
async fn what_nobody_goes_on_with_is_an_orphan() {
    let mut world = World::new();
    let _ = world.started("m1", &["a"]).await;
    world.sql("UPDATE runs SET status = 'failed', ended_at = updated_at WHERE manifest_id = 'm1'");
    is(&world.file("a").await, Code::Orphan, "its run `m1` is failed");
    let _ = world.queued("m2", &["b"]).await;
    world.sql("DELETE FROM runs WHERE manifest_id = 'm2'");
    is(&world.file("b").await, Code::HalfSubmitted, "manifest `m2`");
    world.now += Duration::minutes(16);
    is(&world.file("b").await, Code::Orphan, "its run `m2` is not there");
    assert_eq!(world.file("b").await.standing, Standing::NeedsYou);
}

#[tokio::test]
async fn a_refused_file_is_told_with_the_rule_and_what_it_says_today() {
    let world = World::new();
    world.place.input("no-date.ndjson", "{}\n");
    let input = Location::parse(world.place.path("in").to_str().unwrap()).unwrap();
    let _ = world.builder.backfill(&input).await.unwrap();
    world.builder_seen(5).await;
    let uri = ObjectUri::from_path(&world.place.path("in/no-date.ndjson")).unwrap();
    let diagnosis = world.inspector.file(&uri, world.now).await.unwrap();
    is(&diagnosis, Code::Refused, "`no-date`; today's rules refuse it, too");
    let attention = world.inspector.attention(world.now).await.unwrap();
    assert_eq!((attention.items[0].code, attention.items[0].cause.as_str()), (Code::Refused, "no-date"));
}

/// A cluster without executors, then with one; asked over HTTP, and by `millwork why` with and without it.
#[test]
fn a_cluster_is_asked_why_and_says_the_same_everywhere() {
    let place = Place::new();
    let file = place.input("2025-12-23-a.ndjson", "{\"a\":1}\nbad\n");
    let mut cluster = Cluster::start(&place, "out", 0, &[]);
    let document = json!({"fileLocations": [{"URIPrefixes": [file]}], "metadata": {"manifest_id": "m1"}});
    assert_eq!(cluster.post("manifests", &document).0, 202);
    let uri = format!("files/why?uri={}", file.display());
    wait_until("it is known that no executor is there", || cluster.get("runs/m1/why")["code"] == "no-executors");
    assert_eq!(cluster.get(&uri)["code"], "no-executors");
    assert_eq!(cluster.get("dates/2025-12-23/why")["code"], "no-executors");
    let attention = cluster.get("attention");
    assert_eq!(attention["items"][0]["code"], "no-executors", "{attention}");
    let asked = Done::of(cluster.client(&["why", file.to_str().unwrap()]).output().unwrap());
    assert_eq!(asked.code, Some(3), "{}{}", asked.stdout, asked.stderr);
    assert!(
        asked.stdout.contains("no-executors since") && asked.stdout.contains("docs/runbook.md#no-executors"),
        "{}",
        asked.stdout
    );
    cluster.start_executor();
    wait_until("it is converted", || cluster.get(&uri)["code"] == "done");
    assert!(cluster.get(&uri)["sentence"].as_str().unwrap().contains("2 lines → 1 row, 1 rejected"));
    let executor = cluster.get("executors")["items"][0]["id"].as_str().unwrap().to_owned();
    let asked = Done::of(cluster.client(&["why", "--json", &format!("executor:{executor}")]).output().unwrap());
    assert_eq!((asked.code, asked.json()["code"].as_str()), (Some(0), Some("executor-idle")));
    let state = format!("sqlite:{}", place.path("scheduler.db").display());
    let mut command = place.command("millwork");
    command.args(["why", "m1", "--json", "--state", &state]);
    let looked = Done::of(command.output().unwrap());
    assert_eq!((looked.code, looked.json()["code"].as_str()), (Some(0), Some("done")), "{}", looked.stderr);
    let foreign = cluster.get("files/why?uri=/etc/passwd");
    assert_eq!(foreign["code"], "foreign", "{foreign}");
}
