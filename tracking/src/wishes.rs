//! Wishes: rounds for a date that operators request, stored until a builder makes them. Only builders have the settings
//! for manifests.
//!
//! A wish is a note under a unique name, so that two wishes for a date do not overwrite each other, and storing one
//! again has no effect. After it was made, another note records the builder and the result.

use crate::{Note, NumberStore, TrackingError, TrackingResult};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kind of notes: open wishes.
const OPEN: &str = "wish";
/// Kind of notes: completed wishes.
const TAKEN: &str = "wish-taken";
/// Expiry time of an open wish, in hours: 24, so that no outdated wish is carried out.
const LAPSES: Duration = Duration::hours(24);
/// Retention of a wish's result, in days: 7.
const KEEP: Duration = Duration::days(7);

/// Kind of round that is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// Makes manifests of all files of the date that are pending and arrived up to a given time, however few.
    Cut {
        /// Arrival time of the last file that is included.
        until: DateTime<Utc>,
    },
    /// Sweeps the date: finishes leftovers of a crash, and makes manifests that are due.
    Sweep,
}

impl Round {
    /// Name of the round, as in change plans.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cut { .. } => "cut",
            Self::Sweep => "sweep",
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Wish for a round of a date.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wish {
    /// Date of the round.
    pub date: DatePrefix,
    /// Kind of round.
    pub round: Round,
    /// Change plan that requested it.
    pub plan: String,
    /// Person or program that requested it.
    pub actor: String,
    /// Reason given by the operator.
    #[serde(default)]
    pub reason: Option<String>,
    /// Time of the request.
    pub asked_at: DateTime<Utc>,
}

/// A completed wish, with its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenWish {
    /// The wish.
    #[serde(flatten)]
    pub wish: Wish,
    /// Builder that made the round.
    pub by: String,
    /// Time of completion.
    pub at: DateTime<Utc>,
    /// Number of manifests that were made or finished.
    pub manifests: u64,
}

impl Wish {
    /// Name of its note: date, kind of round, plan.
    fn name(&self) -> String {
        format!("{}.{}.{}", self.date, self.round, self.plan)
    }

    /// Stores the wish. Storing it again has no effect, unless it was completed meanwhile: it is then made again.
    pub async fn leave(&self, store: &dyn NumberStore) -> TrackingResult<()> {
        let note = Note { name: self.name(), at: self.asked_at, value: value(self)? };
        store.put_note(OPEN, &note, self.asked_at + LAPSES).await
    }

    /// Tells whether the wish is open, by a consistent read.
    pub async fn is_open(&self, store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<bool> {
        Ok(store.note(OPEN, &self.name(), now).await?.is_some())
    }

    /// The result, if a builder has made the round.
    pub async fn taken(&self, store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<Option<TakenWish>> {
        let note = store.note(TAKEN, &self.name(), now).await?;
        Ok(note.and_then(|note| serde_json::from_value(note.value).ok()))
    }

    /// Records the result, then closes the wish. After a crash in between, the round is made again.
    pub async fn complete(
        &self,
        store: &dyn NumberStore,
        by: &str,
        manifests: u64,
        now: DateTime<Utc>,
    ) -> TrackingResult<()> {
        let taken = TakenWish { wish: self.clone(), by: by.to_owned(), at: now, manifests };
        let note = Note { name: self.name(), at: now, value: value(&taken)? };
        store.put_note(TAKEN, &note, now + KEEP).await?;
        // A note with an expiry time in the past counts as absent, by any clock.
        let over = Note { name: self.name(), at: self.asked_at, value: value(self)? };
        store.put_note(OPEN, &over, now - LAPSES).await
    }
}

/// Open wishes by date, at most [`MAX_NOTES`](crate::numbers::MAX_NOTES). Wishes of a later version that cannot be
/// decoded are skipped.
pub async fn open_wishes(store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<Vec<Wish>> {
    let notes = store.notes(OPEN, now).await?;
    Ok(notes.into_iter().filter_map(|note| serde_json::from_value(note.value).ok()).collect())
}

fn value(content: &impl Serialize) -> TrackingResult<serde_json::Value> {
    serde_json::to_value(content).map_err(|e| TrackingError::Corrupt { what: "wish", value: e.to_string() })
}
