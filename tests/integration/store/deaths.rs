//! Operations of DynamoDB's store whose process dies after any number of requests: the same call, made again, ends as if
//! it had been made once.

use super::runs::{cancelled, storage};
use super::support::*;
use crate::servers::Aws;
use aws_sdk_dynamodb::config::interceptors::BeforeTransmitInterceptorContextRef;
use aws_sdk_dynamodb::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_dynamodb::error::BoxError;
use millwork_manifest::{FileState, ManifestId, RunState};
use millwork_tracking::{Lock, TrackingError, TrackingResult};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Lets some requests through, and then none.
#[derive(Clone, Debug, Default)]
struct Dying(Arc<AtomicI64>);

impl Intercept for Dying {
    fn name(&self) -> &'static str {
        "dying"
    }

    fn read_before_transmit(
        &self,
        _context: &BeforeTransmitInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if self.0.fetch_sub(1, Ordering::Relaxed) > 0 { Ok(()) } else { Err("dead".into()) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Step {
    Start,
    RetryLater,
    Fail,
    CancelFail,
    Cancel,
    Requeue,
    Commit,
    Complete,
    Force,
    Supersede,
}

const STEPS: [Step; 10] = [
    Step::Start,
    Step::RetryLater,
    Step::Fail,
    Step::CancelFail,
    Step::Cancel,
    Step::Requeue,
    Step::Commit,
    Step::Complete,
    Step::Force,
    Step::Supersede,
];

async fn make(store: &Store, step: Step, id: &ManifestId, lock: &Lock) -> TrackingResult<()> {
    match step {
        Step::Start => store.start_attempt(id, lock, at(5)).await.map(drop),
        Step::RetryLater => store.retry_later(id, 1, &storage("slow"), at(60), at(5)).await.map(drop),
        Step::Fail => store.fail(id, 1, &storage("broken").of_file(uri(&format!("{id}a"))), at(5)).await,
        Step::CancelFail => store.fail(id, 1, &cancelled(), at(5)).await,
        Step::Cancel => store.cancel(id, at(5)).await.map(drop),
        Step::Requeue => store.requeue(id, at(5)).await,
        Step::Commit => store.commit(&commit(id.as_str(), 1), &"done".into(), at(5)).await.map(drop),
        Step::Complete => store.complete(id, at(5)).await,
        Step::Force => store.force(id, at(5)).await,
        Step::Supersede => store.supersede(id, 1, &storage("lost"), None, at(5)).await,
    }
}

/// Brings a new run to where the step is to be made.
async fn before(store: &Store, step: Step, id: &ManifestId, lock: &Lock) {
    let (a, b) = (format!("{id}a"), format!("{id}b"));
    submit(store, id.as_str(), &[&a, &b], 0).await;
    if matches!(step, Step::Start | Step::Cancel) {
        return;
    }
    store.start_attempt(id, lock, at(1)).await.unwrap();
    match step {
        Step::Requeue => store.fail(id, 1, &storage("broken"), at(2)).await.unwrap(),
        Step::Complete | Step::Force | Step::Supersede => {
            assert!(store.commit(&commit(id.as_str(), 1), &"done".into(), at(2)).await.unwrap());
            if step == Step::Force {
                store.complete(id, at(3)).await.unwrap();
            }
        }
        _ => {}
    }
}

async fn check(store: &Store, step: Step, id: &ManifestId) {
    use FileState::{Completed, Failed, Manifested, Pending, Processing};
    let (state, files) = match step {
        Step::Start => (RunState::Planning, [Processing; 2]),
        Step::RetryLater | Step::Supersede => (RunState::Queued, [Processing; 2]),
        Step::Fail => (RunState::Failed, [Failed, Pending]),
        Step::CancelFail | Step::Cancel => (RunState::Cancelled, [Failed; 2]),
        Step::Requeue => (RunState::Queued, [Manifested; 2]),
        Step::Commit => (RunState::Committing, [Processing; 2]),
        Step::Complete => (RunState::Completed, [Completed; 2]),
        Step::Force => (RunState::Queued, [Completed; 2]),
    };
    assert_eq!(run(store, id).await.state, state, "{step:?}");
    let found = [file(store, &format!("{id}a")).await.state, file(store, &format!("{id}b")).await.state];
    assert_eq!(found, files, "{step:?}");
}

#[tokio::test]
async fn an_operation_that_dies_anywhere_is_finished_by_the_next() {
    let (aws, dying) = (Aws::start(), Dying::default());
    let (store, mortal) = aws.fresh_stores(dying.clone()).await;
    let lock = lock_named(&store, "LOCK#runs").await;
    for (number, step) in STEPS.into_iter().enumerate() {
        for requests in 0.. {
            let id = &format!("s{number}-{requests}").parse().unwrap();
            before(&store, step, id, &lock).await;
            dying.0.store(requests, Ordering::Relaxed);
            let is_done = make(&mortal, step, id, &lock).await.is_ok();
            if matches!(step, Step::Fail | Step::CancelFail | Step::Cancel) && requests % 2 == 1 {
                // Whoever looks for open runs finishes it, if the run has ended.
                store.open_runs().await.unwrap();
                if run(&store, id).await.state.is_final() {
                    check(&store, step, id).await;
                }
            }
            if !is_done {
                make(&store, step, id, &lock).await.unwrap();
            }
            check(&store, step, id).await;
            if is_done {
                break;
            }
            assert!(requests < 40, "{step:?} makes very many requests");
        }
    }
}

/// Submits a manifest of two files, of which only the first is known, and dies after some requests. Whether it died.
async fn submit_and_die(store: &Store, mortal: &Store, dying: &Dying, name: &str, requests: i64) -> bool {
    let (a, b) = (format!("{name}a"), format!("{name}b"));
    track(store, &[found(&a, "1")]).await;
    dying.0.store(requests, Ordering::Relaxed);
    mortal.submit(&manifest(name, &[&a, &b]), 0, at(1)).await.is_err()
}

#[tokio::test]
async fn a_submission_that_dies_anywhere_keeps_no_files() {
    let (aws, dying) = (Aws::start(), Dying::default());
    let (store, mortal) = aws.fresh_stores(dying.clone()).await;
    for requests in 0..40 {
        let name = &format!("abandoned-{requests}");
        let has_died = submit_and_die(&store, &mortal, &dying, name, requests).await;
        let (a, b) = (format!("{name}a"), format!("{name}b"));
        let is_there = store.run_head(&name.parse().unwrap()).await.unwrap().is_some();
        // Whoever submits it may still be at it.
        store.release_abandoned(at(1), at(2)).await.unwrap();
        let claimed = file(&store, &a).await.state;
        let released = store.release_abandoned(at(600), at(601)).await.unwrap();
        let states = store.files(&[uri(&a), uri(&b)]).await.unwrap().into_iter().map(|file| file.map(|f| f.state));
        let states: Vec<_> = states.collect();
        if is_there {
            assert_eq!((released, states), (0, vec![Some(FileState::Manifested); 2]), "{requests}");
        } else {
            assert_eq!(released > 0, claimed == FileState::Manifested, "{requests}");
            assert_eq!(states, [Some(FileState::Pending), None], "{requests}");
            submit(&store, &format!("{name}-other"), &[&a, &b], 700).await;
        }
        if !has_died {
            return;
        }
    }
    panic!("a submission makes very many requests");
}

#[tokio::test]
async fn a_submission_that_died_and_is_refused_now_keeps_no_files() {
    let (aws, dying) = (Aws::start(), Dying::default());
    let (store, mortal) = aws.fresh_stores(dying.clone()).await;
    for requests in 0..40 {
        let name = &format!("refused-{requests}");
        let (a, b) = (format!("{name}a"), format!("{name}b"));
        let has_died = submit_and_die(&store, &mortal, &dying, name, requests).await;
        let others = manifest(&format!("{name}-other"), &[&b]);
        if store.submit(&others, 0, at(2)).await.is_ok() {
            let refused = store.submit(&manifest(name, &[&a, &b]), 0, at(3)).await;
            assert!(matches!(refused, Err(TrackingError::Taken { .. })), "{refused:?}");
            assert_eq!(file(&store, &a).await.state, FileState::Pending, "{requests}");
        }
        if !has_died {
            return;
        }
    }
    panic!("a submission makes very many requests");
}
