//! Page of a run.

use super::asked::{Asked, Shown};
use super::{rejected, why};
use crate::api::{Api, ApiError, load_run, load_run_files, load_run_ledger};
use axum::extract::{Path, State};
use axum::response::Response;
use millwork_api::{ErrorCode, Limit, PartQuery, RunDetail, path};
use millwork_manifest::ManifestId;
use millwork_ui::frame::{Section, Tone};
use millwork_ui::pages::run::page;
use millwork_ui::pages::run_page::{Part, RunPage, Tab};

/// Limit of a run's files on a page.
const FILES: usize = 100;

pub(super) async fn get_run(asked: Asked, State(api): State<Api>, Path(id): Path<String>) -> Response {
    let made = show(&asked, &api, &id, Tab::Summary).await;
    asked.answer(Section::Runs, made)
}

pub(super) async fn get_run_part(
    asked: Asked,
    State(api): State<Api>,
    Path((id, tab)): Path<(String, String)>,
) -> Response {
    let made = match Tab::ALL.into_iter().find(|known| known.as_str() == tab) {
        Some(tab) => show(&asked, &api, &id, tab).await,
        None => Err(ApiError::new(ErrorCode::NotFound, format!("a run has no part `{tab}`"))),
    };
    asked.answer(Section::Runs, made)
}

async fn show(asked: &Asked, api: &Api, id: &str, tab: Tab) -> Result<Shown, ApiError> {
    let id: ManifestId =
        id.parse().map_err(|error| ApiError::new(ErrorCode::NoSuchRun, format!("there is no such run: {error}")))?;
    let run = load_run(api, &id).await?;
    let query = |limit| PartQuery { limit: Limit(limit), cursor: asked.get("cursor").map(str::to_owned) };
    let (files, ledger);
    let part = match tab {
        Tab::Files => {
            files = load_run_files(api, &id, query(FILES)).await?;
            // Ledger and files have the same order. A ledger with fewer entries means that there is no commit.
            ledger = load_run_ledger(api, &id, query(FILES)).await.map(|page| page.items).unwrap_or_default();
            Part::Files { files: &files, ledger: &ledger, cursor: asked.get("cursor").map(str::to_owned) }
        }
        Tab::Rejected => match rejected::part(asked, api, &run).await? {
            Some(lines) => Part::Rejected(lines),
            None => Part::Run,
        },
        _ => Part::Run,
    };
    let why = match run.run.state {
        millwork_manifest::RunState::Completed => None,
        _ => why::of_run(asked, api, &id).await,
    };
    let body = page(&RunPage { now: asked.now, viewer: &asked.viewer, run: &run, why, tab, part, back: &asked.path });
    Ok(Shown {
        json: Some(match tab {
            Tab::Files => path::run_part(id.as_str(), "files"),
            _ => path::run(id.as_str()),
        }),
        command: Some(format!("millwork runs show {id}")),
        tone: tone(&run),
        ..Shown::new(id.to_string(), Section::Runs, body)
    })
}

fn tone(run: &RunDetail) -> Tone {
    match run.run.state {
        millwork_manifest::RunState::Failed => Tone::Bad,
        _ => Tone::Plain,
    }
}
