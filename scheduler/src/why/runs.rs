//! Facts about runs.

use super::Inspector;
use super::files::head_facts;
use super::looks::timed;
use super::result::read_result;
use crate::commit::CommitRecord;
use crate::sizes::estimated_bytes;
use chrono::{DateTime, Duration, Utc};
use millwork_api::TaskState;
use millwork_cluster::ALIVE_INTERVAL;
use millwork_diagnosis::{Obstacle, OutputFacts, Progress, QueuePlace, RunFacts, Usual};
use millwork_manifest::RunState;
use millwork_tracking::{Run, RunFilter, TrackingResult};

/// Limit of the runs that are counted ahead of a queued one: 10,000.
const MAX_AHEAD: usize = 10_000;
/// Number of completed runs from which the usual duration is derived: the newest 200.
const COMPARED: usize = 200;
/// Largest ratio of sizes at which two runs count as similar: 2.
const SIZE_RATIO: u64 = 2;
/// Silence after which an executor is reported, in seconds: 4. Executors send a message each second.
const SILENT_SECONDS: i64 = 4 * ALIVE_INTERVAL.as_secs() as i64;
/// Age of a commit from which its publication is examined, in seconds: 10. Before that it is normally in progress.
const SLOW_PUBLICATION_SECONDS: i64 = 10;

impl Inspector {
    /// All facts about a run.
    pub(super) async fn run_facts(&self, run: &Run, now: DateTime<Utc>) -> TrackingResult<RunFacts> {
        let newest = if is_under_way(run) { self.newest_completed().await? } else { Vec::new() };
        self.run_facts_beside(run, &newest, now).await
    }

    /// Facts about a run; `newest` are completed runs for comparison.
    pub(super) async fn run_facts_beside(
        &self,
        run: &Run,
        newest: &[Run],
        now: DateTime<Utc>,
    ) -> TrackingResult<RunFacts> {
        let mut facts = head_facts(run);
        match run.state {
            RunState::Queued => facts.place = self.place(run).await?,
            RunState::Planning | RunState::Running => {
                facts.progress = self.progress(run, now).await;
                facts.usual = usual(run, newest);
            }
            RunState::Committing => facts.output = Some(self.publication(run, now).await?),
            RunState::Completed => facts.output = self.output(run).await,
            RunState::Draft | RunState::Failed | RunState::Cancelled => {}
        }
        Ok(facts)
    }

    async fn place(&self, run: &Run) -> TrackingResult<Option<QueuePlace>> {
        let Some(ahead) = self.store.inspection().ahead(&run.manifest_id, MAX_AHEAD).await? else { return Ok(None) };
        let estimated = estimated_bytes(&*self.store, ahead.unsized_files).await?;
        Ok(Some(QueuePlace {
            runs_before: ahead.runs,
            bytes_before: ahead.bytes.saturating_add(estimated),
            of: None,
            is_capped: ahead.is_capped,
        }))
    }

    async fn progress(&self, run: &Run, now: DateTime<Utc>) -> Option<Progress> {
        let leader = self.leader.as_ref()?;
        let progress = leader.progress(&run.manifest_id).await?;
        let silence = Duration::seconds(SILENT_SECONDS);
        let executors = leader.engine().executors_now();
        let heard = executors.into_iter().filter(|executor| now - executor.last_seen <= silence);
        let heard: Vec<String> = heard.map(|executor| executor.info.id).collect();
        let tasks = progress.stages.iter().flat_map(|stage| &stage.tasks);
        let running = tasks.filter(|task| matches!(task.state, TaskState::Running));
        let mut ids: Vec<String> = running.filter_map(|task| task.executor.clone()).collect();
        ids.sort_unstable();
        ids.dedup();
        let (running, lost_executors) = ids.into_iter().partition(|id| heard.contains(id));
        Some(Progress {
            read_bytes: (progress.bytes > 0).then_some(progress.read_bytes),
            tasks: progress.tasks,
            tasks_done: progress.tasks_done,
            running,
            lost_executors,
            eta_seconds: progress.eta_seconds,
        })
    }

