//! Tasks: decodes the scheduler's tasks and runs them, on separate threads.

use crate::memory;
use crate::status::{TaskEnd, note_completed, note_ends, note_running};
use ballista_core::execution_plans::ShuffleWriterExec;
use ballista_core::extension::{SessionConfigExt, SessionConfigHelperExt};
use ballista_core::serde::protobuf::KeyValuePair;
use datafusion::execution::TaskContext;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_proto::physical_plan::AsExecutionPlan;
use datafusion_proto::protobuf::PhysicalPlanNode;
use futures::{FutureExt, TryStreamExt};
use millwork_cluster::messages::{Counts, Ended, Outcome, Progress, Setting, Task, TaskKey};
use millwork_conversion::{MillworkCodec, TaskCounters, TaskHost, TaskReport, TaskStep, TaskSubject};
use std::any::Any;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tracing::Instrument;

/// Time for threads to stop when a session ends.
const END: Duration = Duration::from_secs(1);

/// Tasks of one session with a scheduler, cancelled when dropped.
pub(crate) struct Tasks {
    runtime: Option<Runtime>,
    host: Arc<TaskHost>,
    context: SessionContext,
    running: HashMap<TaskKey, Running>,
    ended: mpsc::Sender<Ended>,
}

/// A running task.
struct Running {
    handle: AbortHandle,
    watch: Arc<Watch>,
}

/// Counts of a task so far, and the peak memory of the process during it.
struct Watch {
    counters: Arc<TaskCounters>,
    peak_memory: AtomicU64,
}

impl Watch {
    /// Updates the peak memory of the process.
    fn look(&self, memory_bytes: u64) {
        self.peak_memory.fetch_max(memory_bytes, Ordering::Relaxed);
    }

    fn counts(&self) -> Counts {
        let counts = self.counters.counts();
        Counts {
            read_bytes: counts.read_bytes,
            rows: counts.rows,
            rejected: counts.rejected,
            written_bytes: counts.written_bytes,
            parts: counts.parts,
            cpu_micros: counts.cpu_nanos / 1000,
            peak_memory_bytes: self.peak_memory.load(Ordering::Relaxed),
            is_finishing: counts.step == TaskStep::Finishing,
        }
    }
}

impl Tasks {
    /// Creates an empty set of tasks, which run on the threads of `host` and send their ends to `ended`.
    pub(crate) fn new(host: Arc<TaskHost>, ended: mpsc::Sender<Ended>) -> std::io::Result<Self> {
        // Tasks are CPU-bound: on shared threads they would delay keep-alives.
        let runtime = Builder::new_multi_thread()
            .worker_threads(host.threads())
            .thread_name("conversion")
            .enable_all()
            .build()?;
        Ok(Self { runtime: Some(runtime), host, context: SessionContext::new(), running: HashMap::new(), ended })
    }

    /// Starts a task. Its end is always sent, even after a failure.
    pub(crate) fn start(&mut self, task: Task) {
        let (Some(key), Some(runtime)) = (task.key.clone(), &self.runtime) else { return };
        let (context, host, ended) = (self.context.clone(), self.host.clone(), self.ended.clone());
        let started_at_ms = now_ms();
        let of_task = key.clone();
        let watch = Arc::new(Watch { counters: host.counters(), peak_memory: AtomicU64::new(0) });
        let watched = watch.clone();
        let running = runtime.spawn(async move {
            let (began, counters) = (Instant::now(), watched.counters.clone());
            let outcome = match AssertUnwindSafe(run(&task, &of_task, &context, (host, counters))).catch_unwind().await
            {
                Ok(Ok(report)) => Outcome::Report(report),
                Ok(Err(error)) => Outcome::Defect(error.to_string()),
                Err(panic) => Outcome::Defect(format!("a panic: {}", words_of(panic.as_ref()))),
            };
            match &outcome {
                Outcome::Report(_) => note_completed(began.elapsed()),
                Outcome::Defect(_) => note_ends(TaskEnd::Failed, 1),
            }
            watched.look(memory::used_bytes().unwrap_or(0));
            let (counts, ended_at_ms) = (Some(watched.counts()), now_ms());
            let end = Ended { key: Some(of_task), started_at_ms, ended_at_ms, outcome: Some(outcome), counts };
            // Fails when the session is over, and nobody needs the result.
            let _ = ended.send(end).await;
        });
        self.running.insert(key, Running { handle: running.abort_handle(), watch });
        note_running(self.running.len());
    }

    /// Cancels a task, if it is still running.
    pub(crate) fn cancel(&mut self, key: &TaskKey) {
        if let Some(running) = self.running.remove(key) {
            running.handle.abort();
            note_ends(TaskEnd::GivenUp, 1);
            note_running(self.running.len());
        }
    }

    /// Removes a task whose end is to be reported. Returns false if it was cancelled meanwhile.
    pub(crate) fn forget(&mut self, key: &TaskKey) -> bool {
        let was_running = self.running.remove(key).is_some();
        note_running(self.running.len());
        was_running
    }

