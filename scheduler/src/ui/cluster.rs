//! Page of the processes: schedulers, executors, builders, and their locks.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError, load_cluster, load_dead_letters, load_queues};
use axum::extract::State;
use axum::response::Response;
use millwork_api::{DeadLettersQuery, ErrorCode, EventQueue, Limit, path};
use millwork_ui::frame::Section;
use millwork_ui::pages::cluster::{Cluster, page};
use millwork_ui::pages::queues;
use millwork_ui::parts::link;

/// Limit of the dead letters on a page: 100.
const LETTERS: usize = 100;

pub(super) async fn get_cluster(asked: Asked, State(api): State<Api>) -> Response {
    let made = show(&asked, &api).await;
    asked.answer(Section::Cluster, made)
}

pub(super) async fn get_queues(asked: Asked, State(api): State<Api>) -> Response {
    let made = show_queues(&asked, &api).await;
    asked.answer(Section::Cluster, made)
}

/// Page of the queues, and the dead letters of one of them.
async fn show_queues(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let queue = match asked.get("queue") {
        None | Some("files") => EventQueue::Files,
        Some("manifests") => EventQueue::Manifests,
        Some(other) => return Err(ApiError::new(ErrorCode::BadQuery, format!("queue: there is none of `{other}`"))),
    };
    let query = DeadLettersQuery { queue, limit: Limit(LETTERS) };
    let (queues, letters) = tokio::join!(load_queues(api), load_dead_letters(api, &asked.caller, query));
    let (queues, letters) = (queues?, letters?);
    let body = queues::page(&queues::QueuesPage {
        now: asked.now,
        viewer: &asked.viewer,
        queues: &queues.items,
        letters: &letters,
        is_full: letters.items.len() >= LETTERS,
        back: &asked.path,
    });
    Ok(Shown {
        json: Some(link::query(path::DEAD_LETTERS, &[("queue", Some(queue.as_str()))])),
        command: Some(format!("millwork queues dead-letters --of {}", queue.as_str())),
        // Not refreshed automatically, since reading hides letters from other consumers for a moment.
        is_live: false,
        ..Shown::new("Queues", Section::Cluster, body)
    })
}

async fn show(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let found = load_cluster(api).await?;
    let body = page(&Cluster {
        now: asked.now,
        stats: &asked.stats,
        executors: &found.executors,
        schedulers: &found.schedulers,
        builders: &found.builders,
        locks: &found.locks,
    });
    Ok(Shown {
        json: Some(path::CLUSTER.to_owned()),
        command: Some("millwork cluster".to_owned()),
        ..Shown::new("Cluster", Section::Cluster, body)
    })
}
