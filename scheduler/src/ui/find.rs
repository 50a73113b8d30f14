//! Search: from a text to the page of what it names, or to a list of what it could mean.

use super::asked::{Asked, Shown};
use crate::api::{Api, ApiError, load_executors, load_files, load_runs, show};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};
use millwork_api::{File, FileQuery, Limit, Run, RunQuery};
use millwork_manifest::{DatePrefix, ManifestId};
use millwork_tracking::FileFilter;
use millwork_ui::frame::Section;
use millwork_ui::pages::find::{Found, page};
use millwork_ui::parts::link;

/// Runs and files that are shown of each.
const SHOWN: usize = 20;
/// Pages of 1,000 files of a date that are searched for a part of a name.
const PAGES: usize = 5;
/// Places of input that are searched for a file by the beginning of its name.
const PLACES: usize = 4;

pub(super) async fn get_find(asked: Asked, State(api): State<Api>) -> Response {
    let text = asked.get("q").unwrap_or_default().trim().to_owned();
    match lead(&api, &text).await {
        Some(path) => Redirect::to(&path).into_response(),
        None => match search(&api, &text).await {
            Ok((runs, files)) if runs.len() + files.len() == 1 => {
                let only = runs.first().map(|run| link::run_path(run.manifest_id.as_str()));
                let only = only.or_else(|| files.first().map(|file| link::file_path(&file.uri)));
                Redirect::to(only.as_deref().unwrap_or("/ui/")).into_response()
            }
            Ok((runs, files)) => {
                let status = if runs.is_empty() && files.is_empty() { StatusCode::NOT_FOUND } else { StatusCode::OK };
                let body = page(&Found { now: asked.now, text: &text, runs: &runs, files: &files, shown: SHOWN });
                asked.answer(
                    Section::Other,
                    Ok(Shown { status, is_live: false, ..Shown::new("Find", Section::Other, body) }),
                )
            }
            Err(error) => asked.answer(Section::Other, Err(error)),
        },
    }
}

/// The page of what is named exactly.
async fn lead(api: &Api, text: &str) -> Option<String> {
    if text.is_empty() {
        return Some("/ui/runs".to_owned());
    }
    if text.contains("://") || text.starts_with('/') {
        return Some(link::file_path(text));
    }
    if let Ok(date) = text.parse::<DatePrefix>() {
        return Some(link::date_path(&date.to_string()));
    }
    if let Ok(id) = text.parse::<ManifestId>()
        && api.service.store().run_head(&id).await.is_ok_and(|run| run.is_some())
    {
        return Some(link::run_path(text));
    }
    load_executors(api).items.iter().any(|executor| executor.id == text).then(|| "/ui/cluster".to_owned())
}

/// Runs whose id begins so; files whose name does, or, if the text has a date, files of that date whose address has it in it.
async fn search(api: &Api, text: &str) -> Result<(Vec<Run>, Vec<File>), ApiError> {
    let query = RunQuery { prefix: Some(text.to_owned()), limit: Limit(SHOWN), ..RunQuery::default() };
    let runs = load_runs(api, query).await?.items;
    let files = match DatePrefix::of_key(text) {
        Some(date) => of_date(api, date, text).await?,
        None => named(api, text).await?,
    };
    Ok((runs, files))
}

async fn of_date(api: &Api, date: DatePrefix, text: &str) -> Result<Vec<File>, ApiError> {
    // In the address of a local file, what is no plain character is escaped.
    let escaped = link::escaped(text);
    let (mut files, mut cursor) = (Vec::new(), None);
    for _ in 0..PAGES {
        let filter = FileFilter { date: Some(date), limit: 1000, cursor, ..FileFilter::default() };
        let found = api.service.store().list_files(&filter).await?;
        let is_meant = |uri: &str| uri.contains(text) || uri.contains(&escaped);
        files.extend(found.items.into_iter().filter(|file| is_meant(file.uri.as_str())).map(show::file));
        cursor = found.next_cursor;
        if cursor.is_none() || files.len() >= SHOWN {
            break;
        }
    }
    files.truncate(SHOWN);
    Ok(files)
}

async fn named(api: &Api, text: &str) -> Result<Vec<File>, ApiError> {
    let mut files = Vec::new();
    for place in api.service.places().input.locations().take(PLACES) {
        let Ok(uri) = place.object(text) else { continue };
        let query = FileQuery { prefix: Some(uri.to_string()), limit: Limit(SHOWN), ..FileQuery::default() };
        files.extend(load_files(api, query).await?.items);
    }
    files.truncate(SHOWN);
    Ok(files)
}
