//! Pages of change plans: one form creates a plan, another applies it.

use super::asked::{Asked, Shown};
use super::forms::{self, Form};
use super::quarantine::refused;
use crate::access::Role;
use crate::api::{Api, ApiError, load_audit};
use crate::audit::{Operator, is_reason};
use axum::extract::{Path, State};
use axum::response::{AppendHeaders, IntoResponse, Redirect, Response};
use chrono::NaiveDate;
use millwork_api::{
    Action, AnyOf, AuditQuery, ChangeResult, DeadLetterQuery, ErrorCode, EventQueue, FileQuery, Limit, Plan,
    PlanRequest, Priority, RunQuery, Select, SubjectKind, path,
};
use millwork_manifest::{DatePrefix, FailureClass, RunState};
use millwork_tracking::Via;
use millwork_ui::frame::{Section, Tone};
use millwork_ui::pages::{activity, confirm};
use millwork_ui::parts::link;

/// Limit of the audit records on a page.
const PAGE: usize = 100;

/// Creates a plan from the selection, and redirects to it.
pub(super) async fn post_plan(asked: Asked, State(api): State<Api>, form: Form) -> Response {
    let back = forms::back(form.get("back")).to_owned();
    match make(&asked, &api, &form).await {
        Ok(plan) => Redirect::to(&plan_path(&plan.id, &back)).into_response(),
        Err(error) => asked.answer(Section::Runs, Err(error)),
    }
}

/// Shows a plan.
pub(super) async fn get_plan(asked: Asked, State(api): State<Api>, Path(id): Path<String>) -> Response {
    let back = forms::back(asked.get("back")).to_owned();
    let made = match api.service.known_plan(&id).await {
        Ok(plan) => Ok(show(&asked, &plan, &back, None)),
        Err(error) => Err(error.into()),
    };
    asked.answer(Section::Activity, made)
}

/// Applies a plan and redirects with the result, or shows why it cannot be applied.
pub(super) async fn post_apply(asked: Asked, State(api): State<Api>, Path(id): Path<String>, form: Form) -> Response {
    let back = forms::back(form.get("back")).to_owned();
    match apply(&asked, &api, &id, &form).await {
        Ok(Applied::Done(plan)) => {
            let said = format!(
                "{}: {} of {} done",
                confirm::effect(&plan),
                plan.count(ChangeResult::Done),
                plan.changes.len()
            );
            let is_clean = plan.count(ChangeResult::Done) == plan.changes.len();
            let to = if is_clean { back } else { plan_path(&plan.id, &back) };
            (AppendHeaders([asked.say_next(&said)]), Redirect::to(&to)).into_response()
        }
        Ok(Applied::Changed(plan)) => {
            let said = "some of them have changed meanwhile: this is what would change now";
            (AppendHeaders([asked.say_next(said)]), Redirect::to(&plan_path(&plan.id, &back))).into_response()
        }
        Err(error) => match api.service.known_plan(&id).await {
            Ok(plan) => {
                let refused =
                    Shown { status: error.status(), ..show(&asked, &plan, &back, Some(&error.detail().message)) };
                asked.answer(Section::Activity, Ok(refused))
            }
            Err(_) => asked.answer(Section::Activity, Err(error)),
        },
    }
}

/// Shows the audit records of changes.
pub(super) async fn get_activity(asked: Asked, State(api): State<Api>) -> Response {
    let made = list_activity(&asked, &api).await;
    asked.answer(Section::Activity, made)
}

enum Applied {
    Done(Plan),
    /// A plan that was created again with a reason, and not applied, because it differs from the first.
    Changed(Plan),
}

async fn make(asked: &Asked, api: &Api, form: &Form) -> Result<Plan, ApiError> {
    may_change(asked)?;
    let priority = || {
        let given: i64 = form.get("priority").and_then(|text| text.trim().parse().ok()).unwrap_or(i64::MAX);
        Priority::try_from(given).map_err(|error| ApiError::new(ErrorCode::BadQuery, error))
    };
    let action = match form.get("action").unwrap_or_default() {
        "retry" => Action::Retry,
        "cancel" => Action::Cancel,
        "force" => Action::Force,
        "redrive" => Action::Redrive,
        "prioritise" => Action::Priority(priority()?),
        "cut" => Action::Cut,
        "sweep" => Action::Sweep,
        "recount" => Action::Recount,
        "redrive-dead-letters" => Action::RedriveDeadLetters,
        other => return Err(ApiError::new(ErrorCode::BadQuery, format!("there is no action `{other}`"))),
    };
    let select = match form.get("all") == Some("matching") {
        true => matching(action, form)?,
        false => {
            let names = ["run", "file", "date", "message"].into_iter().flat_map(|field| form.all(field));
            let names: Vec<String> = names.map(str::to_owned).collect();
            if names.is_empty() {
                return Err(ApiError::new(
                    ErrorCode::BadQuery,
                    "nothing was chosen: tick some rows first, then press the button again",
                ));
            }
            Select::Ids(names)
        }
    };
    let reason = form.get("reason").map(str::to_owned).filter(|reason| is_reason(reason));
    Ok(api.service.make_plan(PlanRequest { action, select, reason }, &operator(asked), &api.prices).await?)
}

