//! Wishes of operators for a date: kept in the store until a builder, which alone has the settings of manifests, takes them.
//!
//! A wish is a note under a name of its own, so that two of one date do not overwrite each other, and that leaving one again
//! changes nothing. Once it was taken, another note says by whom, and what came of it.

use crate::{Note, NumberStore, TrackingError, TrackingResult};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::DatePrefix;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Kind of notes: wishes that no builder has taken yet.
const OPEN: &str = "wish";
/// Kind of notes: wishes that were taken.
const TAKEN: &str = "wish-taken";
/// Time after which a wish that nobody takes lapses, in hours: 24, so that no builder does what was wanted last week.
const LAPSES: Duration = Duration::hours(24);
/// Time for which what came of a wish is kept, in days: 7.
const KEEP: Duration = Duration::days(7);

/// Round that is wished for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Round {
    /// Manifests of all pending files of the date that arrived until a moment, however few.
    Cut {
        /// Arrival of the last file that is meant.
        until: DateTime<Utc>,
    },
    /// The date is swept: what a crash left is finished, what is due is cut.
    Sweep,
}

impl Round {
    /// Word for it, as the plans of changes have it.
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
    /// Date that is meant.
    pub date: DatePrefix,
    /// Round that is wished for.
    pub round: Round,
    /// Plan of changes by which it is wished for.
    pub plan: String,
    /// Person or program that wishes for it.
    pub actor: String,
    /// Reason, in the operator's words.
    #[serde(default)]
    pub reason: Option<String>,
    /// Time at which it was wished for.
    pub asked_at: DateTime<Utc>,
}

/// Wish that was taken, with what came of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenWish {
    /// The wish.
    #[serde(flatten)]
    pub wish: Wish,
    /// Builder that took it.
    pub by: String,
    /// Time at which it was done.
    pub at: DateTime<Utc>,
    /// Manifests that were made or finished.
    pub manifests: u64,
}

impl Wish {
    /// Name among the notes: by date, then by what is wished for, then by plan.
    fn name(&self) -> String {
        format!("{}.{}.{}", self.date, self.round, self.plan)
    }

    /// Leaves it in the store. Leaving it again changes nothing, unless it was taken meanwhile: then it is taken again.
    pub async fn leave(&self, store: &dyn NumberStore) -> TrackingResult<()> {
        let note = Note { name: self.name(), at: self.asked_at, value: value(self)? };
        store.put_note(OPEN, &note, self.asked_at + LAPSES).await
    }

    /// Tells whether it waits, read from the store as it was written last.
    pub async fn is_open(&self, store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<bool> {
        Ok(store.note(OPEN, &self.name(), now).await?.is_some())
    }

    /// The outcome, if a builder has taken it.
    pub async fn taken(&self, store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<Option<TakenWish>> {
        let note = store.note(TAKEN, &self.name(), now).await?;
        Ok(note.and_then(|note| serde_json::from_value(note.value).ok()))
    }

    /// Notes what came of it, and then that it waits no more. A death in between lets it be taken again.
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
        // A note whose time is over is none, by any clock.
        let over = Note { name: self.name(), at: self.asked_at, value: value(self)? };
        store.put_note(OPEN, &over, now - LAPSES).await
    }
}

/// Wishes that wait, by date, at most [`MAX_NOTES`](crate::numbers::MAX_NOTES). A wish of a later version that cannot be read is left out.
pub async fn open_wishes(store: &dyn NumberStore, now: DateTime<Utc>) -> TrackingResult<Vec<Wish>> {
    let notes = store.notes(OPEN, now).await?;
    Ok(notes.into_iter().filter_map(|note| serde_json::from_value(note.value).ok()).collect())
}

fn value(content: &impl Serialize) -> TrackingResult<serde_json::Value> {
    serde_json::to_value(content).map_err(|e| TrackingError::Corrupt { what: "wish", value: e.to_string() })
}
