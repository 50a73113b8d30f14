//! Creation of a plan: subjects are selected and examined, and the list is stored.

use super::cost::cost_of;
use super::found::Looked;
use super::kinds;
use super::record::{self, Kept, state_at};
use super::{MAX_FILTER_BYTES, MAX_NAMES_BYTES, MAX_SUBJECTS, PlanError, VALID, letters, open, rounds};
use crate::audit::{MAX_REASON_CHARS, Operator, is_reason};
use crate::select;
use crate::service::Service;
use chrono::Utc;
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_api::{Action, AnyOf, FileQuery, Plan, PlanRequest, PlanState, Prices, Select, SubjectKind};
use millwork_manifest::FileState;
use millwork_tracking::{Page, Run, TrackedFile, TrackingResult};
use std::collections::HashSet;

/// Number of subjects that are examined concurrently.
const AT_ONCE: usize = 16;
/// Limit of the listing pages that a selection reads: 50,000 items if next to none match.
const MAX_PAGES: usize = 10;
/// Random digits of an id, which make the few open plans impossible to guess.
const ID_DIGITS: usize = 12;

/// Names of the selected subjects, and whether more match.
struct Selected {
    names: Vec<String>,
    has_more: bool,
}

impl Service {
    /// Makes a plan, with its cost at these prices, and stores it. Nothing else is written.
    pub async fn make_plan(&self, request: PlanRequest, who: &Operator, prices: &Prices) -> Result<Plan, PlanError> {
        let reason = checked_reason(request.reason, request.action)?;
        // Checked first, since examining subjects is more expensive.
        open::check(&**self.store(), &who.actor, Utc::now()).await?;
        let (looked, has_more) = self.look(request.action, &request.select).await?;
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for one in looked {
            match one {
                Looked::Change(change) => changes.push(change),
                Looked::Refused(refusal) => refused.push(refusal),
            }
        }
        let now = Utc::now();
        let cost = cost_of(self, request.action, &changes, prices).await?;
        let mut id = uuid::Uuid::new_v4().simple().to_string();
        id.truncate(ID_DIGITS);
        let plan = Plan {
            id,
            state: PlanState::Open,
            action: request.action,
            subjects: request.action.subjects(),
            select: request.select,
            reason,
            actor: who.actor.clone(),
            via: crate::audit::via(who.via),
            created_at: now,
            valid_until: now + VALID,
            changes,
            refused,
            has_more,
            cost,
            applied_at: None,
        };
        let kept = Kept { plan, begun: 0, token: 0 };
        open::enter(&**self.store(), self.register_turn(), &kept.plan, now).await?;
        record::create(&**self.store(), &kept, now).await?;
        Ok(kept.plan)
    }

    /// Loads a plan, with its current state.
    pub async fn known_plan(&self, id: &str) -> Result<Plan, PlanError> {
        let mut plan = record::read(&**self.store(), id).await?.kept.plan;
        plan.state = state_at(&plan, Utc::now());
        Ok(plan)
    }

    /// Examines each selected subject. Also returns whether more match.
    async fn look(&self, action: Action, select: &Select) -> Result<(Vec<Looked>, bool), PlanError> {
        check_filter(select)?;
        if action == Action::RedriveDeadLetters {
            let select = match select {
                Select::Ids(ids) => Select::Ids(select_named(ids)?.names),
                other => other.clone(),
            };
            return letters::look(self, &select).await;
        }
        let Selected { names, has_more } = self.select(action, select).await?;
        let looks = names.into_iter().map(|name| {
            let service = self.clone();
            async move { kinds::look(&service, action, &name).await }
        });
        Ok((stream::iter(looks).buffered(AT_ONCE).try_collect().await?, has_more))
    }

