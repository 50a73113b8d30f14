//! Cases of manifests in the making, and of manifests submitted.

use super::support::*;
use chrono::Duration;
use millwork_manifest::{FileState, RunState};
use millwork_tracking::{Commit, Lock, TrackingError};

pub(super) async fn a_draft_claims_what_is_as_it_was_seen(store: Store) {
    track(&store, &[found("a", "1"), found("b", "1"), found("c", "1")]).await;
    let seen = pending(&store).await;
    track(&store, &[found("b", "2")]).await;
    let held_lock = lock(&store).await;
    let draft = draft("m", &["a", "b", "c"]);
    again!(store.begin_draft(&draft, &held_lock)).unwrap();
    let listed = again!(store.drafts(at(1))).unwrap();
    assert_eq!((listed.len(), &listed[0].manifest, &listed[0].uri), (1, &draft.manifest, &draft.uri));
    assert!(again!(store.drafts(at(0))).unwrap().is_empty());
    let id = &draft.manifest.id;
    let mut held = again!(store.claim(id, &seen, &held_lock, at(1))).unwrap();
    held.sort();
    assert_eq!(held, [uri("a"), uri("c")]);
    let mut twice = again!(store.claim(id, &seen, &held_lock, at(2))).unwrap();
    twice.sort();
    assert_eq!(twice, held);
    again!(store.drop_draft(id, &held_lock)).unwrap();
    assert!(due(&store, 10).await.is_empty());
    let queued = manifest("m", &["a", "c"]);
    again!(store.finish_draft(&queued, at(3))).unwrap();
    again!(store.finish_draft(&queued, at(4))).unwrap();
    assert_eq!(due(&store, 10).await, [id.as_str()]);
    assert_eq!(again!(store.manifest(id)).unwrap().as_ref(), Some(&queued.manifest));
    assert!(again!(store.drafts(at(1))).unwrap().is_empty());
    let left: Vec<_> = pending(&store).await.into_iter().map(|file| file.uri).collect();
    assert_eq!(left, [uri("b")]);
    assert!(!again!(store.submit(&queued, 0, at(5))).unwrap());
}

pub(super) async fn a_holder_whose_lock_has_passed_on_changes_nothing(store: Store) {
    track(&store, &[found("a", "1")]).await;
    let seen = pending(&store).await;
    let old = lock(&store).await;
    again!(store.begin_draft(&draft("m", &["a"]), &old)).unwrap();
    let new = lock_after(&store, &old).await;
    let id = "m".parse().unwrap();
    let refused = [
        again!(store.claim(&id, &seen, &old, at(1))).map(|_| ()),
        again!(store.begin_draft(&draft("n", &["a"]), &old)),
        again!(store.drop_draft(&id, &old)),
    ];
    for refused in refused {
        assert!(matches!(refused, Err(TrackingError::LockLost { .. })), "{refused:?}");
    }
    assert_eq!(file(&store, "a").await.state, FileState::Pending);
    assert_eq!(again!(store.drafts(at(1))).unwrap().len(), 1);
    again!(store.drop_draft(&id, &new)).unwrap();
    assert!(again!(store.drafts(at(1))).unwrap().is_empty());
}

async fn lock_after(store: &Store, old: &Lock) -> Lock {
    let mut now = old.expires_at;
    loop {
        now += Duration::seconds(60);
        if let Ok(Some(lock)) = store.lock(&old.name, "other", Duration::seconds(30), now).await {
            return lock;
        }
    }
}

pub(super) async fn a_submission_finishes_the_draft_of_its_id(store: Store) {
    track(&store, &[found("a", "1")]).await;
    let (seen, held_lock) = (pending(&store).await, lock(&store).await);
    again!(store.begin_draft(&draft("m", &["a"]), &held_lock)).unwrap();
    again!(store.claim(&"m".parse().unwrap(), &seen, &held_lock, at(1))).unwrap();
    let _ = again!(store.submit(&manifest("m", &["a"]), 0, at(2))).unwrap();
    assert_eq!(again!(store.run(&"m".parse().unwrap())).unwrap().unwrap().state, RunState::Queued);
}

pub(super) async fn a_file_is_in_one_manifest_at_a_time(store: Store) {
    let _ = again!(store.submit(&manifest("m", &["a"]), 0, at(0))).unwrap();
    let error = again!(store.submit(&manifest("n", &["b", "a"]), 0, at(1))).unwrap_err().to_string();
    assert!(error.contains("2025-12-23-a.ndjson` is manifested in manifest `m`"), "{error}");
    assert!(again!(store.run(&"n".parse().unwrap())).unwrap().is_none());
    // What the refused one may have claimed is free.
    let _ = again!(store.submit(&manifest("o", &["b"]), 0, at(2))).unwrap();
    let error = again!(store.submit(&manifest("m", &["a", "c"]), 0, at(3))).unwrap_err().to_string();
    assert!(error.contains("known with other files"), "{error}");
}

pub(super) async fn a_large_manifest_fits(store: Store) {
    let names: Vec<String> = (0..1500).map(|i| format!("{i:05}-{}", "x".repeat(200))).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let queued = manifest("m", &names);
    let id = &queued.manifest.id;
    let _ = again!(store.submit(&queued, 0, at(0))).unwrap();
    assert_eq!(due(&store, 10).await, [id.as_str()]);
    assert_eq!(again!(store.manifest(id)).unwrap().as_ref(), Some(&queued.manifest));
    let attempt = start(&store, id, 1).await;
    let large = Commit { record: "r".repeat(700_000), ..commit("m", attempt) };
    let _ = again!(store.commit(&large, &serde_json::json!({"text": "t".repeat(700_000)}), at(2))).unwrap();
    assert_eq!(again!(store.unpublished(id)).unwrap(), Some(large));
    again!(store.complete(id, at(3))).unwrap();
    assert_eq!(states(&store).await, [(FileState::Completed, 1500)]);
}
