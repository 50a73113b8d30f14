//! Tests of the intake of messages and files, with a simulated store.

use super::*;
use crate::documents::{MAX_MANIFEST_BYTES, ReadError};
use millwork_queue::{Handler, Message};
use millwork_storage::MemoryObjects;
use serde_json::json;
use std::sync::Mutex;

/// Store that accepts every manifest unless its id asks for another answer, and remembers the ids.
#[derive(Default)]
struct Store(Mutex<Vec<String>>);

#[async_trait]
impl Submit for Store {
    async fn submit(&self, manifest: Manifest, uri: &str) -> Result<(), SubmitError> {
        self.take(manifest, uri).map_err(SubmitError::Tracking)
    }
}

impl Store {
    fn take(&self, manifest: Manifest, _uri: &str) -> Result<(), TrackingError> {
        let id = manifest.id.to_string();
        self.0.lock().unwrap().push(id.clone());
        match id.as_str() {
            "taken" => Err(TrackingError::Taken {
                uri: "s3://in/2025-12-23-a.ndjson".to_owned(),
                state: millwork_manifest::FileState::Completed,
                holder: " in manifest `other`".to_owned(),
                manifest_id: id,
            }),
            "conflict" => Err(TrackingError::Conflict {
                manifest_id: id,
                found: "known with other files".to_owned(),
                wanted: "give the new manifest an id of its own",
            }),
            "down" => Err(TrackingError::Unavailable { store: "t".to_owned(), message: "no answer".to_owned() }),
            _ => Ok(()),
        }
    }
}

fn places(text: &str) -> Places {
    text.parse().unwrap()
}

struct Bench {
    store: Arc<Store>,
    objects: MemoryObjects,
    intake: Intake,
}

impl Bench {
    fn new() -> Self {
        let (store, objects) = (Arc::new(Store::default()), MemoryObjects::default());
        let intake =
            Intake { submit: store.clone(), objects: Arc::new(objects.clone()), places: Arc::new(places("s3://m")) };
        Self { store, objects, intake }
    }

    fn submitted(&self) -> Vec<String> {
        let mut ids = std::mem::take(&mut *self.store.0.lock().unwrap());
        ids.sort();
        ids
    }

    fn put(&self, key: &str, content: &str) {
        self.objects.put(&format!("s3://m/{key}").parse().unwrap(), content.as_bytes());
    }

    async fn handle(&self, bodies: &[String]) -> Vec<Verdict> {
        let message = |body: &String| Message { id: "id".to_owned(), body: body.clone() };
        let messages: Vec<Message> = bodies.iter().map(message).collect();
        FromQueue { intake: self.intake.clone() }.handle(&messages).await
    }
}

fn manifest(id: &str, names: &[&str]) -> String {
    let uris: Vec<String> = names.iter().map(|name| format!("s3://in/{name}")).collect();
    json!({"fileLocations": [{"URIPrefixes": uris}], "metadata": {"manifest_id": id}}).to_string()
}

fn record(name: &str, key: &str) -> serde_json::Value {
    json!({"eventVersion": "2.1", "eventName": name, "s3": {"bucket": {"name": "m"},
        "object": {"key": key, "size": 1, "eTag": "e"}}})
}

fn created(key: &str) -> String {
    json!({"Records": [record("ObjectCreated:Put", key)]}).to_string()
}

fn reason(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Done => "done",
        Verdict::Retry(_) => "retry",
        Verdict::Bad(bad) => bad.reason.as_str(),
    }
}

