//! Pages of refused files, and of file contents.

use super::asked::{Asked, Shown, command};
use crate::api::{Api, ApiError, load_file, load_files, load_preview, load_runs};
use axum::extract::State;
use axum::response::Response;
use millwork_api::{AnyOf, ErrorCode, FileQuery, Limit, PreviewQuery, Run, RunQuery, UriQuery, path};
use millwork_diagnosis::shell_word;
use millwork_manifest::{BY_OPERATOR, DatePrefix, FileState, ObjectUri, QuarantineReason, RunState};
use millwork_ui::frame::Section;
use millwork_ui::pages::{preview, quarantine};
use millwork_ui::parts::link;

/// Files on a page: 75, less than 150 kB of HTML.
const PAGE: usize = 75;
/// Number of completed runs that are searched for rejected lines: the newest 100, one page of the store.
const RUNS: usize = 100;
/// Limit of the runs with rejected lines that are shown.
const RUNS_SHOWN: usize = 10;

pub(super) async fn get_quarantine(asked: Asked, State(api): State<Api>) -> Response {
    let made = list(&asked, &api).await;
    asked.answer(Section::Quarantine, made)
}

async fn list(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let date = asked.parse::<DatePrefix>("date")?;
    let cursor = asked.get("cursor").map(str::to_owned);
    let reason = asked.get("reason");
    let is_known = |given: &str| given == BY_OPERATOR || given.parse::<QuarantineReason>().is_ok();
    if let Some(unknown) = reason.filter(|given| !is_known(given)) {
        return Err(ApiError::new(ErrorCode::BadQuery, format!("reason: no file is refused for `{unknown}`")));
    }
    let page = load_files(api, refused(date, reason, cursor.clone())).await?;
    let runs = rejecting(api, date).await?;
    let all = asked.stats.files_counted_at.map(|_| {
        asked.stats.files.iter().filter(|count| count.state == FileState::Quarantined).map(|count| count.files).sum()
    });
    let date = date.map(|date| date.to_string());
    let json = link::query(
        path::FILES,
        &[
            ("state", Some(FileState::Quarantined.as_str())),
            ("date", date.as_deref()),
            ("reason", reason),
            ("cursor", cursor.as_deref()),
        ],
    );
    let state = ("--state", Some(FileState::Quarantined.as_str()));
    let shown_by = command("millwork files list", &[state, ("--date", date.as_deref()), ("--refused-for", reason)]);
    let body = quarantine::page(&quarantine::Quarantine {
        now: asked.now,
        viewer: &asked.viewer,
        date,
        reason,
        cursor,
        items: &page.items,
        next: page.next_cursor.as_deref(),
        all,
        runs: &runs,
        back: &asked.path,
    });
    Ok(Shown {
        json: Some(json),
        command: Some(shown_by),
        counted_at: asked.stats.files_counted_at,
        ..Shown::new("Quarantine", Section::Quarantine, body)
    })
}

/// Query for refused files of a date, by reason.
pub(super) fn refused(date: Option<DatePrefix>, reason: Option<&str>, cursor: Option<String>) -> FileQuery {
    FileQuery {
        state: AnyOf::new([FileState::Quarantined]),
        date,
        reason: reason.map(str::to_owned),
        limit: Limit(PAGE),
        cursor,
        ..FileQuery::default()
    }
}

/// Newest completed runs with rejected lines.
async fn rejecting(api: &Api, date: Option<DatePrefix>) -> Result<Vec<Run>, ApiError> {
    let query = RunQuery { state: AnyOf::new([RunState::Completed]), date, limit: Limit(RUNS), ..RunQuery::default() };
    let found = load_runs(api, query).await?.items;
    let rejects = |run: &Run| run.summary.as_ref().is_some_and(|summary| summary.rejected > 0);
    Ok(found.into_iter().filter(rejects).take(RUNS_SHOWN).collect())
}

pub(super) async fn get_preview(asked: Asked, State(api): State<Api>) -> Response {
    let made = look(&asked, &api).await;
    asked.answer(Section::Quarantine, made)
}

async fn look(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let Some(uri) = asked.parse::<ObjectUri>("uri")? else {
        return Err(ApiError::new(ErrorCode::BadQuery, "name a file: ?uri=s3://bucket/key"));
    };
    let from = asked.parse::<u64>("from")?.unwrap_or(0);
    let file = load_file(api, UriQuery { uri: uri.clone() }).await?.file;
    let piece = load_preview(api, &asked.caller, PreviewQuery { uri, from }).await?;
    let body = preview::page(&preview::PreviewPage {
        viewer: &asked.viewer,
        file: &file,
        piece: &piece,
        from,
        back: &asked.path,
    });
    let place = from.to_string();
    let (_, name) = link::split(&file.uri);
    Ok(Shown {
        json: Some(link::query(path::FILE_PREVIEW, &[("uri", Some(&file.uri)), ("from", Some(&place))])),
        command: Some(format!("millwork files show {}", shell_word(&file.uri))),
        // Not refreshed automatically: the content does not change, and reading it is expensive.
        is_live: false,
        ..Shown::new(millwork_ui::text::plain(name), Section::Quarantine, body)
    })
}
