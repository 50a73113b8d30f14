//! Tests of lost outputs: operators' actions on a committed run, and the remaining files.

use super::*;
use crate::service::Service;
use chrono::{Duration, Utc};
use millwork_manifest::RunState;
use millwork_storage::{Location, Staging, Storage};
use millwork_tracking::{AttemptStore, Commit, LockStore, QueuedManifest, Run, RunStore, SqliteStore};
use serde_json::json;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// A committed run with the outputs `a` and `b`, neither of which is published.
struct Place {
    root: tempfile::TempDir,
    store: Arc<SqliteStore>,
    service: Service,
    id: ManifestId,
    commit: Commit,
}

impl Place {
    async fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::in_memory().unwrap());
        let input = root.path().join("2025-01-01-in.ndjson");
        std::fs::write(&input, "{}\n").unwrap();
        let document =
            json!({"fileLocations": [{"URIPrefixes": [input]}], "metadata": {"manifest_id": "m"}}).to_string();
        let manifest = Manifest::parse("m", document.as_bytes(), Utc::now()).unwrap();
        let id = manifest.id.clone();
        store.submit(&QueuedManifest { manifest, uri: "inline".to_owned() }, 0, Utc::now()).await.unwrap();
        let commit = commit(&root, &store, &id, 1).await;
        Self { root, service: Service::new(store.clone(), nowhere(), Storage::default()), store, id, commit }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn private(&self, name: &str) -> PathBuf {
        private(&self.path("_millwork/staging/m/1"), name)
    }

    /// Publishes a single output, as an interrupted publication does.
    fn show(&self, name: &str) {
        std::fs::hard_link(self.private(name), self.path(&format!("g1-{name}.parquet"))).unwrap();
        std::fs::remove_file(self.private(name)).unwrap();
    }

    fn is_shown(&self, name: &str) -> bool {
        self.path(&format!("{name}.parquet")).exists()
    }

    async fn run(&self) -> Run {
        self.store.run_head(&self.id).await.unwrap().unwrap()
    }
}

/// Outputs of an attempt, in the order of their numbers.
const OUTPUTS: [&str; 2] = ["a", "b"];

/// Path of the private file of an output.
fn private(directory: &std::path::Path, name: &str) -> PathBuf {
    let number = OUTPUTS.iter().position(|output| *output == name).unwrap();
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&format!("{number:05}-"));
    files.into_iter().find(is_it).unwrap()
}

fn nowhere() -> crate::ReadPlaces {
    crate::ReadPlaces::new(millwork_storage::Places::none(), millwork_storage::Places::none(), None)
}

/// Starts an attempt and commits it.
async fn commit(root: &tempfile::TempDir, store: &SqliteStore, id: &ManifestId, generation: u32) -> Commit {
    let lock =
        store.lock(&format!("LOCK#{generation}"), "test", Duration::minutes(1), Utc::now()).await.unwrap().unwrap();
    let attempt = store.start_attempt(id, &lock, Utc::now()).await.unwrap();
    let staging = Staging::new(&Location::Local(root.path().to_owned()), "m", attempt, "");
    let staging = Storage::default().staging(staging);
    staging.prepare().unwrap();
    let output = |name: &str| {
        let number = OUTPUTS.iter().position(|output| *output == name).unwrap();
        let mut writer = staging.create_output(number).unwrap();
        writer.write_all(name.as_bytes()).unwrap();
        let to = ObjectUri::from_path(&root.path().join(format!("g{generation}-{name}.parquet"))).unwrap();
        json!([writer.finish().unwrap(), to])
    };
    let record = json!({
        "outputs": [output("a"), output("b")],
        "staging": staging.place(),
        "rejects": [],
        "rejects_uri": "s3://none/none",
        "ledger": [],
    });
    let commit = Commit { manifest_id: id.clone(), attempt, record: record.to_string() };
    assert!(store.commit(&commit, &json!({}), Utc::now()).await.unwrap());
    commit
}

#[tokio::test]
async fn an_output_that_is_there_is_not_given_up() {
    let place = Place::new().await;
    for shown in [false, true] {
        if shown {
            CommitRecord::of(&place.commit).unwrap().publish(&Storage::default()).unwrap();
        }
        for asked in [place.service.retry(&place.id).await, place.service.force(&place.id).await] {
            let told = asked.unwrap_err().to_string();
            assert!(told.contains("run `m` is committing; all of its output is there"), "{told}");
        }
        let told = place.service.cancel(&place.id).await.unwrap_err().to_string();
        assert!(told.contains("too late to cancel it") && told.contains("retry it"), "{told}");
    }
    assert_eq!(place.run().await.state, RunState::Committing);
    assert!(place.is_shown("g1-a") && place.is_shown("g1-b"));
}

