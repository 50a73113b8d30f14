//! The executors that are connected, and the tasks that each has.
//!
//! A task is launched on an executor's stream, and is that executor's until it ends, is cancelled, or the executor leaves: a report
//! of anybody else, or a second one, counts for nothing.

use super::busy::Busy;
use ballista_core::JobId;
use ballista_core::error::{BallistaError, Result};
use ballista_core::serde::protobuf::MultiTaskDefinition;
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::state::executor_manager::ExecutorManager;
use ballista_scheduler::state::task_manager::TaskLauncher;
use millwork_cluster::MAX_MESSAGE_BYTES;
use millwork_cluster::messages::{FromScheduler, Release, Setting, Task, TaskKey, ToExecutor};
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc};

/// An executor that is connected.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ExecutorInfo {
    /// Id of the executor's time with this scheduler.
    pub id: String,
    /// The address that it called from.
    pub host: String,
    /// Number of tasks that it runs at once.
    pub vcores: u32,
}

#[derive(Default)]
pub(super) struct Fleet {
    state: Mutex<State>,
    joined: Notify,
}

#[derive(Default)]
struct State {
    members: BTreeMap<String, Member>,
    tasks: HashMap<TaskKey, Assigned>,
    busy: Busy,
}

impl State {
    /// Notes who has tasks now; after each change of that.
    fn note_busy(&mut self) {
        let with_tasks: HashSet<&str> = self.tasks.values().map(|assigned| assigned.executor.as_str()).collect();
        let members = with_tasks.iter().filter_map(|id| self.members.get(*id));
        let (executors, slots) = members.fold((0, 0), |(n, slots), member| (n + 1, slots + member.info.vcores));
        self.busy.set(executors, slots);
    }
}

/// An executor.
struct Member {
    info: ExecutorInfo,
    outbound: mpsc::Sender<ToExecutor>,
    is_draining: bool,
}

