//! Tests of taking files back from each state, under the present rules.

use super::*;
use millwork_manifest::{Failure, FailureClass, Manifest, ManifestFile, MissingDate};
use millwork_storage::MemoryObjects;
use millwork_tracking::{AttemptStore, QueuedManifest, RunStore, SqliteStore};

const FILE: &str = "s3://in/2025-12-23-a.ndjson";

struct Ground {
    store: SqliteStore,
    objects: MemoryObjects,
    rules: FileRules,
}

fn now(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

impl Ground {
    fn new() -> Self {
        let rules = FileRules {
            expected_file_size_mb: 1.0,
            size_tolerance_percent: 100.0,
            missing_date: MissingDate::Quarantine,
        };
        Self { store: SqliteStore::in_memory().unwrap(), objects: MemoryObjects::default(), rules }
    }

    fn redrive(&self, seconds: i64) -> Redrive<'_> {
        Redrive { store: &self.store, objects: &self.objects, rules: &self.rules, place: None, now: now(seconds) }
    }

    async fn file(&self) -> TrackedFile {
        self.store.files(&[FILE.parse().unwrap()]).await.unwrap().pop().flatten().unwrap()
    }

    /// Makes a file of a failed run.
    async fn fail(&self) {
        let uri: ObjectUri = FILE.parse().unwrap();
        self.objects.put(&uri, b"one");
        let etag = self.objects.head(&uri).await.unwrap().etag;
        let file = ManifestFile { uri: uri.clone(), size_bytes: Some(3), etag: Some(etag), version_id: None };
        let id: millwork_manifest::ManifestId = "m".parse().unwrap();
        let manifest = Manifest {
            id: id.clone(),
            date: "2025-12-23".parse().unwrap(),
            created_at: now(0),
            files: vec![file],
            traceparents: Vec::new(),
        };
        self.store.submit(&QueuedManifest { manifest, uri: "s3://m/m.json".into() }, 0, now(0)).await.unwrap();
        let failure = Failure::new(FailureClass::Input, "it is broken").of_file(&uri);
        self.store.fail(&id, 0, &failure, now(1)).await.unwrap();
        assert_eq!(self.file().await.state, FileState::Failed);
    }
}

#[tokio::test]
async fn a_failed_file_is_pending_again_as_it_is() {
    let ground = Ground::new();
    ground.fail().await;
    let seen = ground.file().await;
    assert_eq!(ground.redrive(2).look(&seen).await.unwrap().verdict, Verdict::Pending);
    assert_eq!(ground.file().await, seen);
    assert_eq!(ground.redrive(2).take_back(&seen).await.unwrap(), Verdict::Pending);
    let after = ground.file().await;
    assert_eq!((after.state, after.reason, after.etag), (FileState::Pending, None, seen.etag.clone()));
    // A file that has changed since it was read is not taken back.
    assert!(matches!(ground.redrive(3).take_back(&seen).await, Err(RedriveError::Changed(_))));
    assert!(matches!(ground.redrive(3).take_back(&ground.file().await).await, Err(RedriveError::NotRefused { .. })));
}

#[tokio::test]
async fn a_failed_file_with_other_content_is_pending_with_that() {
    let ground = Ground::new();
    ground.fail().await;
    let seen = ground.file().await;
    ground.objects.put(&seen.uri, b"mended");
    assert_eq!(ground.redrive(2).take_back(&seen).await.unwrap(), Verdict::Pending);
    let after = ground.file().await;
    assert_eq!((after.state, after.size_bytes), (FileState::Pending, 6));
    assert_ne!(after.etag, seen.etag);
}

#[tokio::test]
async fn a_quarantined_file_goes_back_once_the_rules_accept_it() {
    let mut ground = Ground::new();
    let (uri, there): (ObjectUri, ObjectUri) = (FILE.parse().unwrap(), "s3://q/a.ndjson".parse().unwrap());
    ground.rules.size_tolerance_percent = 1.0;
    ground.objects.put(&there, b"one");
    let found = FoundFile { quarantine: Some(QuarantineReason::TooSmall), ..found(&uri, "x") };
    ground.store.track(&[found], Overwrites::Record, now(0)).await.unwrap();
    ground.store.mark_moved(&uri, there.as_str(), now(0)).await.unwrap();
    let seen = ground.file().await;
    let Verdict::Refused(reason, why) = ground.redrive(1).take_back(&seen).await.unwrap() else { panic!("accepted") };
    assert_eq!(reason, QuarantineReason::TooSmall);
    assert!(why.contains("3 bytes") && why.contains("--size-tolerance-percent"), "{why}");
    ground.rules.size_tolerance_percent = 100.0;
    assert_eq!(ground.redrive(1).take_back(&seen).await.unwrap(), Verdict::Pending);
    assert_eq!(ground.file().await.state, FileState::Pending);
    assert_eq!(ground.objects.read(&uri).await.unwrap(), b"one");
    assert!(ground.objects.read(&there).await.is_err());
    // A file whose object does not exist anywhere.
    let gone =
        TrackedFile { state: FileState::Quarantined, uri: "s3://in/2025-12-23-b.ndjson".parse().unwrap(), ..seen };
    assert_eq!(ground.redrive(2).take_back(&gone).await.unwrap(), Verdict::Missing);
}

fn found(uri: &ObjectUri, etag: &str) -> FoundFile {
    FoundFile {
        uri: uri.clone(),
        date: "2025-12-23".parse().ok(),
        size_bytes: 3,
        etag: etag.to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    }
}