    /// Newest completed runs, from which usual durations are derived.
    pub(super) async fn newest_completed(&self) -> TrackingResult<Vec<Run>> {
        let filter = RunFilter { state: Some(RunState::Completed), limit: COMPARED, ..RunFilter::default() };
        Ok(self.store.list_runs(&filter).await?.items)
    }

    /// Facts about a committed output that is not published yet.
    async fn publication(&self, run: &Run, now: DateTime<Utc>) -> TrackingResult<OutputFacts> {
        let mut output = result_of(run).unwrap_or_default();
        let obstacle = self.leader.as_ref().and_then(|leader| leader.obstacle(&run.manifest_id));
        let is_new = run.committed_at.is_none_or(|at| now - at < Duration::seconds(SLOW_PUBLICATION_SECONDS));
        if is_new && obstacle.is_none() {
            return Ok(output);
        }
        let Some(commit) = self.store.unpublished(&run.manifest_id).await? else { return Ok(output) };
        let record = match CommitRecord::of(&commit) {
            Ok(record) => record,
            Err(error) => {
                output.obstacle = Some(Obstacle { message: error.to_string(), is_lost: false });
                return Ok(output);
            }
        };
        let storage = self.storage.clone();
        let looked = timed(move || match record.check_there(&storage) {
            Err(error) if error.is_lost() => Ok(Some(Obstacle { message: error.to_string(), is_lost: true })),
            Err(error) => Ok(Some(Obstacle { message: error.to_string(), is_lost: false })),
            Ok(()) => Ok(None),
        });
        let found = looked.await.unwrap_or_else(|message| Some(Obstacle { message, is_lost: false }));
        output.obstacle = found.or(obstacle.map(|message| Obstacle { message, is_lost: false }));
        Ok(output)
    }

    async fn output(&self, run: &Run) -> Option<OutputFacts> {
        let result = read_result(run)?;
        let outputs: Vec<String> = result.outputs.iter().map(|file| file.uri.clone()).collect();
        let missing = self.missing(&outputs).await;
        Some(OutputFacts { missing, ..result_of(run)? })
    }
}

/// Tells whether a run is in progress, and compared with others.
pub(super) fn is_under_way(run: &Run) -> bool {
    matches!(run.state, RunState::Planning | RunState::Running)
}

/// Usual duration of completed runs of similar size.
fn usual(run: &Run, newest: &[Run]) -> Option<Usual> {
    let is_alike = |other: &&Run| {
        other.bytes <= run.bytes.saturating_mul(SIZE_RATIO) && run.bytes <= other.bytes.saturating_mul(SIZE_RATIO)
    };
    let took = |other: &Run| u64::try_from((other.committed_at? - other.started_at?).num_seconds()).ok();
    let mut times: Vec<u64> = newest.iter().filter(is_alike).filter_map(took).collect();
    times.sort_unstable();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len().saturating_sub(1))).copied();
    at(50).zip(at(95)).map(|(half_seconds, most_seconds)| Usual {
        runs: times.len() as u64,
        half_seconds,
        most_seconds,
    })
}

fn result_of(run: &Run) -> Option<OutputFacts> {
    let result = read_result(run)?;
    let mut without_rows = result.ledger.iter().filter_map(|file| Some((&file.uri, file.without_rows()?)));
    let first = without_rows.next();
    let others = without_rows.count() as u64;
    Some(OutputFacts {
        rows: result.rows,
        rejected: result.rejected,
        files: result.outputs.len() as u64,
        first: result.outputs.first().map(|file| file.uri.clone()),
        without_rows: first.map(|(uri, cause)| (1 + others, uri.clone(), cause)),
        rejected_lines: result.rejected_lines,
        missing: Vec::new(),
        obstacle: None,
    })
}
