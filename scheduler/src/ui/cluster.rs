//! Page of the processes: schedulers, executors, builders, and the locks that they hold.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError, load_executors, load_schedulers};
use axum::extract::State;
use axum::response::Response;
use chrono::DateTime;
use millwork_api::path;
use millwork_tracking::{BuilderNote, LEADER_LOCK, LockState};
use millwork_ui::frame::Section;
use millwork_ui::pages::cluster::{Builder, Cluster, Held, Lock, page};

/// Dates whose locks are looked at: 99 that wait, so that with the lock of the runs there are no more than may be asked for.
const DATES: usize = 99;
/// Builders that are shown: 50, those that were seen last.
const BUILDERS: usize = 50;

pub(super) async fn get_cluster(asked: Asked, State(api): State<Api>) -> Response {
    let made = show(&asked, &api).await;
    asked.answer(Section::Cluster, made)
}

async fn show(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let store = api.service.store();
    let executors = load_executors(api);
    let schedulers = load_schedulers(api).await?.items;
    let builders = store.inspection().builders().await?.into_iter().take(BUILDERS).map(builder).collect::<Vec<_>>();
    let waiting = store.backlogs().await?;
    let of_dates = waiting.iter().take(DATES).map(|(date, _)| format!("LOCK#{date}"));
    let names: Vec<String> = of_dates.chain([LEADER_LOCK.to_owned()]).collect();
    let locks: Vec<Lock> = store.inspection().locks(&names).await?.into_iter().map(lock).collect();
    let body = page(&Cluster {
        now: asked.now,
        stats: &asked.stats,
        executors: &executors,
        schedulers: &schedulers,
        builders: &builders,
        locks: &locks,
    });
    Ok(Shown {
        json: Some(path::EXECUTORS.to_owned()),
        command: Some("millwork top --once --view executors".to_owned()),
        ..Shown::new("Cluster", Section::Cluster, body)
    })
}

fn builder(note: BuilderNote) -> Builder {
    let about = note.about();
    let (mode, version) = about.as_ref().map(|about| (about.mode.clone(), about.version.clone())).unzip();
    let queue = about.and_then(|about| about.queue_url);
    Builder { id: note.id, mode, version, queue, seen_at: note.seen_at }
}

fn lock(state: LockState) -> Lock {
    let held = match state.expires_at {
        None => Held::Not,
        // Held with the lock of a file: no time ends it.
        Some(until) if until == DateTime::UNIX_EPOCH => Held::WhileItRuns,
        Some(until) => Held::Until(until),
    };
    Lock { name: state.name, holder: state.holder, token: state.token, held }
}
