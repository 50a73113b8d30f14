//! Form for rejected lines, in which they are mended, checked, and submitted.

use super::asked::{Asked, Shown};
use super::forms::Form;
use super::plans::{may_change, operator};
use crate::api::{Api, ApiError, load_rejected, load_run, put_back};
use axum::extract::{Path, Request, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use millwork_api::{ErrorCode, MendedLines, PutBack, RejectedLine, path};
use millwork_manifest::ManifestId;
use millwork_ui::format;
use millwork_ui::frame::Section;
use millwork_ui::pages::mend::{self, MendPage, Step};
use millwork_ui::parts::link;
use std::time::Duration;

/// Limit of a line that is edited in the form, in bytes: 64 KiB; longer ones need an editor.
const MAX_LINE_BYTES: usize = 64 << 10;
/// Limit of the form, in bytes: 4 MiB. A page of rejected lines has 256 KiB, which percent-encoding can triple, with
/// room for edits.
const MAX_FORM_BYTES: usize = 4 << 20;
/// Time limit for receiving the form: 30 s, for slow connections.
const FORM_TIME: Duration = Duration::from_secs(30);

/// Shows one page of rejected lines for editing.
pub(super) async fn get_mend(asked: Asked, State(api): State<Api>, Path(id): Path<String>) -> Response {
    let made = show_rejected(&asked, &api, &id).await;
    asked.answer(Section::Runs, made)
}

/// Checks the lines, or submits them as they were checked.
pub(super) async fn post_mend(
    asked: Asked,
    State(api): State<Api>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    match take(&asked, &api, &id, request).await {
        Ok(Taken::Put { id, lines }) => {
            let said = format!("{} put back, as rows of this run", format::counted(lines, "mended line"));
            (AppendHeaders([asked.say_next(&said)]), Redirect::to(&link::run_path(&id))).into_response()
        }
        Ok(Taken::Shown(shown)) => asked.answer(Section::Runs, Ok(*shown)),
        Err(error) => asked.answer(Section::Runs, Err(error)),
    }
}

/// Result of a submitted form.
enum Taken {
    /// Lines that were submitted, with the id of their run.
    Put {
        id: String,
        lines: u64,
    },
    Shown(Box<Shown>),
}

async fn show_rejected(asked: &Asked, api: &Api, id: &str) -> Result<Shown, ApiError> {
    let id = run_id(id)?;
    let run = load_run(api, &id).await?;
    let result = run.result.filter(|result| result.rejected_lines.is_some());
    let result = result
        .ok_or_else(|| ApiError::new(ErrorCode::Conflict, format!("run `{id}` has no rejected lines in its output")))?;
    let from = asked.parse::<u64>("from")?.unwrap_or(0);
    let found = load_rejected(api, result.rejected_lines, result.rejected, from).await?;
    let (mut lines, mut left_out) = (String::new(), Vec::new());
    for line in &found.items {
        match line.whole().filter(|text| text.len() <= MAX_LINE_BYTES) {
            Some(text) => {
                lines.push_str(&text);
                lines.push('\n');
            }
            None => left_out.push(left_out_of(line)),
        }
    }
    Ok(show(asked, &id, &lines, "", &left_out, Step::Mend))
}

/// Reason why a line is not editable in the form.
fn left_out_of(line: &RejectedLine) -> String {
    let (number, file, length) = (line.line, &line.file, line.length);
    format!("line {number} of {file} has {length} bytes, more than {MAX_LINE_BYTES}: take it from that file")
}

async fn take(asked: &Asked, api: &Api, id: &str, request: Request) -> Result<Taken, ApiError> {
    may_change(asked)?;
    let id = run_id(id)?;
    let form = Form::read(request, MAX_FORM_BYTES, FORM_TIME).await?;
    let missing = || ApiError::new(ErrorCode::BadQuery, "the form has no field `lines`");
    let lines = form.get("lines").ok_or_else(missing)?;
    let reason = form.get("reason").unwrap_or_default();
    let mended = Mended { asked, id: &id, lines, reason };
    let would = match mended.put_back(api, true).await {
        Ok(would) => would,
        Err(error) => return mended.refused(error),
    };
    let was_checked = form.get("checked") == Some(would.manifest_id.as_str());
    match form.get("step") {
        Some("put") if was_checked => match mended.put_back(api, false).await {
            Ok(PutBack { manifest_id, lines, .. }) => Ok(Taken::Put { id: manifest_id, lines }),
            Err(error) => mended.refused(error),
        },
        Some("put") => Ok(Taken::Shown(Box::new(mended.show(Step::Changed(&would))))),
        _ => Ok(Taken::Shown(Box::new(mended.show(Step::Checked(&would))))),
    }
}

/// Contents of a submitted form.
struct Mended<'a> {
    asked: &'a Asked,
    id: &'a ManifestId,
    lines: &'a str,
    reason: &'a str,
}

impl Mended<'_> {
    async fn put_back(&self, api: &Api, dry_run: bool) -> Result<PutBack, ApiError> {
        let lines = MendedLines { lines: self.lines.to_owned(), reason: Some(self.reason.to_owned()), dry_run };
        Ok(put_back(api, (&operator(self.asked), &self.asked.caller), self.id, lines).await?.0)
    }

    fn show(&self, step: Step<'_>) -> Shown {
        show(self.asked, self.id, self.lines, self.reason, &[], step)
    }

    fn refused(&self, error: ApiError) -> Result<Taken, ApiError> {
        match error.detail().code {
            // No lines of that run can be submitted.
            ErrorCode::NoSuchRun | ErrorCode::Conflict => Err(error),
            // The form is shown again, so that edited lines are not lost.
            _ => {
                let step = Step::Refused(&error.detail().message);
                Ok(Taken::Shown(Box::new(Shown { status: error.status(), ..self.show(step) })))
            }
        }
    }
}

fn show(asked: &Asked, id: &ManifestId, lines: &str, reason: &str, left_out: &[String], step: Step<'_>) -> Shown {
    let id = id.as_str();
    let body = mend::page(&MendPage { viewer: &asked.viewer, id, lines, reason, left_out, step });
    Shown {
        json: Some(path::run_part(id, "rejected")),
        command: Some(format!("millwork rejected {id} --lines")),
        is_live: false,
        ..Shown::new("Mend and put back", Section::Runs, body)
    }
}

fn run_id(id: &str) -> Result<ManifestId, ApiError> {
    id.parse().map_err(|error| ApiError::new(ErrorCode::NoSuchRun, format!("there is no such run: {error}")))
}
