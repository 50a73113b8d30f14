//! Builders, locks, unfinished manifests and queues.

use super::error::ApiError;
use super::extract::Query;
use super::{Api, load_executors, load_schedulers};
use crate::access::Caller;
use axum::Json;
use axum::extract::{Extension, State};
use chrono::DateTime;
use millwork_api::{
    BuilderInfo, Builders, Cluster, DeadLetter, DeadLetters, DeadLettersQuery, DraftInfo, Drafts, ErrorBody, Held,
    LockInfo, Locks, QueueInfo, QueueKind, Queues,
};
use millwork_diagnosis::shown;
use millwork_manifest::RunState;
use millwork_queue::Letter;
use millwork_tracking::{BuilderNote, LEADER_LOCK, LockState, RunFilter};

/// Limit of the dates whose locks are shown: 99 with pending files. With the leader lock, that makes the most names the
/// store accepts in one request.
const DATES: usize = 99;
/// Limit of the builders shown: the 50 with the latest heartbeats.
const BUILDERS: usize = 50;
/// Limit of the drafts shown: 1,000. Each normally exists only briefly.
const DRAFTS: usize = 1000;

/// Shows all processes of the state, and the locks that they hold.
#[utoipa::path(get, path = "/api/v1/cluster", tag = "cluster", responses(
    (status = 200, description = "All of them", body = Cluster)
))]
pub(super) async fn get_cluster(State(api): State<Api>) -> Result<Json<Cluster>, ApiError> {
    Ok(Json(load_cluster(&api).await?))
}

/// Loads all processes and locks.
pub(crate) async fn load_cluster(api: &Api) -> Result<Cluster, ApiError> {
    Ok(Cluster {
        schedulers: load_schedulers(api).await?.items,
        executors: load_executors(api),
        builders: load_builders(api).await?,
        locks: load_locks(api).await?,
    })
}

/// Lists the builders that have shown themselves.
#[utoipa::path(get, path = "/api/v1/builders", tag = "cluster", responses(
    (status = 200, description = "Those that were seen last", body = Builders)
))]
pub(super) async fn list_builders(State(api): State<Api>) -> Result<Json<Builders>, ApiError> {
    Ok(Json(Builders { items: load_builders(&api).await? }))
}

async fn load_builders(api: &Api) -> Result<Vec<BuilderInfo>, ApiError> {
    let notes = api.service.store().inspection().builders().await?;
    Ok(notes.into_iter().take(BUILDERS).map(builder).collect())
}

fn builder(note: BuilderNote) -> BuilderInfo {
    let about = note.about();
    let (mode, version) = about.as_ref().map(|about| (about.mode.clone(), about.version.clone())).unzip();
    let queue = about.and_then(|about| about.queue_url);
    BuilderInfo { id: note.id, mode, version, queue, seen_at: note.seen_at }
}

/// Lists the locks of the runs and of dates that wait, as they are stored.
#[utoipa::path(get, path = "/api/v1/locks", tag = "cluster", responses(
    (status = 200, description = "Those that were ever taken", body = Locks)
))]
pub(super) async fn list_locks(State(api): State<Api>) -> Result<Json<Locks>, ApiError> {
    Ok(Json(Locks { items: load_locks(&api).await? }))
}

async fn load_locks(api: &Api) -> Result<Vec<LockInfo>, ApiError> {
    let store = api.service.store();
    let waiting = store.backlogs().await?;
    let of_dates = waiting.iter().take(DATES).map(|(date, _)| format!("LOCK#{date}"));
    let names: Vec<String> = of_dates.chain([LEADER_LOCK.to_owned()]).collect();
    Ok(store.inspection().locks(&names).await?.into_iter().map(lock).collect())
}

fn lock(state: LockState) -> LockInfo {
    let (held, until) = match state.expires_at {
        None => (Held::Free, None),
        // Held through a file lock, without an expiry time.
        Some(until) if until == DateTime::UNIX_EPOCH => (Held::Process, None),
        until => (Held::Until, until),
    };
    LockInfo { name: state.name, holder: state.holder, token: state.token, held, until }
}

