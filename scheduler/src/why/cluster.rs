//! Facts about schedulers, executors and builders.

use super::Inspector;
use chrono::{DateTime, Utc};
use millwork_diagnosis::{BuilderFacts, ClusterFacts, ExecutorFacts, GoneFacts, Leader, LockFacts, SlotFacts};
use millwork_tracking::{BuilderAbout, LockState, TrackingResult};

impl Inspector {
    /// Reads the processes of this state, and the facts published by the builder with the latest heartbeat.
    pub(super) async fn cluster(&self, now: DateTime<Utc>) -> TrackingResult<(ClusterFacts, Option<BuilderAbout>)> {
        let notes = self.store.inspection().builders().await?;
        let about = notes.iter().find_map(millwork_tracking::BuilderNote::about);
        let builders = notes.into_iter().map(|note| BuilderFacts { id: note.id, seen_at: note.seen_at }).collect();
        let cluster = ClusterFacts {
            leader: self.leader_facts(now).await?,
            executors: self.slots(),
            bytes_per_second: self.speed(),
            builders: Some(builders),
        };
        Ok((cluster, about))
    }

    /// Facts about the leader.
    pub(crate) async fn leader_facts(&self, now: DateTime<Utc>) -> TrackingResult<Leader> {
        let leader = self.store.leader(now).await?;
        let holder = leader.lock().map(|lock| lock.holder.clone()).unwrap_or_else(|| "a scheduler".to_owned());
        Ok(match leader {
            _ if self.leader.is_some() => Leader::Held { holder },
            millwork_tracking::Leader::Held(_) => Leader::Held { holder },
            millwork_tracking::Leader::Nobody(last) => {
                Leader::Nobody { last: last.map(|lock| (lock.holder, lock.expires_at)) }
            }
            millwork_tracking::Leader::Unknown(_) => Leader::Unknown,
        })
    }

    fn slots(&self) -> Option<SlotFacts> {
        let engine = self.leader.as_ref()?.engine();
        let executors = engine.executors();
        Some(SlotFacts {
            executors: executors.len() as u64,
            slots: executors.iter().map(|executor| u64::from(executor.vcores)).sum(),
            used: engine.used_slots().values().sum(),
        })
    }

    pub(super) fn executor_facts(&self, id: &str) -> Option<ExecutorFacts> {
        let executors = self.leader.as_ref()?.engine().executors_now();
        let executor = executors.into_iter().find(|executor| executor.info.id == id)?;
        Some(ExecutorFacts {
            host: executor.info.host,
            slots: executor.info.vcores.into(),
            tasks: executor.jobs.len() as u64,
            is_draining: executor.draining_since.is_some(),
        })
    }

    pub(super) fn gone_facts(&self, id: &str) -> Option<GoneFacts> {
        let gone = self.leader.as_ref()?.engine().gone_executors();
        let gone = gone.into_iter().find(|gone| gone.info.id == id)?;
        Some(GoneFacts { at: gone.left_at, reason: gone.reason, lost_tasks: gone.lost_tasks })
    }

    /// Reading speed of all executors in bytes per second; `None` if they read nothing.
    fn speed(&self) -> Option<f64> {
        let executors = self.leader.as_ref()?.engine().executors_now();
        Some(executors.iter().map(|executor| executor.bytes_per_second).sum()).filter(|speed| *speed > 0.0)
    }

    pub(super) fn near_executors(&self, id: &str) -> Vec<String> {
        let executors = self.leader.iter().flat_map(|leader| leader.engine().executors());
        super::near::nearest(id, executors.map(|executor| executor.id))
    }
}

pub(super) fn lock_facts(lock: LockState) -> LockFacts {
    let LockState { name, holder, token, acquired_at, expires_at } = lock;
    LockFacts { name, holder, token, acquired_at, expires_at }
}
