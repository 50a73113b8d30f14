//! Ballista, embedded in the scheduler: executors connect over authenticated streams, physical plans are submitted, and
//! task reports returned.
//!
//! Ballista plans stages, assigns tasks to executors, and reassigns those of a lost one. It has no port: tasks and
//! reports travel on the streams of `millwork-cluster` ([`Fleet`] launches tasks). Reports are kept here from their
//! arrival, so that the loss of an executor affects only its unfinished tasks.
//!
//! Ballista keeps jobs in memory only. Durable state is in the tracking store; a lost job is submitted again as a new
//! attempt.

mod assigned;
mod busy;
mod counts;
mod fair;
mod fleet;
mod launch;
mod member;
mod progress;
mod results;
mod session;

pub(crate) use counts::TaskNow;
pub use member::{ExecutorInfo, ExecutorNow, GoneExecutor};

use ballista_core::JobId;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::scheduler_grpc_server::SchedulerGrpc;
use ballista_core::serde::protobuf::{
    ExecutorHeartbeat, ExecutorStatus, ExecutorStoppedParams, JobStatus, TaskStatus, UpdateTaskStatusParams,
    executor_status, job_status::Status,
};
use ballista_core::serde::scheduler::{ExecutorData, ExecutorMetadata, ExecutorSpecification};
use ballista_core::serde::{BallistaCodec, BallistaLogicalExtensionCodec};
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::metrics::default_metrics_collector;
use ballista_scheduler::scheduler_server::{JobIdGenerator, SchedulerServer};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use fleet::Fleet;
use millwork_cluster::{Door, ExecutorLink, MAX_MESSAGE_BYTES};
use millwork_conversion::{MillworkCodec, TaskInput, TaskReport};
use millwork_manifest::{Failure, FailureClass};
use prost::Message;
use results::Results;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tonic::Request;

/// Time that a job waits for a first executor, in seconds.
const NO_EXECUTORS_GRACE_SECONDS: u64 = 600;
/// Time for which finished jobs stay in memory, in seconds. The runs are in the tracking store.
const FINISHED_JOB_SECONDS: u64 = 20;
/// Interval after which the engine is asked about a job without updates.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// Number of consecutive times that the engine may not know a job before it counts as lost.
const MAX_UNKNOWN: u32 = 15;
/// Limit of an encoded plan over all partitions: a message to an executor carries one plan, and some more data.
const MAX_PLAN_BYTES: usize = MAX_MESSAGE_BYTES - (4 << 20);
/// Executor that holds the reports of finished tasks, as told to Ballista: a name that never leaves, since reports are
/// kept here.
const KEEPER: &str = "scheduler";

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// A running Ballista scheduler.
#[derive(Clone)]
pub struct Engine {
    server: Server,
    cluster: BallistaCluster,
    session: Arc<SessionContext>,
    fleet: Arc<Fleet>,
    results: Arc<Results>,
    sessions: Arc<session::Sessions>,
}

/// A submitted job. Its reports are kept until this is dropped.
pub(crate) struct Job {
    id: JobId,
    updates: mpsc::Receiver<JobStatus>,
    fleet: Arc<Fleet>,
    results: Arc<Results>,
}

impl Job {
    pub(crate) fn id(&self) -> &JobId {
        &self.id
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        // Nobody needs the results of its running tasks any more.
        self.fleet.cancel(&self.id);
        self.results.forget(&self.id);
    }
}

impl Engine {
    /// Starts a Ballista scheduler without executors.
    pub async fn start() -> Result<Self, anyhow::Error> {
        let config = Arc::new(config());
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let codec =
            BallistaCodec::new(Arc::new(BallistaLogicalExtensionCodec::default()), Arc::new(MillworkCodec::default()));
        let (fleet, results) = (Arc::new(Fleet::default()), Arc::new(Results::default()));
        let mut server: Server = SchedulerServer::new_with_task_launcher(
            KEEPER.to_owned(),
            cluster.clone(),
            codec,
            config,
            default_metrics_collector()?,
            fleet.clone(),
        );
        server.init().await?;
        let session_config = SessionConfig::new_with_ballista()
            // A single task per partition, which makes one output file or a few.
            .set_usize("ballista.scheduler.max_partitions_per_task", 1);
        let session = server.state.session_manager.create_or_update_session("millwork", &session_config).await?;
        Ok(Self { server, cluster, session, fleet, results, sessions: Arc::default() })
    }

    /// Accepts the executors that connect through a door.
    pub fn admit_all(&self, door: Door) {
        let engine = self.clone();
        tokio::spawn(async move {
            // Moves the whole door into the closure: capturing only a part would drop the rest, and close it.
            let mut door = door;
            while let Some(link) = door.executors.recv().await {
                engine.admit(link);
            }
        });
    }

    /// Accepts an executor.
    pub fn admit(&self, link: ExecutorLink) {
        tokio::spawn(session::serve(self.clone(), link));
    }

    /// Waits until an executor is connected.
    pub async fn connected(&self) {
        self.fleet.joined().await;
    }

