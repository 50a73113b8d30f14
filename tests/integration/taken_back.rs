//! Failed files come back on both stores: by themselves with other content, else on request.

use crate::servers::Aws;
use millwork_manifest::{BatchCaps, Failure, FailureClass, FileRules, FileState, Flush, MissingDate, ObjectUri};
use millwork_manifest_builder::{Builder, RedriveFilter, Settings};
use millwork_storage::{Location, MemoryObjects, Places};
use millwork_tracking::{Overwrites, QueuedManifest, SqliteStore, TrackingStore};
use std::sync::Arc;

/// Settings of a builder for which any size is right, and nothing that a crash left too young.
pub(crate) fn settings(input: &Location) -> Settings {
    Settings {
        input: Places::of(input),
        quarantine: None,
        manifests: Location::parse("s3://manifests").unwrap(),
        output: None,
        state: None,
        rules: FileRules {
            expected_file_size_mb: 1.0,
            size_tolerance_percent: 100.0,
            missing_date: MissingDate::Quarantine,
        },
        caps: BatchCaps::new(1.0, 100, 0),
        overwrites: Overwrites::Record,
        lock_ttl: chrono::Duration::seconds(10),
        unfinished_age: chrono::Duration::zero(),
        max_age: None,
    }
}

struct Ground {
    store: Arc<dyn TrackingStore>,
    builder: Builder,
    input: Location,
}

impl Ground {
    async fn cut_one(&self) -> QueuedManifest {
        let mut made = self.builder.cut_all(Flush::Now).await.unwrap();
        assert_eq!(made.len(), 1);
        made.remove(0)
    }

    async fn fail(&self, manifest: &QueuedManifest, uri: &ObjectUri) {
        let failure = Failure::new(FailureClass::Input, "it is broken").of_file(uri);
        self.store.fail(&manifest.manifest.id, 0, &failure, chrono::Utc::now()).await.unwrap();
        assert_eq!(self.state(uri).await, FileState::Failed);
    }

    async fn state(&self, uri: &ObjectUri) -> FileState {
        self.store.files(std::slice::from_ref(uri)).await.unwrap().remove(0).unwrap().state
    }
}

async fn come_back(store: Arc<dyn TrackingStore>) {
    let objects = MemoryObjects::default();
    let input = Location::parse("s3://in").unwrap();
    let builder = Builder::new(store.clone(), Arc::new(objects.clone()), settings(&input), "test".to_owned());
    let ground = Ground { store, builder, input };
    let uri: ObjectUri = "s3://in/2025-12-23-a.ndjson".parse().unwrap();
    objects.put(&uri, b"broken");
    assert_eq!(ground.builder.backfill(&ground.input).await.unwrap().pending, 1);
    let first = ground.cut_one().await;
    ground.fail(&first, &uri).await;
    // A listing of the same content changes nothing; who asks for it gets it back.
    assert_eq!(ground.builder.backfill(&ground.input).await.unwrap().pending, 0);
    let filter = RedriveFilter { state: Some(FileState::Failed), reason: None };
    let dry = ground.builder.redrive(&ground.input, filter, true).await.unwrap();
    assert_eq!((dry.pending.len(), ground.state(&uri).await), (1, FileState::Failed));
    let done = ground.builder.redrive(&ground.input, filter, false).await.unwrap();
    assert_eq!((done.pending.len(), ground.state(&uri).await), (1, FileState::Pending));
    assert!(ground.builder.redrive(&ground.input, filter, false).await.unwrap().pending.is_empty());
    let second = ground.cut_one().await;
    assert_ne!(second.manifest.id, first.manifest.id);
    ground.fail(&second, &uri).await;
    // Other content is pending by itself.
    objects.put(&uri, b"mended");
    assert_eq!(ground.builder.backfill(&ground.input).await.unwrap().pending, 1);
    let third = ground.cut_one().await;
    assert_ne!(third.manifest.files[0].etag, second.manifest.files[0].etag);
    assert_eq!(ground.state(&uri).await, FileState::Manifested);
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_files_come_back_in_sqlite() {
    come_back(Arc::new(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_files_come_back_in_dynamodb() {
    let aws = Aws::start();
    come_back(aws.fresh_store().await).await;
}
