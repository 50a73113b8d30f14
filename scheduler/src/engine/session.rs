//! Session of an executor with this scheduler, from its registration to the end of its stream.

use super::counts::{MOST_MEMORY_BYTES, at_end};
use super::member::ExecutorInfo;
use super::{Engine, KEEPER, Takes, now_ms};
use ballista_core::JobId;
use ballista_core::serde::protobuf::failed_task::FailedReason;
use ballista_core::serde::protobuf::{
    ExecutionError, FailedTask, ShuffleWritePartition, SuccessfulTask, TaskStatus, task_status,
};
use chrono::Utc;
use futures::StreamExt;
use millwork_cluster::ExecutorLink;
use millwork_cluster::messages::{
    Alive, Ended, FromExecutor, FromScheduler, Nothing, Outcome, PROTOCOL, Register, Release, TaskKey,
};
use millwork_conversion::{TaskReport, plan_format};
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Limit of an executor's name, in characters.
const MAX_NAME_CHARACTERS: usize = 200;
/// Limit of the tasks that an executor may run concurrently.
const MAX_SLOTS: u32 = 1024;

/// Limit of an executor's error text, in characters: that of failure messages.
const MAX_DEFECT_CHARACTERS: usize = 4096;

/// Size from which a report counts as large, and waits for a permit to be decoded: decoded it takes several times the
/// memory.
const LARGE_REPORT_BYTES: usize = 1 << 20;
/// Number of large reports that are read at once, of all executors together.
const LARGE_REPORTS_AT_ONCE: usize = 2;

/// State that the sessions of an engine share.
pub(super) struct Sessions {
    /// Id of the next session. An executor that reconnects gets a new one, since its former tasks were reassigned.
    next: AtomicU64,
    /// Turns of large reports.
    large_reports: Semaphore,
}

impl Default for Sessions {
    fn default() -> Self {
        Self { next: AtomicU64::new(1), large_reports: Semaphore::new(LARGE_REPORTS_AT_ONCE) }
    }
}

/// The first message of an executor: what it is, if that is taken.
async fn registration(link: &mut ExecutorLink) -> Result<Register, String> {
    match timeout(link.patience, link.inbound.next()).await {
        Ok(Some(Ok(message))) => match message.content {
            Some(FromExecutor::Register(register)) => check(register),
            _ => Err("its first message does not say who it is".to_owned()),
        },
        Ok(Some(Err(error))) => Err(error.to_string()),
        Ok(None) | Err(_) => Err("it says nothing".to_owned()),
    }
}

/// Serves an executor until its stream ends, it is silent for too long, or it is released.
pub(super) async fn serve(engine: Engine, mut link: ExecutorLink) {
    let register = match registration(&mut link).await {
        Ok(register) => register,
        Err(reason) => {
            tracing::warn!(peer = link.peer, reason, "refused an executor");
            // The executor may have gone, so that a send error is ignored.
            let _ = link.outbound.try_send(FromScheduler::Release(Release { reason }).into());
            return;
        }
    };
    let id = format!("{}-{}", register.name, engine.sessions.next.fetch_add(1, Ordering::Relaxed));
    let info = ExecutorInfo {
        id: id.clone(),
        host: link.peer.clone(),
        vcores: register.slots,
        version: shown(&register.version),
        machine: shown(&register.machine),
        since: Utc::now(),
        memory_limit_bytes: Some(register.memory_limit_bytes).filter(|bytes| (1..MOST_MEMORY_BYTES).contains(bytes)),
    };
    let session = Session { engine, id, name: register.name, slots: register.slots, info };
    if let Err(error) = session.begin(&mut link).await {
        tracing::error!(executor = session.id, %error, "the engine does not take an executor");
        session.engine.fleet.leave(&session.info, "the engine did not take it");
        return;
    }
    tracing::info!(executor = session.id, peer = link.peer, slots = session.slots, "an executor has come");
    let reason = session.listen(&mut link).await;
    tracing::info!(executor = session.id, reason, "an executor has left");
    session.engine.fleet.leave(&session.info, &reason);
    session.engine.remove(&session.id, reason).await;
}

