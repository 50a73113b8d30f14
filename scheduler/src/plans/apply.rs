//! Application of a plan: an audit record is written, then the changes are made one by one.

use super::record::{self, Read, state_at};
use super::{PlanError, kinds, open};
use crate::audit::{self, Operator};
use crate::service::Service;
use chrono::{Duration, Utc};
use millwork_api::{ChangeResult, Plan, PlanState};
use millwork_tracking::{AuditEntry, Lock, LockStore, TrackingResult};
use std::ops::Range;
use std::sync::Arc;
use tokio::task::JoinHandle;

/// Number of changes between two writes of the plan: as many may have to be checked again after a crash.
const STEP: usize = 20;
/// Expiry time of an application's lock, after which a plan whose process died can be resumed. Renewed at a third
/// of it.
const LEASE: Duration = Duration::seconds(15);
const LEASE_RENEWAL: std::time::Duration = std::time::Duration::from_secs(5);

impl Service {
    /// Applies a plan, or resumes an interrupted application. Continues even if the caller stops waiting.
    pub async fn apply_plan(&self, id: &str, who: &Operator) -> Result<Plan, PlanError> {
        let (service, id, who) = (self.clone(), id.to_owned(), who.clone());
        let work = tokio::spawn(async move { service.apply(&id, &who).await });
        work.await.map_err(|error| {
            let value = error.to_string();
            millwork_tracking::TrackingError::Corrupt { what: "a task that ended early", value }
        })?
    }

    /// Refuses a plan that this operator may not apply, or not any more.
    pub(crate) fn check_plan(&self, plan: &Plan, who: &Operator) -> Result<(), PlanError> {
        check(plan, who)
    }

    async fn apply(&self, id: &str, who: &Operator) -> Result<Plan, PlanError> {
        let store = self.store();
        check(&record::read(&**store, id).await?.kept.plan, who)?;
        let name = format!("PLAN#{id}");
        let lock = store.lock(&name, &who.actor, LEASE, Utc::now()).await?;
        let lock = lock.ok_or_else(|| PlanError::Busy { id: id.to_owned() })?;
        let alive = keep_alive(store.clone(), lock.clone());
        let applied = self.apply_locked(id, who, &lock).await;
        alive.abort();
        if let Err(error) = store.unlock(&lock).await {
            tracing::warn!(plan = id, %error, "the lock of a plan stays until its time is over");
        }
        applied
    }

    async fn apply_locked(&self, id: &str, who: &Operator, lock: &Lock) -> Result<Plan, PlanError> {
        let store = &**self.store();
        // Another process may have applied it while this one waited for the lock.
        let mut read = record::read(store, id).await?;
        check(&read.kept.plan, who)?;
        if read.kept.plan.changes.is_empty() {
            return Err(PlanError::Bad(format!("plan `{id}` changes nothing: there is nothing to apply")));
        }
        read.kept.token = lock.token;
        read.kept.plan.state = PlanState::Applying;
        read.kept.plan.applied_at.get_or_insert_with(Utc::now);
        read.save(store).await?;
        open::leave(store, self.register_turn(), id, Utc::now()).await;
        let mut entry = note_of(&read.kept.plan, who);
        if let Err(error) = store.audit(&entry).await {
            return Err(self.reopen(read, error.into()).await);
        }
        self.make_changes(&mut read).await?;
        let plan = &read.kept.plan;
        entry.outcome = Some(summary(plan));
        audit::complete(store, &entry).await;
        read.kept.plan.state = PlanState::Applied;
        read.save(store).await?;
        all_changed(&read.kept.plan)?;
        Ok(read.kept.plan)
    }