/// Selects everything that matches the filters of the list with this form.
fn matching(action: Action, form: &Form) -> Result<Select, ApiError> {
    let word = |name| form.get(name).filter(|text| !text.is_empty());
    let date = word("where-date").map(str::parse::<DatePrefix>).transpose().map_err(bad)?;
    if action.subjects() == SubjectKind::Message {
        let queue = match word("where-queue") {
            Some("manifests") => EventQueue::Manifests,
            _ => EventQueue::Files,
        };
        return Ok(Select::DeadLetters(DeadLetterQuery { queue, reason: word("where-reason").map(str::to_owned) }));
    }
    if action.subjects() == SubjectKind::File {
        return Ok(Select::Files(FileQuery { limit: Limit::default(), ..refused(date, word("where-reason"), None) }));
    }
    let state = word("where-state").map(AnyOf::<RunState>::parse).transpose().map_err(bad)?;
    let class = word("where-class").map(AnyOf::<FailureClass>::parse).transpose().map_err(bad)?;
    Ok(Select::Runs(RunQuery {
        state: state.unwrap_or_default(),
        date,
        failure_class: class.unwrap_or_default(),
        prefix: word("where-q").map(str::to_owned),
        ..RunQuery::default()
    }))
}

fn bad(error: impl std::fmt::Display) -> ApiError {
    ApiError::new(ErrorCode::BadQuery, error)
}

async fn apply(asked: &Asked, api: &Api, id: &str, form: &Form) -> Result<Applied, ApiError> {
    may_change(asked)?;
    let who = operator(asked);
    let mut plan = api.service.known_plan(id).await?;
    let number = plan.changes.len();
    if number >= confirm::TYPED_FROM && form.get("typed").map(str::trim) != Some(number.to_string().as_str()) {
        return Err(ApiError::new(ErrorCode::BadQuery, format!("type {number} to confirm that so many change")));
    }
    let reason = form.get("reason").map(str::trim).filter(|reason| is_reason(reason));
    api.service.check_plan(&plan, &who)?;
    if let (Some(reason), None) = (reason, &plan.reason) {
        // The reason of a plan is fixed at its creation: the plan is created again with the reason, and applied only if
        // it is otherwise the same.
        let names = plan.changes.iter().map(|change| change.subject.clone()).collect();
        let request = PlanRequest { action: plan.action, select: Select::Ids(names), reason: Some(reason.to_owned()) };
        let again = api.service.make_plan(request, &who, &api.prices).await?;
        let is_same = |(one, other): (&millwork_api::Change, &millwork_api::Change)| one == other;
        if again.changes.len() != number || !again.changes.iter().zip(&plan.changes).all(is_same) {
            return Ok(Applied::Changed(again));
        }
        plan = again;
    }
    Ok(Applied::Done(api.service.apply_plan(&plan.id, &who).await?))
}

/// Refuses users with read access only.
pub(super) fn may_change(asked: &Asked) -> Result<(), ApiError> {
    match asked.caller.role >= Role::Operate {
        true => Ok(()),
        false => Err(ApiError::wrong_role(&asked.caller, "this", Role::Operate)),
    }
}

pub(super) fn operator(asked: &Asked) -> Operator {
    Operator { actor: asked.caller.id.to_string(), via: Via::Ui }
}

fn plan_path(id: &str, back: &str) -> String {
    link::query(&format!("/ui/plans/{}", link::escaped(id)), &[("back", Some(back))])
}

fn show(asked: &Asked, plan: &Plan, back: &str, refusal: Option<&str>) -> Shown {
    let body = confirm::page(&confirm::Confirm { now: asked.now, viewer: &asked.viewer, plan, back, refusal });
    Shown {
        json: Some(path::plan(&plan.id)),
        command: Some(format!("millwork plans show {}", plan.id)),
        is_live: false,
        tone: Tone::Plain,
        ..Shown::new(confirm::effect(plan), Section::Activity, body)
    }
}

async fn list_activity(asked: &Asked, api: &Api) -> Result<Shown, ApiError> {
    let day = asked.parse::<DatePrefix>("day")?;
    let (subject, cursor) = (asked.get("subject"), asked.get("cursor"));
    let query =
        AuditQuery { day, subject: subject.map(str::to_owned), limit: Limit(PAGE), cursor: cursor.map(str::to_owned) };
    let page = load_audit(api, query).await?;
    let shown: NaiveDate = day.and_then(|day| day.to_string().parse().ok()).unwrap_or_else(|| asked.now.date_naive());
    let text = shown.to_string();
    let json = link::query(path::AUDIT, &[("day", Some(&text)), ("subject", subject), ("cursor", cursor)]);
    let body = activity::page(&activity::Activity {
        now: asked.now,
        day: shown,
        subject,
        cursor,
        items: &page.items,
        next: page.next_cursor.as_deref(),
    });
    Ok(Shown { json: Some(json), ..Shown::new("Activity", Section::Activity, body) })
}
