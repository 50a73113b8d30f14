//! Connected executors, and the tasks of each.
//!
//! A task is launched on an executor's stream, and belongs to that executor until it ends, is cancelled, or the
//! executor leaves. Reports from other executors, and second reports, are ignored.

use super::assigned::Assigned;
use super::busy::Busy;
use super::counts::{MOST_MEMORY_BYTES, TaskNow};
use super::fair::BEYOND;
use super::launch::single_tasks;
use super::member::{ExecutorInfo, ExecutorNow, GoneExecutor, Member};
use ballista_core::JobId;
use ballista_core::error::{BallistaError, Result};
use ballista_core::serde::protobuf::MultiTaskDefinition;
use ballista_core::serde::scheduler::ExecutorMetadata;
use ballista_scheduler::state::executor_manager::ExecutorManager;
use ballista_scheduler::state::task_manager::TaskLauncher;
use chrono::Utc;
use millwork_cluster::MAX_MESSAGE_BYTES;
use millwork_cluster::messages::{Alive, FromScheduler, Release, Task, TaskKey, ToExecutor};
use prost::Message;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Limit of the disconnected executors that are remembered: the last 200. If more leave in a day, older ones are only
/// in the log.
const GONE: usize = 200;
/// Limit of the tasks in one progress message: 1,024 slots, and the tasks that an executor has beyond them.
const MAX_TASKS_IN_MESSAGE: usize = 1024 + BEYOND as usize;

#[derive(Default)]
pub(super) struct Fleet {
    state: Mutex<State>,
    joined: Notify,
}

#[derive(Default)]
struct State {
    members: BTreeMap<String, Member>,
    tasks: HashMap<TaskKey, Assigned>,
    gone: VecDeque<GoneExecutor>,
    busy: Busy,
}

impl State {
    /// Updates the count of busy executors. Called after each change of assignments.
    fn note_busy(&mut self) {
        let busy: HashSet<&str> = self.tasks.values().map(|assigned| assigned.executor.as_str()).collect();
        let slots = busy.iter().filter_map(|id| self.members.get(*id)).map(|member| member.info.vcores);
        self.busy.set(busy.len() as u32, slots.sum());
    }
}

impl Fleet {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn join(&self, info: ExecutorInfo, outbound: mpsc::Sender<ToExecutor>) {
        let member = Member {
            info: info.clone(),
            outbound,
            draining_since: None,
            last_seen: info.since,
            memory_bytes: None,
            finished: 0,
            failed: 0,
        };
        self.state().members.insert(info.id, member);
        self.joined.notify_waiters();
    }

    /// Waits until an executor is connected.
    pub(super) async fn joined(&self) {
        loop {
            let joined = self.joined.notified();
            if !self.state().members.is_empty() {
                return;
            }
            joined.await;
        }
    }

    /// Removes an executor with its assignments, and remembers why it left.
    pub(super) fn leave(&self, info: &ExecutorInfo, reason: &str) {
        let mut state = self.state();
        let (id, before) = (&info.id, state.tasks.len());
        state.members.remove(id);
        state.tasks.retain(|_, assigned| assigned.executor != *id);
        let lost_tasks = (before - state.tasks.len()) as u64;
        let gone = GoneExecutor { info: info.clone(), left_at: Utc::now(), reason: reason.to_owned(), lost_tasks };
        state.note_busy();
        state.gone.push_back(gone);
        if state.gone.len() > GONE {
            state.gone.pop_front();
        }
    }

    /// Handles a keep-alive message, with the progress of the sender's own tasks.
    pub(super) fn hear(&self, id: &str, alive: &Alive) {
        let (mut state, now) = (self.state(), Instant::now());
        let Some(member) = state.members.get_mut(id) else { return };
        member.last_seen = Utc::now();
        member.memory_bytes = Some(alive.memory_bytes.min(MOST_MEMORY_BYTES)).filter(|bytes| *bytes > 0);
        for news in alive.tasks.iter().take(MAX_TASKS_IN_MESSAGE) {
            let (Some(key), Some(counts)) = (&news.key, &news.counts) else { continue };
            if let Some(assigned) = state.tasks.get_mut(key).filter(|assigned| assigned.executor == id) {
                assigned.heard.take(counts, now);
            }
        }
    }

    /// Counts the end of a task for its executor.
    pub(super) fn note_end(&self, id: &str, is_failure: bool) {
        if let Some(member) = self.state().members.get_mut(id) {
            member.last_seen = Utc::now();
            member.finished += u64::from(!is_failure);
            member.failed += u64::from(is_failure);
        }
    }

    /// Assigned tasks of a job.
    pub(super) fn tasks_of(&self, job: &JobId) -> Vec<TaskNow> {
        let state = self.state();
        let of_job = state.tasks.iter().filter(|(key, _)| key.job == job.as_str());
        let task = |(key, assigned): (&TaskKey, &Assigned)| {
            let slots = state.members.get(&assigned.executor).map_or(1, |member| member.info.vcores);
            assigned.now(key.task, slots)
        };
        of_job.map(task).collect()
    }

    /// Current state of all executors.
    pub(super) fn now(&self) -> Vec<ExecutorNow> {
        let state = self.state();
        let mut all: BTreeMap<&str, ExecutorNow> =
            state.members.iter().map(|(id, member)| (id.as_str(), member.now())).collect();
        for (key, assigned) in &state.tasks {
            if let Some(executor) = all.get_mut(assigned.executor.as_str()) {
                executor.jobs.push(key.job.clone());
                executor.bytes_per_second += assigned.heard.bytes_per_second();
            }
        }
        all.into_values().collect()
    }

    /// Disconnected executors, latest first.
    pub(super) fn gone(&self) -> Vec<GoneExecutor> {
        self.state().gone.iter().rev().cloned().collect()
    }