    /// Makes the changes without a result, one step at a time. Each step is recorded before it begins, so that after a
    /// crash it is known which changes may have been made.
    async fn make_changes(&self, read: &mut Read) -> Result<(), PlanError> {
        let store = &**self.store();
        let repeated = read.kept.begun;
        while let Some(next) = read.kept.plan.changes.iter().position(|change| change.result.is_none()) {
            let end = read.kept.plan.changes.len().min(next + STEP);
            read.kept.begun = read.kept.begun.max(end);
            read.save(store).await?;
            if let Err(error) = self.make_some(&mut read.kept.plan, next..end, repeated).await {
                // Results so far are saved, so that a resumed application does not have to determine them.
                read.save(store).await?;
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Makes the changes of a step that have no result. Those before index `repeated` may have been made already.
    async fn make_some(&self, plan: &mut Plan, step: Range<usize>, repeated: usize) -> TrackingResult<()> {
        let mut prepared = kinds::Step::prepare(self, plan, step.clone()).await?;
        let made = self.make_each(plan, step, repeated, &mut prepared).await;
        prepared.end().await;
        made
    }

    async fn make_each(
        &self,
        plan: &mut Plan,
        step: Range<usize>,
        repeated: usize,
        prepared: &mut kinds::Step,
    ) -> TrackingResult<()> {
        for index in step {
            let Some(change) = plan.changes.get(index).filter(|change| change.result.is_none()) else { continue };
            let (result, message) = kinds::make(self, plan, prepared, change, index < repeated).await?;
            if let Some(change) = plan.changes.get_mut(index) {
                (change.result, change.message) = (Some(result), message);
            }
        }
        Ok(())
    }

    /// Reopens a plan whose audit record cannot be written, if none of its changes was begun.
    async fn reopen(&self, mut read: Read, error: PlanError) -> PlanError {
        if read.kept.begun == 0 {
            read.kept.plan.state = PlanState::Open;
            read.kept.plan.applied_at = None;
            if let Err(error) = read.save(&**self.store()).await {
                tracing::warn!(plan = read.kept.plan.id, %error, "a plan of which nothing was done stays begun");
            }
        }
        error
    }
}

/// Refuses a plan that cannot be applied, or not by this operator.
fn check(plan: &Plan, who: &Operator) -> Result<(), PlanError> {
    let id = plan.id.clone();
    if plan.actor != who.actor {
        return Err(PlanError::OfAnother { id, actor: plan.actor.clone() });
    }
    match state_at(plan, Utc::now()) {
        PlanState::Open | PlanState::Applying => Ok(()),
        PlanState::Expired => Err(PlanError::Expired { id, until: plan.valid_until }),
        PlanState::Applied => Err(PlanError::Used { id }),
    }
}

/// Audit record of a plan's application: always the same one, however often the application is resumed.
fn note_of(plan: &Plan, who: &Operator) -> AuditEntry {
    let words = |of: fn(&millwork_api::Change) -> &String| {
        let mut words: Vec<(&String, usize)> = Vec::new();
        for change in &plan.changes {
            match words.iter_mut().find(|(word, _)| *word == of(change)) {
                Some((_, count)) => *count += 1,
                None => words.push((of(change), 1)),
            }
        }
        words.into_iter().take(10).map(|(word, count)| format!("{count} {word}")).collect::<Vec<_>>().join("; ")
    };
    AuditEntry {
        id: plan.id.clone(),
        at: plan.applied_at.unwrap_or(plan.created_at),
        actor: who.actor.clone(),
        via: who.via,
        action: plan.action.to_string(),
        reason: plan.reason.clone(),
        plan: Some(plan.id.clone()),
        subjects: plan.changes.iter().map(|change| change.subject.clone()).collect(),
        before: Some(words(|change| &change.before)),
        after: Some(words(|change| &change.after)),
        outcome: None,
    }
}

fn summary(plan: &Plan) -> String {
    let count = |result| format!("{} {result}", plan.count(result));
    [ChangeResult::Done, ChangeResult::Skipped, ChangeResult::Failed].map(count).join(", ")
}

fn all_changed(plan: &Plan) -> Result<(), PlanError> {
    if plan.count(ChangeResult::Skipped) < plan.changes.len() {
        return Ok(());
    }
    let first = plan.changes.first();
    let first = first.map(|change| format!("`{}`: {}", change.subject, change.message.as_deref().unwrap_or_default()));
    let count = plan.subjects.counted(plan.changes.len());
    Err(PlanError::AllChanged { id: plan.id.clone(), count, first: first.unwrap_or_default() })
}

/// Renews a lock until the task is aborted.
fn keep_alive(store: Arc<dyn LockStore>, mut lock: Lock) -> JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(LEASE_RENEWAL).await;
            match store.renew(&lock, LEASE, Utc::now()).await {
                Ok(renewed) => lock = renewed,
                Err(error) if error.can_pass() => tracing::warn!(%error, "the lock of a plan is not renewed yet"),
                Err(error) => {
                    tracing::warn!(%error, "the lock of a plan has passed on");
                    return;
                }
            }
        }
    })
}
