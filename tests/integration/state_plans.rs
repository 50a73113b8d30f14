//! Change plans of files' states and of dates.

use crate::servers::Aws;
use chrono::Utc;
use millwork_api::{Action, ChangeResult, FileQuery, PlanRequest, RunQuery, Select, WantedState};
use millwork_manifest::{FileState, ObjectUri};
use millwork_scheduler::{Operator, PlanError, ReadPlaces, Service};
use millwork_storage::{Places, Storage};
use millwork_tracking::{FoundFile, Overwrites, SqliteStore, TrackingStore, Via};
use std::sync::Arc;

type Store = Arc<dyn TrackingStore>;

fn wish(action: Action, select: Select, reason: Option<&str>) -> PlanRequest {
    PlanRequest { action, select, reason: reason.map(str::to_owned) }
}

fn named(names: &[&str]) -> Select {
    Select::Ids(names.iter().map(|&name| name.to_owned()).collect())
}

async fn track(store: &Store, name: &str) -> ObjectUri {
    let uri: ObjectUri = format!("s3://in/2025-12-23-{name}.ndjson").parse().unwrap();
    let found = FoundFile {
        uri: uri.clone(),
        date: Some("2025-12-23".parse().unwrap()),
        size_bytes: 7,
        etag: "e1".to_owned(),
        version_id: None,
        sequencer: None,
        quarantine: None,
    };
    store.track(&[found], Overwrites::Record, Utc::now()).await.unwrap();
    uri
}

async fn state(store: &Store, uri: &ObjectUri) -> FileState {
    store.files(std::slice::from_ref(uri)).await.unwrap().pop().flatten().unwrap().state
}

async fn states_and_counts_are_changed_as_shown(store: Store) {
    let service =
        Service::new(store.clone(), ReadPlaces::new(Places::none(), Places::none(), None), Storage::default());
    let ops = Operator { actor: "ops".to_owned(), via: Via::Api };
    let (a, b) = (track(&store, "a").await, track(&store, "b").await);
    let both = named(&[a.as_str(), b.as_str(), "s3://in/unknown.ndjson"]);
    let away = Action::SetState(WantedState::Quarantined);
    let silent = service.make_plan(wish(away, both.clone(), None), &ops, &crate::plans::prices()).await;
    assert!(matches!(silent, Err(PlanError::Bad(_))), "{silent:?}");
    let plan =
        service.make_plan(wish(away, both, Some("sent by mistake")), &ops, &crate::plans::prices()).await.unwrap();
    assert_eq!((plan.changes.len(), plan.refused.len()), (2, 1), "{plan:?}");
    assert_eq!(plan.changes[0].before, "pending");
    assert!(plan.changes[0].after.starts_with("quarantined"), "{plan:?}");
    assert_eq!(state(&store, &a).await, FileState::Pending, "it was only shown");

    // One of them changes before the plan is applied.
    let early = wish(away, named(&[b.as_str()]), Some("first"));
    let early = service.make_plan(early, &ops, &crate::plans::prices()).await.unwrap();
    let _ = service.apply_plan(&early.id, &ops).await.unwrap();
    let applied = service.apply_plan(&plan.id, &ops).await.unwrap();
    let results: Vec<_> = applied.changes.iter().map(|change| change.result).collect();
    assert_eq!(results, [Some(ChangeResult::Done), Some(ChangeResult::Skipped)], "{applied:?}");
    assert_eq!(state(&store, &a).await, FileState::Quarantined);
    let noted = store.timeline(&a).await.unwrap().pop().unwrap();
    let detail = noted.detail.unwrap_or_default();
    assert!(detail.contains(&plan.id) && detail.contains("sent by mistake"), "{detail}");

    // And back.
    let back = wish(Action::SetState(WantedState::Pending), named(&[a.as_str()]), Some("it was right"));
    let back = service.make_plan(back, &ops, &crate::plans::prices()).await.unwrap();
    let _ = service.apply_plan(&back.id, &ops).await.unwrap();
    assert_eq!(state(&store, &a).await, FileState::Pending);
    let reset = wish(Action::Reset, named(&[a.as_str()]), Some("trial"));
    let reset = service.make_plan(reset, &ops, &crate::plans::prices()).await.unwrap();
    assert!(reset.changes.is_empty() && reset.refused.len() == 1, "it is not stuck: {reset:?}");

    let dates = named(&["2025-12-23", "2025-12-24", "yesterday"]);
    let recount = service.make_plan(wish(Action::Recount, dates, None), &ops, &crate::plans::prices()).await.unwrap();
    assert_eq!((recount.changes.len(), recount.refused.len()), (1, 2), "{recount:?}");
    let counted = service.apply_plan(&recount.id, &ops).await.unwrap();
    assert_eq!(counted.changes[0].message.as_deref(), Some("1 pending, 1 quarantined"), "{counted:?}");
    let wrong = [
        (Action::Recount, Select::Files(FileQuery::default())),
        (Action::Reset, Select::Runs(RunQuery::default())),
        (Action::Reset, Select::Files(FileQuery { state: FileState::Pending.into(), ..FileQuery::default() })),
    ];
    for (action, select) in wrong {
        let refused = service.make_plan(wish(action, select, Some("trial")), &ops, &crate::plans::prices()).await;
        assert!(matches!(refused, Err(PlanError::Bad(_))), "{refused:?}");
    }
}

#[tokio::test]
async fn states_and_counts_are_changed_as_shown_in_sqlite() {
    states_and_counts_are_changed_as_shown(Arc::new(SqliteStore::in_memory().unwrap())).await;
}

#[tokio::test]
async fn states_and_counts_are_changed_as_shown_in_dynamodb() {
    let aws = Aws::start();
    states_and_counts_are_changed_as_shown(aws.fresh_store().await).await;
}
