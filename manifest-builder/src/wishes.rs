//! Wishes: rounds that operators request, to cut a date now or to finish its leftovers. They are stored for a builder
//! to make, since only builders have the settings for manifests.
//!
//! Every builder looks for wishes in each round, and makes one under the lock of its date, after checking again that
//! the wish is still open. A wish to cut contains the latest arrival time it covers, so that it covers the files that
//! were shown to the operator, even if it is made more than once.
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | before the cut | the wish | the next round of any builder |
//! | during the cut | a draft, and the wish | the next round: it finishes the draft, then cuts the remaining files |
//! | after the cut, before its audit record is completed | the wish, and none of its files pending | the next round: it makes nothing more, and completes the record |
//! | after the record, before the wish is closed | the record and the wish | the next round, likewise |

use crate::builder::Builder;
use crate::error::BuilderError;
use crate::sweep::{Swept, ids};
use chrono::Duration;
use millwork_manifest::Flush;
use millwork_tracking::{AuditEntry, Lock, QueuedManifest, Round, Wish, open_wishes};
use std::collections::BTreeSet;

/// Interval at which builders look for wishes: 5 s, about as long as a user waits for the effect of a click.
pub const WISH_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

/// Result of making the open wishes.
#[derive(Clone, Debug, Default)]
pub struct TakenWishes {
    /// Manifests that were made.
    pub made: Vec<QueuedManifest>,
    /// Ids of manifests left unfinished by a crash and finished now.
    pub finished: Vec<String>,
    /// Dates that another process is working on: their wishes stay open.
    pub busy: BTreeSet<millwork_manifest::DatePrefix>,
}

/// Result of one wish.
enum Done {
    /// Another builder has carried out the wish.
    Gone,
    /// The date is locked by another process, or this process is about to stop.
    NotYet,
    /// The round was made: new manifests, and ids of finished ones.
    Made(Vec<QueuedManifest>, Vec<String>),
}

impl Builder {
    /// Makes the open wishes. An error with one does not stop the others.
    pub async fn take_wishes(&self) -> Result<TakenWishes, BuilderError> {
        let mut taken = TakenWishes::default();
        let mut first_error = None;
        for wish in open_wishes(&*self.store, self.now()).await? {
            self.check_stop()?;
            match self.take(&wish).await {
                Ok(Done::Gone) => {}
                Ok(Done::NotYet) => {
                    taken.busy.insert(wish.date);
                }
                Ok(Done::Made(made, finished)) => {
                    tracing::info!(date = %wish.date, round = %wish.round, plan = wish.plan, made = made.len(), finished = finished.len(), "a wish of an operator was taken");
                    taken.made.extend(made);
                    taken.finished.extend(finished);
                }
                Err(error) => {
                    tracing::error!(date = %wish.date, round = %wish.round, plan = wish.plan, %error, "a wish of an operator waits for the next round");
                    first_error.get_or_insert(error);
                }
            }
        }
        first_error.map_or(Ok(taken), Err)
    }

    async fn take(&self, wish: &Wish) -> Result<Done, BuilderError> {
        // Drafts left by a crash may hold files that the wish covers.
        let mut swept = Swept::default();
        let drafts = self.store.drafts(self.now() + Duration::seconds(1)).await?;
        let drafts: Vec<_> = drafts.into_iter().filter(|draft| draft.manifest.date == wish.date).collect();
        if !drafts.is_empty() {
            self.finish_abandoned(wish.date, &drafts, &mut swept).await?;
        }
        if !swept.busy.is_empty() {
            return Ok(Done::NotYet);
        }
        let Some(lock) = self.lock(wish.date).await? else { return Ok(Done::NotYet) };
        let done = self.take_locked(wish, swept.finished, &lock).await;
        self.unlock(&lock).await;
        done
    }

    async fn take_locked(&self, wish: &Wish, finished: Vec<String>, lock: &Lock) -> Result<Done, BuilderError> {
        if !wish.is_open(&*self.store, self.now()).await? {
            return Ok(Done::Gone);
        }
        let mut note = self.note_of(wish);
        self.store.audit(&note).await?;
        let (flush, until) = match wish.round {
            Round::Cut { until } => (Flush::Now, Some(until)),
            Round::Sweep => (Flush::WhenAged(self.now()), None),
        };
        let made = self.cut_pending(wish.date, flush, until, lock.clone()).await;
        // A round that was told to stop has left some of its files for the next.
        let is_whole = !self.stop.is_cancelled();
        note.outcome = Some(match &made {
            Ok(_) if !is_whole => "broken off: told to stop; the next builder goes on".to_owned(),
            Ok(made) => outcome(made, &finished),
            Err(error) => format!("broken off: {error}"),
        });
        // The round has been made, even if its record cannot be completed.
        if let Err(error) = self.store.audit(&note).await {
            tracing::warn!(%error, "the outcome of a wish cannot be noted");
        }
        let made = made?;
        if wish.round == Round::Sweep && made.is_empty() {
            self.store.recount(wish.date).await?;
        }
        if !is_whole {
            return Ok(Done::NotYet);
        }
        wish.complete(&*self.store, &self.holder, (made.len() + finished.len()) as u64, self.now()).await?;
        Ok(Done::Made(made, finished))
    }

    fn note_of(&self, wish: &Wish) -> AuditEntry {
        AuditEntry {
            plan: Some(wish.plan.clone()),
            reason: wish.reason.clone(),
            subjects: vec![wish.date.to_string()],
            before: Some(format!("wished for by {}", wish.actor)),
            outcome: None,
            ..AuditEntry::done(self.now(), self.holder.clone(), wish.round.word(), String::new())
        }
    }
}

fn outcome(made: &[QueuedManifest], finished: &[String]) -> String {
    /// Limit of the manifests that an audit record names: 20.
    const NAMED: usize = 20;
    let all: Vec<String> = finished.iter().cloned().chain(ids(made)).collect();
    let named = all.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    let more = if all.len() > NAMED { format!(" and {} more", all.len() - NAMED) } else { String::new() };
    let colon = if all.is_empty() { "" } else { ": " };
    format!("{} made, {} finished{colon}{named}{more}", made.len(), finished.len())
}