    /// Connected executors.
    pub fn executors(&self) -> Vec<ExecutorInfo> {
        self.fleet.executors()
    }

    /// Number of used slots of each executor, by its id.
    pub(crate) fn used_slots(&self) -> HashMap<String, u64> {
        self.fleet.used_slots()
    }

    /// Busy time of slots and of executors since the last call.
    pub(crate) fn take_busy(&self) -> (Duration, Duration) {
        self.fleet.take_busy()
    }

    /// Total number of slots, without those of draining executors.
    pub fn slots(&self) -> usize {
        self.slots_of_each().into_iter().sum()
    }

    /// Number of slots of each executor that is not draining.
    pub(crate) fn slots_of_each(&self) -> Vec<usize> {
        self.fleet.slots_of_each()
    }

    /// Current state of the connected executors.
    pub fn executors_now(&self) -> Vec<ExecutorNow> {
        self.fleet.now()
    }

    /// Disconnected executors, latest first.
    pub fn gone_executors(&self) -> Vec<GoneExecutor> {
        self.fleet.gone()
    }

    /// Present and past tasks of a job, ordered by partition, and the total number of its tasks.
    pub(crate) fn tasks(&self, id: &JobId) -> (Vec<TaskNow>, usize) {
        let (mut tasks, inputs) = self.results.tasks(id);
        tasks.extend(self.fleet.tasks_of(id));
        // For a repeated task, the finished entry is sorted first, and kept.
        tasks.sort_by_key(|task| (task.partition, task.ended_at_ms.is_none()));
        tasks.dedup_by_key(|task| task.partition);
        let input = |task: &TaskNow| inputs.get(task.partition).copied().unwrap_or_default();
        let now = now_ms();
        (
            tasks.into_iter().map(|task| (input(&task), task)).map(|(input, task)| task.bounded(input, now)).collect(),
            inputs.len(),
        )
    }

    /// Submits a plan; `inputs` is the planned input of its tasks.
    pub(crate) async fn submit(
        &self,
        name: &str,
        plan: Arc<dyn ExecutionPlan>,
        inputs: Vec<TaskInput>,
    ) -> Result<Job, Failure> {
        // Capacity for more updates than a job has: queued, running, and the end.
        let (sender, updates) = mpsc::channel(64);
        check_size(&plan)?;
        let submitted = self.server.submit_physical_plan(name, self.session.clone(), plan, Some(sender)).await;
        let id = submitted.map_err(|e| Failure::new(FailureClass::Bug, e))?;
        self.results.expect(id.clone(), inputs);
        Ok(Job { id, updates, fleet: self.fleet.clone(), results: self.results.clone() })
    }

    /// Cancels a job. Its tasks are cancelled when it is dropped.
    pub(crate) async fn cancel(&self, job: &Job) {
        if let Err(error) = self.server.cancel_job(job.id.clone()).await {
            tracing::warn!(job = %job.id, %error, "cannot cancel a job");
        }
    }

    /// Waits for the end of a job, and returns the reports of its tasks, ordered by partition.
    pub(crate) async fn wait(&self, job: &mut Job) -> Result<Vec<TaskReport>, Failure> {
        let mut unknown = 0;
        loop {
            let status = match tokio::time::timeout(POLL_INTERVAL, job.updates.recv()).await {
                Ok(Some(update)) => update.status,
                // No update for a while: one may have been dropped, so that the engine is asked.
                Err(_) => self.status(&job.id).await?,
                Ok(None) => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    self.status(&job.id).await?
                }
            };
            match status {
                Some(Status::Successful(_)) => break,
                Some(Status::Failed(failed)) => return Err(failure_of_job(&failed.error)),
                Some(_) => unknown = 0,
                // A busy engine may not know a new job yet, or be moving one between its lists.
                None if unknown < MAX_UNKNOWN => unknown += 1,
                None => return Err(Failure::new(FailureClass::LostExecutor, "the job is gone from the engine")),
            }
        }
        Ok(self.results.take(&job.id))
    }

    async fn status(&self, id: &JobId) -> Result<Option<Status>, Failure> {
        let found = self.cluster.job_state().get_job_status(id).await;
        let status = found.map_err(|e| Failure::new(FailureClass::Bug, e))?;
        Ok(status.and_then(|status| status.status))
    }
}

/// State in which Ballista sees an executor: accepting tasks, or not.
#[derive(Clone, Copy)]
enum Takes {
    Tasks,
    Nothing,
}

/// Registration of executors with Ballista, which has no port and knows only what is passed to it here.
impl Engine {
    /// Registers an executor.
    async fn register(&self, id: &str, slots: u32) -> anyhow::Result<()> {
        let slots = slots.saturating_add(fair::BEYOND);
        let metadata = ExecutorMetadata {
            id: id.to_owned(),
            host: String::new(),
            port: 0,
            grpc_port: 0,
            specification: ExecutorSpecification::default().with_vcores(slots),
            os_info: Default::default(),
        };
        let data = ExecutorData { executor_id: id.to_owned(), total_vcores: slots, available_vcores: slots };
        self.cluster.cluster_state().register_executor(metadata, data).await?;
        Ok(())
    }