    /// Progress of each task, with the present memory of the process.
    pub(crate) fn progress(&self, memory_bytes: u64) -> Vec<Progress> {
        let progress = |(key, running): (&TaskKey, &Running)| {
            running.watch.look(memory_bytes);
            Progress { key: Some(key.clone()), counts: Some(running.watch.counts()) }
        };
        self.running.iter().map(progress).collect()
    }

    /// Cancels all tasks, and waits briefly for their threads.
    pub(crate) async fn end(mut self) {
        self.host.close();
        if let Some(runtime) = self.runtime.take() {
            // Threads that take longer are abandoned, since nothing depends on them.
            let _ = tokio::task::spawn_blocking(move || runtime.shutdown_timeout(END)).await;
        }
    }
}

impl Drop for Tasks {
    fn drop(&mut self) {
        self.host.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        note_ends(TaskEnd::GivenUp, self.running.len());
        note_running(0);
    }
}

/// Runs the plan of a task, a single partition, and returns its report.
async fn run(
    task: &Task,
    key: &TaskKey,
    base: &SessionContext,
    shared: (Arc<TaskHost>, Arc<TaskCounters>),
) -> anyhow::Result<Vec<u8>> {
    let TaskKey { job, stage, stage_attempt, task: number } = key;
    let identity = format!("TID {job}/{stage}.{stage_attempt}/{number}.{}", task.attempt);
    let context = context(task, identity.clone(), base, shared)?;
    let node = PhysicalPlanNode::try_decode(&task.plan)?;
    let plan = node.try_into_physical_plan(&context, &MillworkCodec::default())?;
    let plan = below_the_writer(&plan)?;
    let began = Instant::now();
    let subject = TaskSubject::of(&plan);
    let (manifest, attempt) =
        (subject.as_ref().map(|of| of.manifest_id.as_str()), subject.as_ref().and_then(|of| of.attempt));
    let span = span_of(subject.as_ref(), *number);
    span.in_scope(|| tracing::info!(manifest, attempt, partition = number, task = identity, "task started"));
    let batches: Vec<_> = async { plan.execute(0, context)?.try_collect().await }.instrument(span.clone()).await?;
    let reports = batches.iter().map(TaskReport::from_batch).collect::<Result<Vec<_>, _>>()?.concat();
    let [report] = reports.as_slice() else { anyhow::bail!("a task with {} reports instead of one", reports.len()) };
    let (seconds, failed) =
        (began.elapsed().as_secs_f64(), report.failure.as_ref().map(|failure| failure.class.as_str()));
    span.in_scope(|| {
        tracing::info!(manifest, attempt, partition = number, task = identity, seconds, failed, "task ended");
    });
    Ok(report.to_bytes())
}

/// Span of a task, in the trace of its attempt if there is one.
fn span_of(subject: Option<&TaskSubject>, number: u32) -> tracing::Span {
    let (manifest, attempt) = (subject.map(|of| of.manifest_id.as_str()), subject.and_then(|of| of.attempt));
    let span = tracing::info_span!("task", manifest, attempt, partition = number, trace_id = tracing::field::Empty);
    if let Some(traceparent) = subject.and_then(|of| of.traceparent.as_deref()) {
        millwork_process::put_below(&span, traceparent);
    }
    if let Some(trace) = millwork_process::trace_id(&span) {
        span.record("trace_id", trace);
    }
    span
}

fn context(
    task: &Task,
    identity: String,
    base: &SessionContext,
    (host, counters): (Arc<TaskHost>, Arc<TaskCounters>),
) -> anyhow::Result<Arc<TaskContext>> {
    let settings = task.settings.iter();
    let settings = settings.map(|Setting { key, value }| KeyValuePair { key: key.clone(), value: value.clone() });
    let config = SessionConfig::new_with_ballista().update_from_key_value_pair(&settings.collect::<Vec<_>>());
    let config = config.with_extension(host).with_extension(counters);
    let state = base.state_ref();
    let state = state.read();
    Ok(Arc::new(TaskContext::new(
        Some(identity),
        task.session.clone(),
        config,
        state.scalar_functions().clone(),
        state.higher_order_functions().clone(),
        state.aggregate_functions().clone(),
        state.window_functions().clone(),
        state.runtime_env().clone(),
    )))
}

/// Part of a stage's plan that produces rows. The engine adds a shuffle writer on top of each stage, which is not
/// needed in a plan of one stage, whose only row is the report.
fn below_the_writer(plan: &Arc<dyn ExecutionPlan>) -> anyhow::Result<Arc<dyn ExecutionPlan>> {
    let is_writer = plan.downcast_ref::<ShuffleWriterExec>().is_some();
    let [input] = plan.children()[..] else { anyhow::bail!("a task's plan begins with {}", plan.name()) };
    anyhow::ensure!(is_writer, "a task's plan begins with {}, which is no writer", plan.name());
    let partitions = input.properties().partitioning.partition_count();
    anyhow::ensure!(partitions == 1, "a task's plan has {partitions} partitions instead of one");
    Ok(input.clone())
}

fn words_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "of unknown cause".to_owned())
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
