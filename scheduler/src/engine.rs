//! Ballista, as the scheduler uses it: executors register over gRPC, physical plans go in, task reports come out.
//!
//! Ballista keeps jobs in memory only. What must survive is in the tracking store; a job that is lost is submitted
//! again as a new attempt.

mod release;

use ballista_core::JobId;
use ballista_core::client::BallistaClient;
use ballista_core::extension::SessionConfigExt;
use ballista_core::serde::protobuf::{JobStatus, PartitionLocation, job_status::Status, task_status};
use ballista_core::serde::scheduler::ShuffleLayout;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use ballista_scheduler::scheduler_server::{JobIdGenerator, SchedulerServer};
use ballista_scheduler::state::execution_stage::{ExecutionStage, TaskInfo};
use datafusion::physical_plan::{ExecutionPlan, displayable};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use futures::TryStreamExt;
use millwork_conversion::{MillworkCodec, TaskReport};
use millwork_manifest::{Failure, FailureClass};
use socket2::SockRef;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

/// An executor that stays silent this long is taken for dead, and its tasks go to others. Ballista's own default is
/// three minutes; executors send a heartbeat every [`HEARTBEAT_SECONDS`].
const EXECUTOR_TIMEOUT_SECONDS: u64 = 8;
/// How often silent executors are looked for.
const EXPIRY_CHECK_SECONDS: u64 = 1;
/// How often an executor shows that it is alive.
pub const HEARTBEAT_SECONDS: u64 = 2;
/// How long an executor that takes no more tasks may be silent before those it has are given to others: as long as any
/// other. At 0, Ballista's default, they would be at once, and be written twice. How long it goes on working is up to
/// whoever told it to stop, such as the grace period of its pod.
const TERMINATION_GRACE_SECONDS: u64 = EXECUTOR_TIMEOUT_SECONDS;
/// How long a job waits for a first executor.
const NO_EXECUTORS_GRACE_SECONDS: u64 = 600;
/// How long the state of finished jobs stays in memory. The runs are in the tracking store.
const FINISHED_JOB_SECONDS: u64 = 20;
/// How long to wait for news of a job before asking.
const POLL_INTERVAL: Duration = Duration::from_secs(2);
/// How often in a row the engine may not know a job before it counts as lost.
const MAX_UNKNOWN: u32 = 15;
/// The largest message between scheduler and executors. A task's plan names its files, a report has a line for each.
const MAX_MESSAGE_BYTES: u32 = 64 << 20;

type Server = SchedulerServer<LogicalPlanNode, PhysicalPlanNode>;

/// A running Ballista scheduler.
#[derive(Clone)]
pub struct Engine {
    server: Server,
    cluster: BallistaCluster,
    session: Arc<SessionContext>,
    address: SocketAddr,
    /// Connections over which reports are fetched, by the executor's address.
    clients: Arc<Mutex<HashMap<(String, u16), BallistaClient>>>,
    /// Jobs that somebody waits for.
    awaited: Arc<Mutex<HashSet<JobId>>>,
}

/// An executor that is connected.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ExecutorInfo {
    /// Its id.
    pub id: String,
    /// Where it can be reached.
    pub host: String,
    /// How many tasks it runs at once.
    pub vcores: u32,
}

/// A job that has been submitted. Its reports are kept as long as this is.
pub(crate) struct Job {
    id: JobId,
    updates: mpsc::Receiver<JobStatus>,
    awaited: Arc<Mutex<HashSet<JobId>>>,
}

impl Job {
    pub(crate) fn id(&self) -> &JobId {
        &self.id
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

/// How far a job is.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct JobProgress {
    /// Its stages, in order. A conversion has one.
    pub stages: Vec<StageProgress>,
}

/// How far a stage is.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct StageProgress {
    /// Its number in the job.
    pub id: usize,
    /// `Running`, `Successful` and the like, in Ballista's words.
    pub state: String,
    /// How many partitions it has in all; each is a task.
    pub partitions: usize,
    /// The stage's physical plan.
    pub plan: String,
    /// The tasks that have been given to executors.
    pub tasks: Vec<TaskProgress>,
}