    async fn select(&self, action: Action, select: &Select) -> Result<Selected, PlanError> {
        match (select, action.subjects()) {
            (Select::Ids(ids), _) => select_named(ids),
            (Select::Runs(query), SubjectKind::Run) => {
                check_cursor(query.cursor.as_ref())?;
                let next = |limit, cursor| async move { select::runs(&**self.store(), query, limit, cursor).await };
                collected(next, |run: Run| run.manifest_id.to_string()).await
            }
            (Select::Files(query), SubjectKind::File) => {
                check_cursor(query.cursor.as_ref())?;
                let fit = fitting(action);
                let states = fit.iter().copied().filter(|state| query.state.takes(*state));
                let query = FileQuery { state: AnyOf::new(states), ..query.clone() };
                if query.state.is_empty() {
                    let fit = fit.iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
                    return Err(PlanError::Bad(format!("`{action}` is for files that are {fit}")));
                }
                let next = |limit, cursor| {
                    let query = &query;
                    async move { select::files(&**self.store(), query, limit, cursor).await }
                };
                collected(next, |file: TrackedFile| file.uri.to_string()).await
            }
            (Select::Dates(range), SubjectKind::Date) => {
                let mut names = rounds::select(self, action, range).await?;
                let has_more = names.len() > MAX_SUBJECTS;
                names.truncate(MAX_SUBJECTS);
                Ok(Selected { names, has_more })
            }
            (_, kind) => {
                Err(PlanError::Bad(format!("`{action}` is for {}s: select them, or name them as `ids`", kind.word())))
            }
        }
    }
}

fn checked_reason(reason: Option<String>, action: Action) -> Result<Option<String>, PlanError> {
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| is_reason(reason));
    if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
        return Err(PlanError::Bad(format!("a reason has at most {MAX_REASON_CHARS} characters")));
    }
    if action.needs_admin() && reason.is_none() {
        return Err(PlanError::Bad(format!("say why: `{action}` is noted with a reason")));
    }
    Ok(reason)
}

/// States of files that an action can change; other files are not planned.
fn fitting(action: Action) -> &'static [FileState] {
    match action {
        Action::Reset => &[FileState::Manifested, FileState::Processing],
        Action::Redrive => &[FileState::Quarantined, FileState::Failed],
        _ => &FileState::ALL,
    }
}

/// Refuses a filter longer than any listing needs, since it is stored with the plan.
fn check_filter(select: &Select) -> Result<(), PlanError> {
    let bytes = match select {
        Select::Ids(_) | Select::Dates(_) => Ok(0),
        Select::DeadLetters(query) => serde_json::to_vec(query).map(|text| text.len()),
        Select::Runs(query) => serde_json::to_vec(query).map(|text| text.len()),
        Select::Files(query) => serde_json::to_vec(query).map(|text| text.len()),
    };
    match bytes.map_err(|e| PlanError::Bad(e.to_string()))? {
        bytes if bytes > MAX_FILTER_BYTES => Err(PlanError::Bad(format!(
            "the filter of a plan has {bytes} bytes, more than {MAX_FILTER_BYTES}, the limit"
        ))),
        _ => Ok(()),
    }
}

fn check_cursor(cursor: Option<&String>) -> Result<(), PlanError> {
    match cursor {
        Some(_) => Err(PlanError::Bad("a selection has no cursor: it is of all that match".to_owned())),
        None => Ok(()),
    }
}

/// Collects up to the limit of a plan from the pages of a listing, up to [`MAX_PAGES`].
async fn collected<T, F: Future<Output = TrackingResult<Page<T>>>>(
    next: impl Fn(usize, Option<String>) -> F,
    name: impl Fn(T) -> String,
) -> Result<Selected, PlanError> {
    let mut selected = Selected { names: Vec::new(), has_more: false };
    let mut cursor = None;
    for _ in 0..MAX_PAGES {
        let page = next(MAX_SUBJECTS - selected.names.len(), cursor).await?;
        selected.names.extend(page.items.into_iter().map(&name));
        cursor = page.next_cursor;
        if cursor.is_none() || selected.names.len() >= MAX_SUBJECTS {
            break;
        }
    }
    selected.has_more = cursor.is_some();
    Ok(selected)
}

fn select_named(ids: &[String]) -> Result<Selected, PlanError> {
    if ids.is_empty() || ids.len() > MAX_SUBJECTS {
        return Err(PlanError::Bad(format!("a plan names 1 to {MAX_SUBJECTS} subjects, not {}", ids.len())));
    }
    let bytes: usize = ids.iter().map(String::len).sum();
    if bytes > MAX_NAMES_BYTES {
        return Err(PlanError::Bad(format!(
            "the subjects of a plan have {bytes} bytes together, more than {MAX_NAMES_BYTES}, the limit: make several plans"
        )));
    }
    let mut seen = HashSet::new();
    let names = ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
    Ok(Selected { names, has_more: false })
}
