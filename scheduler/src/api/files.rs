//! Files and their timelines.

use super::Api;
use super::cursor;
use super::error::ApiError;
use super::extract::Query;
use super::show;
use crate::select;
use axum::Json;
use axum::extract::State;
use millwork_api::{ErrorBody, ErrorCode, File, FileDetail, FileQuery, Page, UriQuery};

/// Lists files: those of one state in the order of arrival, others in any order.
#[utoipa::path(get, path = "/api/v1/files", tag = "files", params(FileQuery), responses(
    (status = 200, description = "A page of files", body = Page<File>)
))]
pub(super) async fn list_files(
    State(api): State<Api>,
    Query(query): Query<FileQuery>,
) -> Result<Json<Page<File>>, ApiError> {
    Ok(Json(load_files(&api, query).await?))
}

/// Loads a page of files.
pub(crate) async fn load_files(api: &Api, query: FileQuery) -> Result<Page<File>, ApiError> {
    let list = cursor::mark(&query)?;
    let from = cursor::open(&list, query.cursor.as_deref())?;
    let page = select::files(&**api.service.store(), &query, query.limit.0, from).await?;
    let page = show::page(page, show::file);
    Ok(Page { next_cursor: cursor::seal(&list, page.next_cursor), ..page })
}

/// File by its URI, with its timeline.
#[utoipa::path(get, path = "/api/v1/files/by-uri", tag = "files", params(UriQuery), responses(
    (status = 200, description = "The file", body = FileDetail),
    (status = 404, description = "`no-such-file`", body = ErrorBody)
))]
pub(super) async fn get_file(
    State(api): State<Api>,
    Query(query): Query<UriQuery>,
) -> Result<Json<FileDetail>, ApiError> {
    Ok(Json(load_file(&api, query).await?))
}

/// Loads a file with its timeline.
pub(crate) async fn load_file(api: &Api, UriQuery { uri }: UriQuery) -> Result<FileDetail, ApiError> {
    let store = api.service.store();
    let found = store.files(std::slice::from_ref(&uri)).await?.into_iter().next().flatten();
    let file = found.ok_or_else(|| ApiError::new(ErrorCode::NoSuchFile, format!("no file `{uri}` is known")))?;
    let timeline = store.timeline(&uri).await?;
    Ok(FileDetail { file: show::file(file), timeline: timeline.into_iter().map(show::file_moment).collect() })
}