/// A task that an executor has, or had.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct TaskProgress {
    /// Its number in the stage.
    pub id: usize,
    /// `running`, `successful` or `failed`.
    pub state: &'static str,
    /// The executor it was given to.
    pub executor: Option<String>,
    /// When it was given away, in milliseconds since 1970.
    pub launched_at_ms: u64,
    /// When it ended, in the same.
    pub ended_at_ms: Option<u64>,
}

impl Engine {
    /// Starts a scheduler whose executors connect to `listener`.
    pub async fn start(listener: TcpListener) -> Result<Self, anyhow::Error> {
        let address = listener.local_addr()?;
        // What is accepted has it, too. Else an answer waits up to 40 ms for the acknowledgement of its own first half.
        if let Err(error) = SockRef::from(&listener).set_tcp_nodelay(true) {
            tracing::debug!(%error, "answers to executors wait for acknowledgements");
        }
        let config = Arc::new(config(address));
        let cluster = BallistaCluster::new_from_config(&config).await?;
        let server: Server = create_scheduler(cluster.clone(), config).await?;
        let session_config = SessionConfig::new_with_ballista()
            // One task for each partition, which is one output file or a few.
            .set_usize("ballista.scheduler.max_partitions_per_task", 1);
        let session = server.state.session_manager.create_or_update_session("millwork", &session_config).await?;
        let grpc = start_grpc_service_with_listener(listener, server.clone());
        tokio::spawn(async move {
            if let Err(error) = grpc.await {
                tracing::error!(%error, "the scheduler's executor endpoint ended");
            }
        });
        let engine = Self { server, cluster, session, address, clients: Arc::default(), awaited: Arc::default() };
        tokio::spawn(engine.clone().release_executors());
        Ok(engine)
    }

    /// Where executors connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The executors that are connected.
    pub async fn executors(&self) -> Vec<ExecutorInfo> {
        let registered = self.cluster.cluster_state().registered_executor_metadata().await;
        let info = |e: ballista_core::serde::scheduler::ExecutorMetadata| ExecutorInfo {
            id: e.id,
            host: format!("{}:{}", e.host, e.port),
            vcores: e.specification.vcores,
        };
        let mut executors: Vec<_> = registered.into_iter().map(info).collect();
        executors.sort_by(|a, b| a.id.cmp(&b.id));
        executors
    }

    /// How many tasks each executor runs now. Its cost grows with the tasks of the jobs that are going on.
    pub(crate) async fn running_tasks(&self) -> HashMap<String, u64> {
        let mut running = HashMap::new();
        // What is going on is only here: the job state of the cluster has finished jobs.
        for job in self.server.state.task_manager.get_running_job_cache().values() {
            for task in job.execution_graph.read().await.running_tasks() {
                *running.entry(task.executor_id).or_default() += 1;
            }
        }
        running
    }

    /// How many tasks all executors together run at once, those left out that take no more.
    pub async fn slots(&self) -> usize {
        self.slots_of_each().await.into_iter().sum()
    }

    /// How many tasks each executor runs at once, those left out that take no more.
    pub(crate) async fn slots_of_each(&self) -> Vec<usize> {
        let stopping = self.stopping_executors();
        self.executors().await.iter().filter(|e| !stopping.contains(&e.id)).map(|e| e.vcores as usize).collect()
    }