fn check(register: Register) -> Result<Register, String> {
    let Register { name, slots, protocol, version, plan, .. } = &register;
    if *protocol != PROTOCOL {
        let ours = env!("CARGO_PKG_VERSION");
        return Err(format!("it is of version {version:?}, protocol {protocol}; this scheduler of {ours}, {PROTOCOL}"));
    }
    if *plan != plan_format() {
        return Err(format!(
            "it is of version {version:?} and reads plans as {plan:?}; this scheduler of {} writes {:?}: roll out one version of both",
            env!("CARGO_PKG_VERSION"),
            plan_format()
        ));
    }
    if !(1..=MAX_SLOTS).contains(slots) {
        return Err(format!("it offers {slots} slots; 1 to {MAX_SLOTS} are taken"));
    }
    // Invisible characters, such as those that change text direction, are escaped.
    let is_name =
        !name.is_empty() && name.chars().count() <= MAX_NAME_CHARACTERS && millwork_diagnosis::shown(name) == *name;
    if !is_name {
        return Err(format!(
            "its name has to have 1 to {MAX_NAME_CHARACTERS} characters, none of them a control character, or one that is not seen"
        ));
    }
    Ok(register)
}

/// Prepares an executor's text for display: shortened, with invisible characters escaped.
fn shown(text: &str) -> String {
    millwork_diagnosis::shown(&text.chars().take(MAX_NAME_CHARACTERS).collect::<String>())
}

struct Session {
    engine: Engine,
    id: String,
    name: String,
    slots: u32,
    info: ExecutorInfo,
}

impl Session {
    async fn begin(&self, link: &mut ExecutorLink) -> anyhow::Result<()> {
        self.engine.fleet.join(self.info.clone(), link.outbound.clone());
        self.engine.register(&self.id, self.slots).await?;
        self.engine.set_status(&self.id, Takes::Tasks).await?;
        self.engine.update(&self.id, Vec::new()).await;
        Ok(())
    }

    /// Handles its messages. Returns the reason why the session ended.
    async fn listen(&self, link: &mut ExecutorLink) -> String {
        loop {
            let message = match timeout(link.patience, link.inbound.next()).await {
                Ok(Some(Ok(message))) => message,
                Ok(Some(Err(error))) => return format!("its connection broke: {error}"),
                Ok(None) => return "it closed its connection".to_owned(),
                Err(_) => return format!("no sign of life for {} seconds", link.patience.as_secs()),
            };
            match message.content {
                Some(FromExecutor::Alive(bytes)) => {
                    match Alive::decode_bounded(&bytes) {
                        Ok(alive) => self.engine.fleet.hear(&self.id, &alive),
                        Err(reason) => return reason,
                    }
                    // A full queue is ignored: the executor then has other messages to read, which serve as a
                    // keep-alive as well.
                    drop(link.outbound.try_send(FromScheduler::Alive(Nothing {}).into()));
                }
                Some(FromExecutor::Ended(ended)) => self.end_task(ended).await,
                Some(FromExecutor::Draining(_)) => {
                    self.engine.fleet.drain(&self.id);
                    if let Err(error) = self.engine.set_status(&self.id, Takes::Nothing).await {
                        tracing::error!(executor = self.id, %error, "an executor that stops still gets tasks");
                    }
                }
                Some(FromExecutor::Register(_)) | None => return "it sent a message out of place".to_owned(),
            }
            if self.engine.fleet.release_if_done(&self.id) {
                return "it was told to stop, and has finished what it had".to_owned();
            }
            if !self.engine.fleet.has(&self.id) {
                return "it did not take its tasks".to_owned();
            }
        }
    }

