//! Executors that are told to stop.
//!
//! Such an executor says so in its heartbeats, and gets no more tasks. When it may end it cannot know: a task may be on
//! its way to it, and reports are fetched when the whole job has ended. The engine knows, and lets it go then, not before.

use super::{Engine, task_progress};
use ballista_core::serde::protobuf::executor_status;
use ballista_core::serde::protobuf::job_status::Status;
use std::collections::{HashMap, HashSet};
use std::sync::PoisonError;
use std::time::Duration;

/// How often the engine looks for executors that it can let go.
const LOOK: Duration = Duration::from_secs(1);
/// After how many looks an executor is told again that is still there. Longer than one that has ended is remembered.
const AGAIN: u32 = 20;

impl Engine {
    /// Lets executors go that are told to stop, as soon as nothing more is wanted of them.
    pub(super) async fn release_executors(self) {
        let mut looks: HashMap<String, u32> = HashMap::new();
        loop {
            tokio::time::sleep(LOOK).await;
            let unwanted = self.unwanted_executors().await;
            looks = unwanted.into_iter().map(|id| (id.clone(), looks.get(&id).map_or(0, |n| n + 1))).collect();
            // From the second look on: at the first, tasks may just have been given away.
            for (id, _) in looks.iter().filter(|(_, n)| **n % AGAIN == 1) {
                let executors = &self.server.state.executor_manager;
                executors.stop_executor(id, "nothing more is wanted of it".to_owned()).await;
            }
        }
    }

    /// The executors that take no more tasks.
    pub(super) fn stopping_executors(&self) -> HashSet<String> {
        let heartbeats = self.cluster.cluster_state().executor_heartbeats();
        let stopping = heartbeats.into_iter().filter(|(_, heartbeat)| {
            let status = heartbeat.status.as_ref().and_then(|status| status.status.as_ref());
            matches!(status, Some(executor_status::Status::Terminating(_)))
        });
        stopping.map(|(id, _)| id).collect()
    }

    async fn unwanted_executors(&self) -> HashSet<String> {
        let mut stopping = self.stopping_executors();
        if !stopping.is_empty() {
            match self.wanted_executors().await {
                Some(wanted) => stopping.retain(|id| !wanted.contains(id)),
                None => stopping.clear(),
            }
        }
        stopping
    }

    /// The executors that have a task, or a report that somebody waits for. None while that cannot be told: a job is
    /// just being moved from one of Ballista's lists to another.
    async fn wanted_executors(&self) -> Option<HashSet<String>> {
        let mut awaited = self.awaited.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut wanted = HashSet::new();
        for (id, job) in self.server.state.task_manager.get_running_job_cache().iter() {
            awaited.remove(id);
            let graph = job.execution_graph.read().await;
            let tasks = graph.stages().values().flat_map(|stage| stage.task_infos().unwrap_or_default());
            wanted.extend(tasks.filter_map(|task| task_progress(task).executor));
        }
        for id in awaited {
            match self.status(&id).await.ok()?? {
                Status::Queued(_) | Status::Failed(_) => {}
                Status::Running(_) => return None,
                Status::Successful(done) => {
                    let executors = done.partition_location.into_iter().filter_map(|location| location.executor_meta);
                    wanted.extend(executors.map(|executor| executor.id));
                }
            }
        }
        Some(wanted)
    }
}
