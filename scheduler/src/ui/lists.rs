//! Pages with a single list.

use super::asked::{Asked, Shown, command};
use crate::api::{Api, ApiError, load_file, load_files, load_runs};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use millwork_api::{ErrorCode, FileQuery, Limit, RunQuery, UriQuery, path};
use millwork_diagnosis::shell_word;
use millwork_manifest::{DatePrefix, FailureClass, FileState, ObjectUri, RunState};
use millwork_ui::frame::Section;
use millwork_ui::pages::{file, files, help, runs};
use millwork_ui::parts::link;

/// Items on a page of a list: 75, less than 150 kB of HTML with names of usual length.
const PAGE: usize = 75;

pub(super) async fn get_runs(asked: Asked, State(api): State<Api>) -> Response {
    let made = list_runs(&asked, &api).await;
    asked.answer(Section::Runs, made)
}

async fn list_runs(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let (state, class) = (asked.any_of::<RunState>("state")?, asked.any_of::<FailureClass>("class")?);
    let date = asked.parse::<DatePrefix>("date")?;
    let chosen = (asked.get("state"), asked.get("class"));
    let cursor = asked.get("cursor").map(str::to_owned);
    let prefix = asked.get("q");
    let query = RunQuery {
        state: state.clone(),
        date,
        failure_class: class.clone(),
        prefix: prefix.map(str::to_owned),
        limit: Limit(PAGE),
        cursor: cursor.clone(),
        ..RunQuery::default()
    };
    let page = load_runs(api, query).await?;
    let date = date.map(|date| date.to_string());
    let json = link::query(
        path::RUNS,
        &[
            ("state", chosen.0),
            ("date", date.as_deref()),
            ("failure_class", chosen.1),
            ("prefix", prefix),
            ("cursor", cursor.as_deref()),
        ],
    );
    let shown_by = command(
        "millwork runs list",
        &[("--state", chosen.0), ("--date", date.as_deref()), ("--failure-class", chosen.1), ("--prefix", prefix)],
    );
    let body = runs::page(&runs::Runs {
        now: asked.now,
        viewer: &asked.viewer,
        stats: &asked.stats,
        state: &state,
        date,
        class: &class,
        prefix,
        chosen,
        cursor,
        items: &page.items,
        next: page.next_cursor.as_deref(),
        back: &asked.path,
    });
    Ok(Shown {
        json: Some(json),
        command: Some(shown_by),
        counted_at: asked.stats.runs_counted_at,
        ..Shown::new("Runs", Section::Runs, body)
    })
}

pub(super) async fn get_files(asked: Asked, State(api): State<Api>) -> Response {
    let made = list_files(&asked, &api).await;
    asked.answer(Section::Files, made)
}

async fn list_files(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let (state, date) = (asked.any_of::<FileState>("state")?, asked.parse::<DatePrefix>("date")?);
    let chosen = asked.get("state");
    let cursor = asked.get("cursor").map(str::to_owned);
    let prefix = asked.get("prefix");
    let query = FileQuery {
        state: state.clone(),
        date,
        prefix: prefix.map(str::to_owned),
        limit: Limit(PAGE),
        cursor: cursor.clone(),
        ..FileQuery::default()
    };
    let page = load_files(api, query).await?;
    let date = date.map(|date| date.to_string());
    let json = link::query(
        path::FILES,
        &[("state", chosen), ("date", date.as_deref()), ("prefix", prefix), ("cursor", cursor.as_deref())],
    );
    let shown_by =
        command("millwork files list", &[("--state", chosen), ("--date", date.as_deref()), ("--prefix", prefix)]);
    let body = files::page(&files::Files {
        now: asked.now,
        stats: &asked.stats,
        state: &state,
        chosen,
        prefix,
        date,
        cursor,
        items: &page.items,
        next: page.next_cursor.as_deref(),
    });
    Ok(Shown {
        json: Some(json),
        command: Some(shown_by),
        counted_at: asked.stats.files_counted_at,
        ..Shown::new("Files", Section::Files, body)
    })
}

pub(super) async fn get_file(asked: Asked, State(api): State<Api>) -> Response {
    let made = one_file(&asked, &api).await;
    asked.answer(Section::Files, made)
}

async fn one_file(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let Some(given) = asked.get("uri") else {
        return Err(ApiError::new(ErrorCode::BadQuery, "name a file: ?uri=s3://bucket/key"));
    };
    let uri: ObjectUri = given.parse().map_err(|error| ApiError::new(ErrorCode::BadQuery, format!("uri: {error}")))?;
    let found = match load_file(api, UriQuery { uri: uri.clone() }).await {
        Ok(file) => Some(file),
        Err(error) if error.detail().code == ErrorCode::NoSuchFile => None,
        Err(error) => return Err(error),
    };
    let why = super::why::of_file(asked, api, &uri).await;
    let text = uri.to_string();
    let body = file::page(&file::FilePage { now: asked.now, uri: &text, file: found.as_ref(), why });
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let (_, name) = link::split(&text);
    Ok(Shown {
        json: found.is_some().then(|| link::query(path::FILE, &[("uri", Some(&text))])),
        command: Some(format!("millwork files show {}", shell_word(&text))),
        status,
        ..Shown::new(millwork_ui::text::plain(name), Section::Files, body)
    })
}

pub(super) async fn get_help(asked: Asked) -> Response {
    let shown = Shown { is_live: false, ..Shown::new("Help", Section::Other, help::page()) };
    asked.answer(Section::Other, Ok(shown))
}

pub(super) async fn get_nothing(asked: Asked) -> Response {
    let error = ApiError::new(ErrorCode::NotFound, "the address leads to no page");
    asked.answer(Section::Other, Err(error))
}