    /// Submits a plan.
    pub(crate) async fn submit(&self, name: &str, plan: Arc<dyn ExecutionPlan>) -> Result<Job, Failure> {
        // Updates are few: queued, running, and the end.
        let (sender, updates) = mpsc::channel(64);
        let submitted = self.server.submit_physical_plan(name, self.session.clone(), plan, Some(sender)).await;
        let id = submitted.map_err(|e| Failure::new(FailureClass::Bug, e))?;
        self.awaited.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone());
        Ok(Job { id, updates, awaited: self.awaited.clone() })
    }

    /// Cancels a job. Those of its tasks that executors have begun go on to their end, for nobody.
    pub(crate) async fn cancel(&self, job: &Job) {
        if let Err(error) = self.server.cancel_job(job.id.clone()).await {
            tracing::warn!(job = %job.id, %error, "cannot cancel a job");
        }
    }

    /// Waits for a job's end and fetches the reports of its tasks.
    pub(crate) async fn wait(&self, job: &mut Job) -> Result<Vec<TaskReport>, Failure> {
        let mut unknown = 0;
        let locations = loop {
            let status = match tokio::time::timeout(POLL_INTERVAL, job.updates.recv()).await {
                Ok(Some(update)) => update.status,
                // An update may have been dropped: ask.
                Err(_) => self.status(&job.id).await?,
                Ok(None) => {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    self.status(&job.id).await?
                }
            };
            match status {
                Some(Status::Successful(done)) => break done.partition_location,
                Some(Status::Failed(failed)) => return Err(failure_of_job(&failed.error)),
                Some(_) => unknown = 0,
                // A busy engine may not know a new job yet, or move one between its lists just now.
                None if unknown < MAX_UNKNOWN => unknown += 1,
                None => return Err(Failure::new(FailureClass::LostExecutor, "the job is gone from the engine")),
            }
        };
        let mut reports = Vec::new();
        for location in locations {
            reports.extend(self.fetch_reports(location).await?);
        }
        Ok(reports)
    }

    /// Fetches the report of one task from the executor that ran it.
    async fn fetch_reports(&self, location: PartitionLocation) -> Result<Vec<TaskReport>, Failure> {
        let lost = |e: &dyn std::fmt::Display| {
            Failure::new(FailureClass::LostExecutor, format!("cannot fetch a task's report from its executor: {e}"))
        };
        let layout = if location.is_sort_shuffle { ShuffleLayout::Sort } else { ShuffleLayout::Passthrough };
        let (Some(executor), Some(partition)) = (location.executor_meta, location.partition_id) else {
            return Err(Failure::new(FailureClass::Bug, "a task's result is nowhere"));
        };
        let address = (executor.host, u16::try_from(executor.port).unwrap_or(0));
        let known = self.clients.lock().unwrap_or_else(PoisonError::into_inner).get(&address).cloned();
        let mut client = match known {
            Some(client) => client,
            None => self.connect(&address).await.map_err(|e| lost(&e))?,
        };
        let fetched = async {
            let rows = client
                .fetch_partition(&executor.id, &partition.into(), location.file_id, layout, true)
                .await
                .map_err(|e| lost(&e))?;
            rows.try_collect::<Vec<_>>().await.map_err(|e| lost(&e))
        };
        let batches = fetched.await.inspect_err(|_| {
            // The executor may be another at the same address next time.
            self.clients.lock().unwrap_or_else(PoisonError::into_inner).remove(&address);
        })?;
        let reports = batches.iter().map(TaskReport::from_batch).collect::<Result<Vec<_>, _>>();
        reports.map(|reports| reports.concat()).map_err(|e| Failure::new(FailureClass::Bug, e))
    }

    async fn connect(&self, address: &(String, u16)) -> ballista_core::error::Result<BallistaClient> {
        let (host, port) = address;
        let client =
            BallistaClient::try_new(host, *port, MAX_MESSAGE_BYTES as usize, false, None, 3, 200, 0, 0).await?;
        self.clients.lock().unwrap_or_else(PoisonError::into_inner).insert(address.clone(), client.clone());
        Ok(client)
    }

    /// How far a job is, as long as the engine knows it.
    pub(crate) async fn progress(&self, id: &JobId) -> Option<JobProgress> {
        let running = self.server.state.task_manager.get_running_job_cache();
        let graph = running.get(id)?.execution_graph.read().await;
        let mut stages: Vec<StageProgress> = graph.stages().iter().map(|(id, stage)| progress_of(*id, stage)).collect();
        stages.sort_by_key(|stage| stage.id);
        Some(JobProgress { stages })
    }

    async fn status(&self, id: &JobId) -> Result<Option<Status>, Failure> {
        let found = self.cluster.job_state().get_job_status(id).await;
        let status = found.map_err(|e| Failure::new(FailureClass::Bug, e))?;
        Ok(status.and_then(|status| status.status))
    }
}

