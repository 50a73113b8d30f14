//! Search: redirects to the page of an exactly named subject, or lists possible matches.

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

/// Limit of the runs, and of the files, in the results.
const SHOWN: usize = 20;
/// Limit of the pages, of 1,000 files each, of a date that are searched for a part of a name.
const PAGES: usize = 5;
/// Limit of the input places that are searched for a file by the beginning of its name.
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

/// Page of the exactly named subject.
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

/// Runs by the beginning of their id; files by the beginning of their name or, if the text has a date, files of that
/// date whose address contains it.
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
    // Special characters are escaped in the address of a local file.
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