#[tokio::test]
async fn a_lost_output_is_given_up_on_request_and_nothing_of_it_is_left() {
    let place = Place::new().await;
    place.show("a");
    std::fs::remove_file(place.private("b")).unwrap();
    let run = place.service.retry(&place.id).await.unwrap();
    assert_eq!((run.state, run.generation), (RunState::Queued, 2));
    let failure = run.failure.unwrap();
    assert!(failure.message.contains("g1-b.parquet") && failure.message.contains("converted anew"), "{failure}");
    assert!(!place.is_shown("g1-a") && !place.is_shown("g1-b"));
    // A former scheduler that still has the record cannot publish.
    assert!(CommitRecord::of(&place.commit).unwrap().publish(&Storage::default()).unwrap_err().is_lost());
    assert!(place.store.complete(&place.id, Utc::now()).await.is_err());
    let second = commit(&place.root, &place.store, &place.id, 2).await;
    CommitRecord::of(&second).unwrap().publish(&Storage::default()).unwrap();
    place.store.complete(&place.id, Utc::now()).await.unwrap();
    assert!(place.is_shown("g2-a") && place.is_shown("g2-b") && !place.is_shown("g1-a"));
}

#[tokio::test]
async fn an_output_is_given_up_without_its_input_only_by_force() {
    let place = Place::new().await;
    place.show("a");
    std::fs::remove_file(place.private("b")).unwrap();
    std::fs::remove_file(place.path("2025-01-01-in.ndjson")).unwrap();
    let told = place.service.retry(&place.id).await.unwrap_err().to_string();
    assert!(told.contains("2025-01-01-in.ndjson` is gone or changed, too") && told.contains("force the run"), "{told}");
    // A published output remains until the run is forced.
    assert!(place.is_shown("g1-a") && place.run().await.state == RunState::Committing);
    let run = place.service.force(&place.id).await.unwrap();
    assert_eq!((run.state, run.generation), (RunState::Queued, 2));
    assert!(!place.is_shown("g1-a"));
}

#[tokio::test]
async fn what_a_death_left_of_a_lost_output_goes_before_the_run_is_cancelled() {
    let place = Place::new().await;
    place.show("a");
    std::fs::remove_file(place.private("b")).unwrap();
    let failure = Failure::new(FailureClass::Storage, "lost");
    place.store.supersede(&place.id, place.commit.attempt, &failure, None, Utc::now()).await.unwrap();
    assert!(place.is_shown("g1-a"));
    assert_eq!(place.service.cancel(&place.id).await.unwrap().state, RunState::Cancelled);
    assert!(!place.is_shown("g1-a"));
}

#[tokio::test]
async fn an_output_is_replaced_once_all_of_the_new_one_is_shown() {
    let place = Place::new().await;
    CommitRecord::of(&place.commit).unwrap().publish(&Storage::default()).unwrap();
    place.store.complete(&place.id, Utc::now()).await.unwrap();
    place.service.force(&place.id).await.unwrap();
    let second = commit(&place.root, &place.store, &place.id, 2).await;
    let record = CommitRecord::of(&second).unwrap().in_place_of(&[CommitRecord::of(&place.commit).unwrap()]);
    let private = private(&place.path("_millwork/staging/m/2"), "b");
    let content = std::fs::read(&private).unwrap();
    std::fs::remove_file(&private).unwrap();
    // A lost private file is detected before anything is published.
    assert!(record.publish(&Storage::default()).unwrap_err().is_lost());
    assert!(place.is_shown("g1-a") && place.is_shown("g1-b") && !place.is_shown("g2-a"));
    // A file in the way of the last new name: the old output is kept as well.
    std::fs::write(&private, content).unwrap();
    std::fs::write(place.path("g2-b.parquet"), "foreign").unwrap();
    assert!(record.publish(&Storage::default()).unwrap_err().to_string().contains("move it away"));
    assert!(place.is_shown("g1-a") && place.is_shown("g1-b"));
    std::fs::remove_file(place.path("g2-b.parquet")).unwrap();
    for _ in 0..2 {
        record.publish(&Storage::default()).unwrap();
        assert!(place.is_shown("g2-a") && place.is_shown("g2-b") && !place.is_shown("g1-a") && !place.is_shown("g1-b"));
    }
}
