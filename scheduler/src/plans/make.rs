//! A plan is made: subjects are selected, each is looked at, and the list is kept.

use super::kinds::{self, Looked};
use super::record::{self, Kept, state_at};
use super::{MAX_REASON_CHARS, MAX_SUBJECTS, PlanError, VALID};
use crate::audit::Operator;
use crate::service::Service;
use chrono::Utc;
use futures::stream::{self, StreamExt, TryStreamExt};
use millwork_api::{Action, Plan, PlanRequest, PlanState, RunQuery, Select, SubjectKind};
use millwork_tracking::{RunFilter, TrackingResult};
use std::collections::HashSet;

/// Subjects that are looked at side by side: a store answers many at a time.
const AT_ONCE: usize = 16;
/// Random digits of an id: nobody guesses one of the few plans that are open.
const ID_DIGITS: usize = 12;

/// Subjects by name, and whether more match.
struct Selected {
    names: Vec<String>,
    has_more: bool,
}

impl Service {
    /// Makes a plan, and keeps it. Nothing else is written.
    pub async fn make_plan(&self, request: PlanRequest, who: &Operator) -> Result<Plan, PlanError> {
        let reason = request.reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
        if reason.as_ref().is_some_and(|reason| reason.chars().count() > MAX_REASON_CHARS) {
            return Err(PlanError::Bad(format!("a reason has at most {MAX_REASON_CHARS} characters")));
        }
        let selected = self.select(request.action, &request.select).await?;
        let looks = selected.names.iter().map(|name| kinds::look(self, request.action, name));
        let looked: Vec<Looked> = stream::iter(looks).buffered(AT_ONCE).try_collect().await?;
        let (mut changes, mut refused) = (Vec::new(), Vec::new());
        for one in looked {
            match one {
                Looked::Change(change) => changes.push(change),
                Looked::Refused(refusal) => refused.push(refusal),
            }
        }
        let now = Utc::now();
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
            via: crate::api::show::via(who.via),
            created_at: now,
            valid_until: now + VALID,
            changes,
            refused,
            has_more: selected.has_more,
            applied_at: None,
        };
        let kept = Kept { plan, begun: 0, token: 0 };
        record::create(&**self.store(), &kept, now).await?;
        Ok(kept.plan)
    }

    /// A plan as it is now.
    pub async fn known_plan(&self, id: &str) -> Result<Plan, PlanError> {
        let mut plan = record::read(&**self.store(), id).await?.kept.plan;
        plan.state = state_at(&plan, Utc::now());
        Ok(plan)
    }

    async fn select(&self, action: Action, select: &Select) -> Result<Selected, PlanError> {
        match (select, action.subjects()) {
            (Select::Ids(ids), _) => select_named(ids),
            (Select::Runs(query), SubjectKind::Run) => self.select_runs(query).await,
            (Select::Runs(_), SubjectKind::File) => {
                Err(PlanError::Bad(format!("`{action}` is for files: select `files` or `ids`, not `runs`")))
            }
            (Select::Files(_), SubjectKind::Run) => {
                Err(PlanError::Bad(format!("`{action}` is for runs: select `runs` or `ids`, not `files`")))
            }
            (Select::Files(_), SubjectKind::File) => {
                Err(PlanError::Bad("files are selected by name, with `ids`".to_owned()))
            }
        }
    }

    async fn select_runs(&self, query: &RunQuery) -> Result<Selected, PlanError> {
        if query.cursor.is_some() {
            return Err(PlanError::Bad("a selection has no cursor: it is of all that match".to_owned()));
        }
        let mut selected = Selected { names: Vec::new(), has_more: false };
        let mut cursor = None;
        loop {
            let limit = MAX_SUBJECTS - selected.names.len();
            let page = self.runs_that_match(query, limit, cursor).await?;
            selected.names.extend(page.items.into_iter().map(|run| run.manifest_id.to_string()));
            cursor = page.next_cursor;
            if cursor.is_none() || selected.names.len() >= MAX_SUBJECTS {
                selected.has_more = cursor.is_some();
                return Ok(selected);
            }
        }
    }

    async fn runs_that_match(
        &self,
        query: &RunQuery,
        limit: usize,
        cursor: Option<String>,
    ) -> TrackingResult<millwork_tracking::Page<millwork_tracking::Run>> {
        let filter = RunFilter {
            state: query.state.words().first().copied(),
            date: query.date,
            failure_class: query.failure_class.words().first().copied(),
            limit,
            cursor,
        };
        self.store().list_runs(&filter).await
    }
}

fn select_named(ids: &[String]) -> Result<Selected, PlanError> {
    if ids.is_empty() || ids.len() > MAX_SUBJECTS {
        return Err(PlanError::Bad(format!("a plan names 1 to {MAX_SUBJECTS} subjects, not {}", ids.len())));
    }
    let mut seen = HashSet::new();
    let names = ids.iter().filter(|id| seen.insert(id.as_str())).cloned().collect();
    Ok(Selected { names, has_more: false })
}