#[tokio::test]
async fn each_message_of_a_batch_has_its_own_verdict() {
    let bench = Bench::new();
    for id in ["good", "taken", "conflict", "down"] {
        bench.put(&format!("{id}.json"), &manifest(id, &["2025-12-23-a.ndjson"]));
    }
    bench.put("mixed.json", &manifest("mixed", &["2025-12-23-a.ndjson", "2025-12-24-b.ndjson"]));
    bench.put("twice.json", &manifest("twice", &["2025-12-23-a.ndjson", "2025-12-23-a.ndjson"]));
    bench.put("cut.json", "{\"fileLocations\": [");
    let bodies = [
        ("taken.json", "file-taken"),
        ("down.json", "retry"),
        ("mixed.json", "mixed-dates"),
        ("twice.json", "duplicate-file"),
        ("gone.json", "missing-object"),
        ("cut.json", "not-a-manifest"),
        ("conflict.json", "conflict"),
        ("notes.txt", "done"),
        ("good.json", "done"),
    ];
    let mut messages: Vec<String> = bodies.iter().map(|(key, _)| created(key)).collect();
    messages.push("no event".to_owned());
    let verdicts = bench.handle(&messages).await;
    let expected: Vec<&str> = bodies.iter().map(|(_, reason)| *reason).chain(["not-json"]).collect();
    assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), expected);
    assert_eq!(bench.submitted(), ["conflict", "down", "good", "taken"]);
    for (verdict, (key, _)) in verdicts.iter().zip(bodies) {
        if let Verdict::Bad(bad) = verdict {
            assert!(bad.detail.contains(key), "{bad}");
        }
    }
}

#[tokio::test]
async fn removals_and_test_events_say_nothing() {
    let bench = Bench::new();
    let removed = json!({"Records": [record("ObjectRemoved:Delete", "gone.json")]}).to_string();
    let test = json!({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "m"}).to_string();
    assert_eq!(bench.handle(&[removed, test]).await, [Verdict::Done, Verdict::Done]);
    assert!(bench.submitted().is_empty());
}

#[tokio::test]
async fn a_message_of_several_records_is_done_when_all_are() {
    let bench = Bench::new();
    bench.put("a.json", &manifest("a", &["2025-12-23-a.ndjson"]));
    bench.put("down.json", &manifest("down", &["2025-12-23-b.ndjson"]));
    let of = |keys: &[&str]| {
        let records: Vec<_> = keys.iter().map(|key| record("ObjectCreated:Put", key)).collect();
        json!({"Records": records}).to_string()
    };
    let verdicts = bench.handle(&[of(&["gone.json", "a.json"]), of(&["gone.json", "down.json", "a.json"])]).await;
    // A message whose manifest can be read later is kept, even if it has bad records as well.
    assert_eq!(verdicts.iter().map(reason).collect::<Vec<_>>(), ["missing-object", "retry"]);
    assert_eq!(bench.submitted(), ["a", "a", "down"]);
}

#[tokio::test]
async fn a_manifest_elsewhere_is_refused_without_a_look_at_it() {
    let bench = Bench::new();
    for place in ["s3://other", "s3://m2"] {
        bench
            .objects
            .put(&format!("{place}/a.json").parse().unwrap(), manifest("a", &["2025-12-23-a.ndjson"]).as_bytes());
    }
    let of = |bucket: &str, key: &str| {
        let mut record = record("ObjectCreated:Put", key);
        record["s3"]["bucket"]["name"] = bucket.into();
        json!({"Records": [record]}).to_string()
    };
    let bodies = [of("other", "a.json"), of("m2", "a.json"), of("m", "x/../a.json"), of("other", "none.json")];
    for (verdict, body) in bench.handle(&bodies).await.iter().zip(&bodies) {
        let Verdict::Bad(bad) = verdict else { panic!("{body}: {verdict:?}") };
        assert!(bad.reason == BadReason::ForeignObject && bad.detail.contains("it stays as it is"), "{bad}");
    }
    assert!(bench.submitted().is_empty());
}

#[tokio::test]
async fn a_manifest_that_is_too_large_is_not_read() {
    let bench = Bench::new();
    bench.put("large.json", &" ".repeat(MAX_MANIFEST_BYTES as usize + 1));
    let error =
        read_manifest(&bench.objects, &"s3://m/large.json".parse().unwrap(), &places("s3://m")).await.unwrap_err();
    assert!(matches!(error, ReadError::TooLarge { .. }) && error.reason() == Some(BadReason::TooLarge), "{error}");
    assert!(error.to_string().contains("33554433 bytes; the limit is 33554432"), "{error}");
}

#[tokio::test]
async fn a_manifest_without_an_end_is_not_read() {
    let storage = millwork_storage::Storage::from_env();
    let error = read_manifest(&storage, &"file:///dev/zero".parse().unwrap(), &places("/dev")).await.unwrap_err();
    assert!(error.to_string().contains("it is no regular file"), "{error}");
}

/// A watched directory, and what its listings submit.
struct Watched {
    root: tempfile::TempDir,
    store: Arc<Store>,
    watch: Watch,
}