/// Names jobs. Ballista's own way starts a thread that wakes up each millisecond, for ever.
struct RandomIds;

#[async_trait::async_trait]
impl JobIdGenerator for RandomIds {
    async fn next_id(&self) -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

fn progress_of(id: usize, stage: &ExecutionStage) -> StageProgress {
    let tasks: Vec<TaskProgress> = stage.task_infos().unwrap_or_default().iter().map(task_progress).collect();
    let partitions = match stage {
        ExecutionStage::Resolved(stage) => stage.partitions,
        ExecutionStage::Running(stage) => stage.partitions,
        ExecutionStage::Successful(stage) => stage.partitions,
        ExecutionStage::Failed(stage) => stage.partitions,
        ExecutionStage::UnResolved(_) => 0,
    };
    let plan = displayable(stage.plan()).indent(false).to_string();
    StageProgress { id, state: stage.variant_name().to_owned(), partitions, plan, tasks }
}

fn task_progress(task: &TaskInfo) -> TaskProgress {
    let (state, executor) = match &task.task_status {
        task_status::Status::Running(running) => ("running", Some(running.executor_id.clone())),
        task_status::Status::Successful(done) => ("successful", Some(done.executor_id.clone())),
        task_status::Status::Failed(_) => ("failed", None),
    };
    let millis = |time: u128| u64::try_from(time).unwrap_or(u64::MAX);
    let ended_at_ms = (task.finish_time > 0).then(|| millis(task.finish_time));
    TaskProgress { id: task.task_id, state, executor, launched_at_ms: millis(task.scheduled_time), ended_at_ms }
}

fn config(address: SocketAddr) -> SchedulerConfig {
    SchedulerConfig {
        bind_host: address.ip().to_string(),
        external_host: address.ip().to_string(),
        bind_port: address.port(),
        job_id_generator: Some(Arc::new(RandomIds)),
        override_physical_codec: Some(Arc::new(MillworkCodec::default())),
        // Bias, the default, fills one executor before it uses the next.
        task_distribution: TaskDistributionPolicy::RoundRobin,
        executor_timeout_seconds: EXECUTOR_TIMEOUT_SECONDS,
        expire_dead_executor_interval_seconds: EXPIRY_CHECK_SECONDS,
        executor_termination_grace_period: TERMINATION_GRACE_SECONDS,
        no_executors_grace_period_seconds: NO_EXECUTORS_GRACE_SECONDS,
        finished_job_data_clean_up_interval_seconds: FINISHED_JOB_SECONDS,
        finished_job_state_clean_up_interval_seconds: FINISHED_JOB_SECONDS,
        grpc_server_max_decoding_message_size: MAX_MESSAGE_BYTES,
        grpc_server_max_encoding_message_size: MAX_MESSAGE_BYTES,
        grpc_client_max_message_size: MAX_MESSAGE_BYTES,
        ..SchedulerConfig::default()
    }
}

/// How Ballista's own words begin for a job that it gave up, as no executor was left, or somebody cancelled it there. The
/// scheduler does not wait for the jobs that it cancels.
const GIVEN_UP: [&str; 2] = ["all executors were lost", "Cancelled"];

/// What a job's error means. What goes wrong with data and storage comes in reports; what Ballista itself reports is
/// the loss of executors, or a defect.
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