/// A task that an executor has.
#[derive(Clone, Debug)]
pub(super) struct Assigned {
    executor: String,
    /// The partition of the stage that it is.
    pub(super) partition: usize,
    /// When it was launched, in milliseconds since 1970.
    pub(super) launched_at_ms: u64,
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, info: ExecutorInfo, outbound: mpsc::Sender<ToExecutor>) {
        let member = Member { info: info.clone(), outbound, is_draining: false };
        self.state().members.insert(info.id, member);
        self.joined.notify_waiters();
    }

    /// Waits until there is an executor.
    pub(super) async fn joined(&self) {
        loop {
            let joined = self.joined.notified();
            if !self.state().members.is_empty() {
                return;
            }
            joined.await;
        }
    }

    /// Forgets an executor, and which tasks it has.
    pub(super) fn leave(&self, id: &str) {
        let mut state = self.state();
        state.members.remove(id);
        state.tasks.retain(|_, assigned| assigned.executor != id);
        state.note_busy();
    }

    /// Takes a task from the executor that reports its end. None if it does not have it.
    pub(super) fn take(&self, id: &str, key: &TaskKey) -> Option<Assigned> {
        let mut state = self.state();
        if state.tasks.get(key)?.executor != id {
            return None;
        }
        let taken = state.tasks.remove(key);
        state.note_busy();
        taken
    }

    /// Gives up the tasks of a job.
    pub(super) fn cancel(&self, job: &JobId) {
        let mut state = self.state();
        let cancelled: Vec<TaskKey> = state.tasks.keys().filter(|key| key.job == job.as_str()).cloned().collect();
        for key in cancelled {
            let Some(assigned) = state.tasks.remove(&key) else { continue };
            if let Some(member) = state.members.get(&assigned.executor) {
                // Fails if it has gone, or does not read: then it will soon be.
                let _ = member.outbound.try_send(FromScheduler::Cancel(key).into());
            }
        }
        state.note_busy();
    }

    /// Time in which slots and executors had tasks, since it was asked last.
    pub(super) fn take_busy(&self) -> (Duration, Duration) {
        self.state().busy.take()
    }

    /// Notes that an executor takes no more tasks.
    pub(super) fn drain(&self, id: &str) {
        if let Some(member) = self.state().members.get_mut(id) {
            member.is_draining = true;
        }
    }

    /// Lets an executor go that takes no more tasks, as soon as it has none. From then on none can be launched on it.
    pub(super) fn release_if_done(&self, id: &str) -> bool {
        let mut state = self.state();
        let is_done = state.members.get(id).is_some_and(|member| member.is_draining)
            && state.tasks.values().all(|assigned| assigned.executor != id);
        if is_done && let Some(member) = state.members.remove(id) {
            let release = Release { reason: "it has finished what it had".to_owned() };
            // Fails if it has gone already.
            let _ = member.outbound.try_send(FromScheduler::Release(release).into());
        }
        is_done
    }

    pub(super) fn executors(&self) -> Vec<ExecutorInfo> {
        self.state().members.values().map(|member| member.info.clone()).collect()
    }

    pub(super) fn slots_of_each(&self) -> Vec<usize> {
        let state = self.state();
        let active = state.members.values().filter(|member| !member.is_draining);
        active.map(|member| member.info.vcores as usize).collect()
    }

    pub(super) fn running_tasks(&self) -> HashMap<String, u64> {
        let mut running = HashMap::new();
        for assigned in self.state().tasks.values() {
            *running.entry(assigned.executor.clone()).or_default() += 1;
        }
        running
    }

    /// Tells whether an executor still counts.
    pub(super) fn has(&self, id: &str) -> bool {
        self.state().members.contains_key(id)
    }

    /// Sends tasks to an executor. Fails if it has left, or does not read: Ballista removes it then, and assigns them anew, so that
    /// it does not count here any more either.
    fn launch(&self, id: &str, tasks: Vec<(Task, Assigned)>) -> Result<()> {
        let mut state = self.state();
        let gone = |why: &str| BallistaError::General(format!("executor {id} {why}"));
        let outbound = state.members.get(id).map(|member| member.outbound.clone());
        let outbound = outbound.ok_or_else(|| gone("has left"))?;
        for (task, assigned) in tasks {
            let Some(key) = task.key.clone() else { continue };
            if outbound.try_send(FromScheduler::Launch(task).into()).is_err() {
                state.members.remove(id);
                return Err(gone("does not take tasks"));
            }
            state.tasks.insert(key, assigned);
        }
        state.note_busy();
        Ok(())
    }
}

#[async_trait::async_trait]
impl TaskLauncher for Fleet {
    async fn launch_tasks(
        &self,
        executor: &ExecutorMetadata,
        tasks: Vec<MultiTaskDefinition>,
        _: &ExecutorManager,
    ) -> Result<HashSet<JobId>> {
        let (mut launched, mut refused) = (Vec::new(), HashSet::new());
        for (task, assigned) in tasks.into_iter().flat_map(|definition| single_tasks(definition, &executor.id)) {
            // Plans are checked before they are submitted. One that no message has room for would break the executor's stream.
            if task.encoded_len() > MAX_MESSAGE_BYTES - (1 << 20) {
                refused.extend(task.key.map(|key| JobId::from(key.job)));
            } else {
                launched.push((task, assigned));
            }
        }
        self.launch(&executor.id, launched)?;
        Ok(refused)
    }
}

