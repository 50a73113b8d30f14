//! Register of open plans, which limits their number: each is a document in the store that might never be applied.
//!
//! The register is one record beside the plans, with optimistic locking by its revision.
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | after a plan is registered, before it is stored | an entry without a plan, until it expires | nothing to do |
//! | after the application of a plan is begun, before its entry is removed | the same | nothing to do |

use super::{KEEP, PlanError};
use chrono::{DateTime, Utc};
use millwork_api::Plan;
use millwork_tracking::{PlanRecord, PlanStore, TrackingError};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// Limit of one operator's open plans.
const MAX_OF_ONE: usize = 100;
/// Limit of all open plans.
const MAX_OF_ALL: usize = 500;
/// Name of the register's record; ids of plans have other lengths.
const RECORD: &str = "open";
/// Limit of the attempts to change the record: each failure means that another scheduler has changed it.
const MAX_TRIES: usize = 50;

/// An open plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Entry {
    id: String,
    actor: String,
    until: DateTime<Utc>,
}

/// Tells whether this is the name of the register, and not of a plan.
pub(super) fn is_register(id: &str) -> bool {
    id == RECORD
}

/// Refuses another plan of this operator if the limit is reached.
pub(super) async fn check(store: &dyn PlanStore, actor: &str, now: DateTime<Utc>) -> Result<(), PlanError> {
    room_for(&entries(store.plan(RECORD).await?.as_ref(), now)?, actor)
}

/// Registers a plan that is about to be stored, unless the limit is reached.
pub(super) async fn enter(
    store: &dyn PlanStore,
    turn: &Mutex<()>,
    plan: &Plan,
    now: DateTime<Utc>,
) -> Result<(), PlanError> {
    let entry = || Entry { id: plan.id.clone(), actor: plan.actor.clone(), until: plan.valid_until };
    change(store, turn, now, |open| {
        room_for(open, &plan.actor)?;
        open.push(entry());
        Ok(())
    })
    .await
}

/// Removes the entry of a plan that is no longer open. On failure the entry expires by itself.
pub(super) async fn leave(store: &dyn PlanStore, turn: &Mutex<()>, id: &str, now: DateTime<Utc>) {
    let left = change(store, turn, now, |open| {
        open.retain(|entry| entry.id != id);
        Ok(())
    });
    if let Err(error) = left.await {
        tracing::warn!(plan = id, %error, "a plan that is applied counts as open until its time is over");
    }
}

fn room_for(open: &[Entry], actor: &str) -> Result<(), PlanError> {
    let of_one = || open.iter().filter(|entry| entry.actor == actor);
    let full = |limit, whose: Option<&str>, oldest: Option<&Entry>| PlanError::TooMany {
        whose: whose.map_or_else(String::new, |actor| format!(" by `{actor}`")),
        limit,
        until: oldest.map_or(DateTime::UNIX_EPOCH, |entry| entry.until),
    };
    if of_one().count() >= MAX_OF_ONE {
        return Err(full(MAX_OF_ONE, Some(actor), of_one().min_by_key(|entry| entry.until)));
    }
    match open.len() >= MAX_OF_ALL {
        true => Err(full(MAX_OF_ALL, None, open.iter().min_by_key(|entry| entry.until))),
        false => Ok(()),
    }
}

/// Entries of a register that have not expired.
fn entries(record: Option<&PlanRecord>, now: DateTime<Utc>) -> Result<Vec<Entry>, PlanError> {
    let Some(record) = record else { return Ok(Vec::new()) };
    let mut open: Vec<Entry> = serde_json::from_str(&record.document).map_err(|error| corrupt(&error))?;
    open.retain(|entry| entry.until > now);
    Ok(open)
}

fn corrupt(error: &serde_json::Error) -> TrackingError {
    TrackingError::Corrupt { what: "register of plans", value: error.to_string() }
}

/// Changes the current register.
async fn change(
    store: &dyn PlanStore,
    turn: &Mutex<()>,
    now: DateTime<Utc>,
    change: impl Fn(&mut Vec<Entry>) -> Result<(), PlanError>,
) -> Result<(), PlanError> {
    let _turn = turn.lock().await;
    for _ in 0..MAX_TRIES {
        let found = store.plan(RECORD).await?;
        let before = entries(found.as_ref(), now)?;
        let mut open = before.clone();
        change(&mut open)?;
        if open == before {
            return Ok(());
        }
        let record = PlanRecord {
            id: RECORD.to_owned(),
            revision: found.as_ref().map_or(1, |found| found.revision + 1),
            forget_after: now + KEEP,
            document: serde_json::to_string(&open).map_err(|error| corrupt(&error))?,
        };
        let is_changed = match found {
            None => store.put_plan(&record, now).await?,
            Some(_) => store.update_plan(&record).await?,
        };
        if is_changed {
            return Ok(());
        }
    }
    Err(PlanError::Crowded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_operator_leaves_room_for_others_and_all_together_for_nobody() {
        let entry = |actor: &str, number: usize| Entry {
            id: format!("{actor}-{number}"),
            actor: actor.to_owned(),
            until: DateTime::from_timestamp(1000 + number as i64, 0).unwrap(),
        };
        let mut open: Vec<Entry> = (0..MAX_OF_ONE).map(|number| entry("a", number)).rev().collect();
        assert!(room_for(&open[1..], "a").is_ok() && room_for(&open, "b").is_ok());
        let error = room_for(&open, "a").unwrap_err().to_string();
        assert!(error.contains("100") && error.contains("by `a`") && error.contains("00:16:40"), "{error}");
        open.extend((MAX_OF_ONE..MAX_OF_ALL).map(|number| entry(&format!("actor-{number}"), number)));
        assert!(room_for(&open[1..], "b").is_ok());
        let error = room_for(&open, "b").unwrap_err().to_string();
        assert!(error.contains("500") && !error.contains('`'), "{error}");
    }
}