    /// Removes a task from the executor that reports its end; `None` if it is not assigned to it.
    pub(super) fn take(&self, id: &str, key: &TaskKey) -> Option<Assigned> {
        let mut state = self.state();
        if state.tasks.get(key)?.executor != id {
            return None;
        }
        let taken = state.tasks.remove(key);
        state.note_busy();
        taken
    }

    /// Removes the tasks of a job, and tells their executors to cancel them.
    pub(super) fn cancel(&self, job: &JobId) {
        let mut state = self.state();
        let cancelled: Vec<TaskKey> = state.tasks.keys().filter(|key| key.job == job.as_str()).cloned().collect();
        for key in cancelled {
            let Some(assigned) = state.tasks.remove(&key) else { continue };
            if let Some(member) = state.members.get(&assigned.executor) {
                // Sending fails if the executor has gone, or does not read and will soon be removed.
                let _ = member.outbound.try_send(FromScheduler::Cancel(key).into());
            }
        }
        state.note_busy();
    }

    /// Busy time of slots and of executors since the last call.
    pub(super) fn take_busy(&self) -> (Duration, Duration) {
        self.state().busy.take()
    }

    /// Notes that an executor accepts no more tasks.
    pub(super) fn drain(&self, id: &str) {
        if let Some(member) = self.state().members.get_mut(id) {
            member.draining_since.get_or_insert_with(Utc::now);
        }
    }

    /// Releases a draining executor once it has no tasks. After that no task can be launched on it.
    pub(super) fn release_if_done(&self, id: &str) -> bool {
        let mut state = self.state();
        let is_done = state.members.get(id).is_some_and(|member| member.draining_since.is_some())
            && state.tasks.values().all(|assigned| assigned.executor != id);
        if is_done && let Some(member) = state.members.remove(id) {
            let release = Release { reason: "it has finished what it had".to_owned() };
            // Sending fails if the executor has gone already.
            let _ = member.outbound.try_send(FromScheduler::Release(release).into());
        }
        is_done
    }

    pub(super) fn executors(&self) -> Vec<ExecutorInfo> {
        self.state().members.values().map(|member| member.info.clone()).collect()
    }

    pub(super) fn slots_of_each(&self) -> Vec<usize> {
        let state = self.state();
        let active = state.members.values().filter(|member| member.draining_since.is_none());
        active.map(|member| member.info.vcores as usize).collect()
    }

    /// Slots in use of each executor. Tasks beyond its slots share them, and do not count.
    pub(super) fn used_slots(&self) -> HashMap<String, u64> {
        let (state, mut used) = (self.state(), HashMap::<String, u64>::new());
        for assigned in state.tasks.values() {
            let slots = state.members.get(&assigned.executor).map_or(u64::MAX, |member| member.info.vcores.into());
            let of_executor = used.entry(assigned.executor.clone()).or_default();
            *of_executor = slots.min(*of_executor + 1);
        }
        used
    }

    /// Tells whether an executor is still registered.
    pub(super) fn has(&self, id: &str) -> bool {
        self.state().members.contains_key(id)
    }

    /// Sends tasks to an executor. Fails if it has left or does not read: it is removed here as well, since Ballista
    /// removes it and reassigns the tasks.
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
            // Plans are checked before they are submitted. A task too large for a message would break the executor's
            // stream.
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

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;
    use millwork_cluster::messages::Counts;

    fn key(job: &str, task: u32) -> TaskKey {
        TaskKey { job: job.to_owned(), stage: 1, stage_attempt: 0, task }
    }

    fn task(job: &str, number: u32, executor: &str) -> (Task, Assigned) {
        let task = Task { key: Some(key(job, number)), ..Task::default() };
        (task, Assigned::new(executor, number as usize, 0))
    }

    fn joined(fleet: &Fleet, id: &str) -> mpsc::Receiver<ToExecutor> {
        let (outbound, received) = mpsc::channel(4);
        fleet.join(info(id), outbound);
        received
    }

    fn info(id: &str) -> ExecutorInfo {
        ExecutorInfo {
            id: id.to_owned(),
            host: "test".to_owned(),
            vcores: 2,
            version: String::new(),
            machine: String::new(),
            since: DateTime::UNIX_EPOCH,
            memory_limit_bytes: None,
        }
    }

    #[test]
    fn news_count_only_from_the_executor_that_has_the_task() {
        let (fleet, job) = (Fleet::default(), JobId::from("job".to_owned()));
        let (_a, _b) = (joined(&fleet, "a"), joined(&fleet, "b"));
        fleet.launch("a", vec![task("job", 0, "a")]).unwrap();
        let news = |read_bytes| {
            let counts = Some(Counts { read_bytes, ..Counts::default() });
            let task = millwork_cluster::messages::Progress { key: Some(key("job", 0)), counts };
            Alive { tasks: vec![task], memory_bytes: u64::MAX }
        };
        fleet.hear("b", &news(7));
        assert_eq!(fleet.tasks_of(&job)[0].counts.read_bytes, 0, "another executor's");
        fleet.hear("a", &news(5));
        fleet.hear("a", &news(3));
        assert_eq!(fleet.tasks_of(&job)[0].counts.read_bytes, 5);
        assert_eq!(fleet.now()[0].memory_bytes, Some(MOST_MEMORY_BYTES));
        assert_eq!(fleet.now()[0].jobs, ["job"]);
        fleet.leave(&info("a"), "it is gone");
        assert_eq!((fleet.gone()[0].lost_tasks, fleet.now().len()), (1, 1));
        for _ in 0..2 * GONE {
            fleet.leave(&info("c"), "again");
        }
        assert_eq!(fleet.gone().len(), GONE);
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
        fleet.leave(&info("a"), "gone");
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
