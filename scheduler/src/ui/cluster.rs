//! Page of the processes: schedulers, executors, builders, and the locks that they hold.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError, load_cluster};
use axum::extract::State;
use axum::response::Response;
use millwork_api::path;
use millwork_ui::frame::Section;
use millwork_ui::pages::cluster::{Cluster, page};

pub(super) async fn get_cluster(asked: Asked, State(api): State<Api>) -> Response {
    let made = show(&asked, &api).await;
    asked.answer(Section::Cluster, made)
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