impl Watched {
    fn new() -> Self {
        let (root, store) = (tempfile::tempdir().unwrap(), Arc::new(Store::default()));
        let place = Location::parse(root.path().to_str().unwrap()).unwrap();
        Self {
            watch: Watch::new(
                Intake::new(store.clone(), Arc::new(millwork_storage::Storage::default()), Places::of(&place)),
                place,
            ),
            root,
            store,
        }
    }

    fn put(&self, name: &str, content: &str) {
        let path = self.root.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn look(&mut self) -> Vec<String> {
        self.watch.look(&CancellationToken::new()).await.unwrap();
        let mut ids = std::mem::take(&mut *self.store.0.lock().unwrap());
        ids.sort();
        ids
    }
}

#[tokio::test]
async fn a_file_is_submitted_once_until_it_changes() {
    let mut watched = Watched::new();
    watched.put("a.json", &manifest("a", &["2025-12-23-a.ndjson"]));
    watched.put("2025-12-23/taken.json", &manifest("taken", &["2025-12-23-a.ndjson"]));
    watched.put("notes.txt", "{}");
    watched.put(".a.json.tmp.json", &manifest("hidden", &["2025-12-23-a.ndjson"]));
    assert_eq!(watched.look().await, ["a", "taken"]);
    assert!(watched.look().await.is_empty());
    watched.put("2025-12-23/taken.json", &manifest("b", &["2025-12-23-a.ndjson"]));
    assert_eq!(watched.look().await, ["b"]);
    // A file that was removed and created again counts as new.
    std::fs::remove_file(watched.root.path().join("a.json")).unwrap();
    assert!(watched.look().await.is_empty());
    watched.put("a.json", &manifest("a", &["2025-12-23-a.ndjson"]));
    assert_eq!(watched.look().await, ["a"]);
}

#[tokio::test]
async fn a_link_out_of_the_directory_is_not_read_and_holds_up_nothing() {
    let mut watched = Watched::new();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("s.json"), manifest("secret", &["2025-12-23-a.ndjson"])).unwrap();
    std::os::unix::fs::symlink(outside.path().join("s.json"), watched.root.path().join("s.json")).unwrap();
    std::os::unix::fs::symlink(outside.path(), watched.root.path().join("folder")).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(watched.root.path().join("p.json")).status().unwrap().success());
    watched.put("a.json", &manifest("a", &["2025-12-23-a.ndjson"]));
    assert_eq!(watched.look().await, ["a"]);
    assert!(watched.look().await.is_empty());
}

#[tokio::test]
async fn a_file_that_is_being_written_is_waited_for() {
    let mut watched = Watched::new();
    let whole = manifest("slow", &["2025-12-23-a.ndjson"]);
    for part in [10, 20] {
        watched.put("slow.json", &whole[..part]);
        assert!(watched.look().await.is_empty());
    }
    watched.put("slow.json", &whole);
    assert_eq!(watched.look().await, ["slow"]);
}

#[tokio::test]
async fn what_the_store_cannot_take_now_is_tried_at_each_look_and_holds_up_nothing() {
    let mut watched = Watched::new();
    watched.put("down.json", &manifest("down", &["2025-12-23-a.ndjson"]));
    assert!(!watched.watch.look(&CancellationToken::new()).await.unwrap());
    watched.put("e.json", &manifest("e", &["2025-12-23-e.ndjson"]));
    assert!(watched.watch.look(&CancellationToken::new()).await.unwrap());
    assert_eq!(watched.look().await, ["down", "down", "down", "e"]);
}

#[tokio::test]
async fn what_is_more_than_can_be_remembered_is_taken_all_the_same() {
    let mut watched = Watched::new();
    watched.watch.capacity = 1;
    watched.put("a.json", &manifest("a", &["2025-12-23-a.ndjson"]));
    watched.put("b.json", &manifest("b", &["2025-12-23-b.ndjson"]));
    assert_eq!(watched.look().await, ["a", "b"]);
    assert_eq!(watched.look().await, ["b"]);
    std::fs::remove_file(watched.root.path().join("a.json")).unwrap();
    assert_eq!(watched.look().await, ["b"]);
    assert!(watched.look().await.is_empty());
}