/// Lists the manifests that were begun and are not finished.
#[utoipa::path(get, path = "/api/v1/drafts", tag = "manifests", responses(
    (status = 200, description = "The oldest of them", body = Drafts)
))]
pub(super) async fn list_drafts(State(api): State<Api>) -> Result<Json<Drafts>, ApiError> {
    let filter = RunFilter { state: Some(RunState::Draft), limit: DRAFTS, ..RunFilter::default() };
    let page = api.service.store().list_runs(&filter).await?;
    let has_more = page.next_cursor.is_some();
    let mut items: Vec<DraftInfo> = page
        .items
        .into_iter()
        .map(|run| DraftInfo {
            manifest_id: run.manifest_id.to_string(),
            date: run.date,
            files: run.files,
            bytes: run.bytes,
            begun_at: run.created_at,
        })
        .collect();
    items.sort_by_key(|draft| draft.begun_at);
    Ok(Json(Drafts { items, has_more }))
}

/// Counts the messages of the queues that the builder reads and fills which was seen last.
#[utoipa::path(get, path = "/api/v1/queues", tag = "cluster", responses(
    (status = 200, description = "Each queue, or why it cannot be looked at", body = Queues)
))]
pub(super) async fn list_queues(State(api): State<Api>) -> Result<Json<Queues>, ApiError> {
    Ok(Json(load_queues(&api).await?))
}

/// Depths of the queues of the builder with the latest heartbeat.
pub(crate) async fn load_queues(api: &Api) -> Result<Queues, ApiError> {
    let builders = api.service.store().inspection().builders().await?;
    let about = builders.iter().find_map(BuilderNote::about);
    let (events, dead) = about.map(|about| (about.queue_url, about.dead_letter_queue_url)).unwrap_or_default();
    let known = [(QueueKind::Events, events), (QueueKind::DeadLetters, dead)];
    let looks = known.into_iter().filter_map(|(kind, url)| Some(queue(kind, url?)));
    Ok(Queues { items: futures::future::join_all(looks).await })
}

/// Looks at the dead letters of a queue: when they were put away, why, and about what. A look hides them from others for a moment, of ten
/// seconds at most.
#[utoipa::path(get, path = "/api/v1/dead-letters", tag = "cluster", params(DeadLettersQuery), responses(
    (status = 200, description = "Some of them, or why they cannot be looked at", body = DeadLetters),
    (status = 400, description = "`bad-query`", body = ErrorBody)
))]
pub(super) async fn list_dead_letters(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<DeadLettersQuery>,
) -> Result<Json<DeadLetters>, ApiError> {
    Ok(Json(load_dead_letters(&api, &caller, query).await?))
}

/// Loads dead letters of a queue.
pub(crate) async fn load_dead_letters(
    api: &Api,
    caller: &Caller,
    query: DeadLettersQuery,
) -> Result<DeadLetters, ApiError> {
    let queue = query.queue;
    // Up to 64 MiB of messages are held in memory.
    let _permit = api.heavy(caller).await?;
    let (letters, error) = match api.service.dead_letters(queue, query.limit.0).await? {
        Ok(letters) => (letters, None),
        Err(why) => (Vec::new(), Some(why)),
    };
    let letter = |letter: Letter| DeadLetter {
        subject: format!("{}/{}", queue.as_str(), letter.id),
        at: DateTime::from_timestamp_millis(letter.at_millis).filter(|_| letter.at_millis > 0),
        reason: letter.reason,
        detail: letter.detail,
        objects: letter.objects.iter().map(ToString::to_string).collect(),
    };
    Ok(DeadLetters { queue, items: letters.into_iter().take(query.limit.0).map(letter).collect(), error })
}

async fn queue(kind: QueueKind, url: String) -> QueueInfo {
    let (depth, error) = match millwork_queue::depth(&url).await {
        Ok(depth) => (Some(depth), None),
        Err(error) => (None, Some(shown(&format!("{error:#}")))),
    };
    QueueInfo { kind, url, waiting: depth.map(|depth| depth.waiting), in_work: depth.map(|depth| depth.in_work), error }
}