    async fn end_task(&self, ended: Ended) {
        let Ended { key: Some(key), started_at_ms, ended_at_ms, outcome, counts } = ended else { return };
        let Some(assigned) = self.engine.fleet.take(&self.id, &key) else {
            tracing::warn!(
                executor = self.id,
                job = key.job,
                task = key.task,
                "a report of a task that it does not have"
            );
            return;
        };
        let outcome = match outcome {
            Some(Outcome::Report(bytes)) => self.read_report(bytes).await,
            Some(Outcome::Defect(error)) => Err(error.chars().take(MAX_DEFECT_CHARACTERS).collect()),
            None => Err(format!("executor {} reports nothing", self.id)),
        };
        let status = match outcome {
            Ok((report, bytes)) => {
                let TaskKey { job, task, .. } = &key;
                let job = JobId::from(job.clone());
                let mut ended = assigned.clone().ended(*task, self.slots, counts.as_ref());
                ended.counts = at_end(&report, ended.counts);
                ended.ended_at_ms = Some(now_ms());
                self.engine.fleet.note_end(&self.id, report.failure.is_some());
                self.engine.results.put(job, ended, report, bytes);
                task_status::Status::Successful(successful(assigned.partition, bytes))
            }
            Err(error) => {
                self.engine.fleet.note_end(&self.id, true);
                task_status::Status::Failed(failed(error))
            }
        };
        let status = TaskStatus {
            task_id: key.task,
            job_id: key.job,
            stage_id: key.stage,
            stage_attempt_num: key.stage_attempt,
            launch_time: assigned.launched_at_ms,
            start_exec_time: started_at_ms,
            end_exec_time: ended_at_ms,
            metrics: Vec::new(),
            status: Some(status),
        };
        self.engine.update(&self.id, vec![status]).await;
    }
}

impl Session {
    /// Decodes the report of a task on a blocking thread, since it can have 64 MiB. Also returns its size.
    async fn read_report(&self, bytes: Vec<u8>) -> Result<(TaskReport, usize), String> {
        let none = |error: &dyn std::fmt::Display| format!("the report of executor {} is none: {error}", self.id);
        let length = bytes.len();
        let _turn = match length > LARGE_REPORT_BYTES {
            true => Some(self.engine.sessions.large_reports.acquire().await.map_err(|error| none(&error))?),
            false => None,
        };
        let read = tokio::task::spawn_blocking(move || TaskReport::from_bytes(&bytes)).await;
        let mut report = read.map_err(|error| none(&error))?.map_err(|error| none(&error))?;
        // The registered name replaces the one in the report.
        report.executor.clone_from(&self.name);
        Ok((report, length))
    }
}

/// Ballista's status of a successful task whose result is kept here.
fn successful(partition: usize, bytes: usize) -> SuccessfulTask {
    let partition = ShuffleWritePartition {
        partition_id: partition as u64,
        num_batches: 1,
        num_rows: 1,
        num_bytes: bytes as u64,
        file_id: None,
        is_sort_shuffle: false,
    };
    SuccessfulTask { executor_id: KEEPER.to_owned(), partitions: vec![partition], ..SuccessfulTask::default() }
}

/// Ballista's status that fails the job without a retry, since a defect would occur again.
fn failed(error: String) -> FailedTask {
    FailedTask {
        error,
        retryable: false,
        count_to_failures: false,
        failed_reason: Some(FailedReason::ExecutionError(ExecutionError {})),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_that_reads_other_messages_or_plans_is_refused_by_name() {
        let ours = || Register {
            name: "a".to_owned(),
            slots: 1,
            protocol: PROTOCOL,
            version: "9.8.7".to_owned(),
            plan: plan_format(),
            ..Register::default()
        };
        assert!(check(ours()).is_ok());
        let refused = check(Register { protocol: PROTOCOL + 1, ..ours() }).unwrap_err();
        assert!(refused.contains("9.8.7") && refused.contains("protocol 2"), "{refused}");
        for plan in ["", "millwork-plan-1 of DataFusion 1.0.0"] {
            let refused = check(Register { plan: plan.to_owned(), ..ours() }).unwrap_err();
            assert!(refused.contains("9.8.7") && refused.contains(&plan_format()), "{refused}");
        }
    }
}