    async fn set_status(&self, id: &str, takes: Takes) -> anyhow::Result<()> {
        let status = match takes {
            Takes::Tasks => executor_status::Status::Active(String::new()),
            // Not "terminating", which Ballista treats as lost after a while, nor "dead", whose results it ignores.
            Takes::Nothing => executor_status::Status::Unknown(String::new()),
        };
        let heartbeat = ExecutorHeartbeat {
            executor_id: id.to_owned(),
            // Liveness is tracked by the streams, so that Ballista's own timeout must never expire.
            timestamp: u64::MAX,
            metrics: Vec::new(),
            status: Some(ExecutorStatus { status: Some(status) }),
            peak_proc_physical_memory: 0,
            peak_proc_virtual_memory: 0,
        };
        self.cluster.cluster_state().save_executor_heartbeat(heartbeat).await?;
        Ok(())
    }

    /// Passes the status of finished tasks to Ballista, and makes it assign waiting ones.
    async fn update(&self, id: &str, task_status: Vec<TaskStatus>) {
        let update = UpdateTaskStatusParams { executor_id: id.to_owned(), task_status };
        if let Err(error) = SchedulerGrpc::update_task_status(&self.server, Request::new(update)).await {
            tracing::error!(executor = id, %error, "the engine does not take news of tasks");
        }
    }

    /// Removes an executor, and makes Ballista reassign its tasks.
    async fn remove(&self, id: &str, reason: String) {
        let stopped = ExecutorStoppedParams { executor_id: id.to_owned(), reason };
        if let Err(error) = SchedulerGrpc::executor_stopped(&self.server, Request::new(stopped)).await {
            tracing::error!(executor = id, %error, "the engine does not take note that an executor is gone");
        }
    }
}

/// Current time in Unix milliseconds, as used in task records.
fn now_ms() -> u64 {
    u64::try_from(chrono::Utc::now().timestamp_millis()).unwrap_or(0)
}

/// Refuses a plan that is too large for a message, before any of it is sent.
fn check_size(plan: &Arc<dyn ExecutionPlan>) -> Result<(), Failure> {
    let codec = MillworkCodec::default();
    let node = PhysicalPlanNode::try_from_physical_plan(plan.clone(), &codec);
    let bytes = node.map_err(|e| Failure::new(FailureClass::Bug, e))?.encoded_len() as u64 + codec.saved_bytes();
    if bytes <= MAX_PLAN_BYTES as u64 {
        return Ok(());
    }
    let text = format!(
        "the plan takes {bytes} bytes, and executors take at most {MAX_PLAN_BYTES}: the manifest names too many files, or its files \
         too long column names; make several manifests of it, or name fewer columns in a query of your own"
    );
    Err(Failure::new(FailureClass::Input, text))
}

/// Generator of job ids. Ballista's own starts a thread that wakes up every millisecond.
struct RandomIds;

#[async_trait::async_trait]
impl JobIdGenerator for RandomIds {
    async fn next_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

fn config() -> SchedulerConfig {
    SchedulerConfig {
        job_id_generator: Some(Arc::new(RandomIds)),
        task_distribution: TaskDistributionPolicy::Custom(Arc::new(fair::FairShare)),
        // Executors are removed only after they have left, so that no grace period is needed.
        executor_termination_grace_period: 0,
        no_executors_grace_period_seconds: NO_EXECUTORS_GRACE_SECONDS,
        finished_job_data_clean_up_interval_seconds: 0,
        finished_job_state_clean_up_interval_seconds: FINISHED_JOB_SECONDS,
        ..SchedulerConfig::default()
    }
}

/// Beginnings of Ballista's errors for jobs that it gave up because no executor was left, or because the job was
/// cancelled. The scheduler itself does not wait for jobs that it cancels.
const GIVEN_UP: [&str; 2] = ["all executors were lost", "Cancelled"];

/// Failure for a job's error. Failures of data and storage are in the reports; errors of Ballista itself mean the loss
/// of executors, or a defect.
fn failure_of_job(error: &str) -> Failure {
    let is_loss = GIVEN_UP.iter().any(|words| error.starts_with(words));
    Failure::new(if is_loss { FailureClass::LostExecutor } else { FailureClass::Bug }, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_job_is_a_loss_if_ballista_gave_it_up_and_a_defect_otherwise() {
        let class = |error: &str| failure_of_job(error).class;
        let lost = "all executors were lost and no executor re-registered within 600s; no executors remain to run the \
                    tasks for this job";
        assert_eq!(class(lost), FailureClass::LostExecutor);
        assert_eq!(class("Cancelled"), FailureClass::LostExecutor);
        for cause in ["`cancelled.ndjson`", "Cancelled", "executor lost", "No executors", "FetchFailed"] {
            let error =
                format!("Job failed due to stage 1 failed: Task failed due to runtime execution error: {cause}\n");
            assert_eq!(class(&error), FailureClass::Bug, "{error}");
        }
    }
}