/// The tasks of a definition, which Ballista makes of one task each.
fn single_tasks(definition: MultiTaskDefinition, executor: &str) -> Vec<(Task, Assigned)> {
    let MultiTaskDefinition { task_ids, job_id, stage_id, stage_attempt_num, plan, session_id, launch_time, props } =
        definition;
    let settings: Vec<Setting> = props.into_iter().map(|pair| Setting { key: pair.key, value: pair.value }).collect();
    let single = |id: ballista_core::serde::protobuf::TaskId| {
        let key = TaskKey { job: job_id.clone(), stage: stage_id, stage_attempt: stage_attempt_num, task: id.task_id };
        let partition = id.global_output_partition_ids.first().copied().unwrap_or(id.task_id) as usize;
        let task = Task {
            key: Some(key),
            attempt: id.task_attempt_num,
            plan: plan.clone(),
            settings: settings.clone(),
            session: session_id.clone(),
        };
        (task, Assigned { executor: executor.to_owned(), partition, launched_at_ms: launch_time })
    };
    task_ids.into_iter().map(single).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(job: &str, task: u32) -> TaskKey {
        TaskKey { job: job.to_owned(), stage: 1, stage_attempt: 0, task }
    }

    fn task(job: &str, number: u32, executor: &str) -> (Task, Assigned) {
        let task = Task { key: Some(key(job, number)), ..Task::default() };
        (task, Assigned { executor: executor.to_owned(), partition: number as usize, launched_at_ms: 0 })
    }

    fn joined(fleet: &Fleet, id: &str) -> mpsc::Receiver<ToExecutor> {
        let (outbound, received) = mpsc::channel(4);
        fleet.join(ExecutorInfo { id: id.to_owned(), host: "test".to_owned(), vcores: 2 }, outbound);
        received
    }

    #[test]
    fn a_report_counts_once_and_only_from_the_executor_that_has_the_task() {
        let fleet = Fleet::default();
        let (_a, _b) = (joined(&fleet, "a"), joined(&fleet, "b"));
        fleet.launch("a", vec![task("job", 0, "a")]).unwrap();
        assert!(fleet.take("b", &key("job", 0)).is_none(), "another executor's");
        assert!(fleet.take("a", &key("job", 1)).is_none(), "never launched");
        assert!(fleet.take("a", &key("job", 0)).is_some());
        assert!(fleet.take("a", &key("job", 0)).is_none(), "a second report");
    }

    #[test]
    fn an_executor_that_comes_back_has_none_of_its_tasks() {
        let fleet = Fleet::default();
        let _first = joined(&fleet, "a");
        fleet.launch("a", vec![task("job", 0, "a")]).unwrap();
        fleet.leave("a");
        assert!(fleet.launch("a", vec![task("job", 1, "a")]).is_err());
        let _second = joined(&fleet, "a");
        assert!(fleet.take("a", &key("job", 0)).is_none());
    }

    #[test]
    fn an_executor_that_does_not_read_does_not_count_any_more() {
        let fleet = Fleet::default();
        let _unread = joined(&fleet, "a");
        let many = (0..9).map(|number| task("job", number, "a")).collect();
        assert!(fleet.launch("a", many).unwrap_err().to_string().contains("does not take tasks"));
        assert!(!fleet.has("a") && fleet.slots_of_each().is_empty());
    }

    #[test]
    fn a_cancelled_job_is_told_to_its_executors_and_no_other_is() {
        let fleet = Fleet::default();
        let (mut a, mut b) = (joined(&fleet, "a"), joined(&fleet, "b"));
        fleet.launch("a", vec![task("one", 0, "a")]).unwrap();
        fleet.launch("b", vec![task("two", 0, "b")]).unwrap();
        fleet.cancel(&JobId::from("one".to_owned()));
        assert!(matches!(a.try_recv().unwrap().content, Some(FromScheduler::Launch(_))));
        assert!(matches!(a.try_recv().unwrap().content, Some(FromScheduler::Cancel(_))));
        assert!(matches!(b.try_recv().unwrap().content, Some(FromScheduler::Launch(_))));
        assert!(b.try_recv().is_err());
        assert!(fleet.take("a", &key("one", 0)).is_none());
    }

    #[test]
    fn an_executor_that_stops_is_let_go_after_its_last_task() {
        let fleet = Fleet::default();
        let mut received = joined(&fleet, "a");
        fleet.launch("a", vec![task("job", 0, "a")]).unwrap();
        fleet.drain("a");
        assert!(fleet.slots_of_each().is_empty());
        assert!(!fleet.release_if_done("a"));
        let _ = fleet.take("a", &key("job", 0));
        assert!(fleet.release_if_done("a"));
        assert!(fleet.launch("a", vec![task("job", 1, "a")]).is_err());
        let _launch = received.try_recv();
        assert!(matches!(received.try_recv().unwrap().content, Some(FromScheduler::Release(_))));
    }
}
