//! Runs of this process in memory: each is in one phase, and has the data of that phase. All of it can be read or
//! computed again.

use super::progress::Progress;
use crate::commit::RunResult;
use ballista_core::JobId;
use millwork_api::Step;
use millwork_conversion::{AttemptOutcome, Columns, Survey};
use millwork_manifest::{Manifest, ManifestId};
use millwork_storage::Staging;
use millwork_tracking::Commit;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::sync::CancellationToken;
use tracing::Span;

/// A run in memory.
pub(super) enum ActiveRun {
    /// The run's manifest is being read.
    Taken,
    /// An attempt is being started, with the columns found by the previous one, if that lacked some.
    Loaded(Input, Option<KnownColumns>),
    /// An attempt is in progress, or its output is being published.
    Attempted(Box<Attempt>, Phase),
}

/// Phase of an attempt, with the data for the next action; data of other phases is not accessible.
pub(super) enum Phase {
    /// The input is being surveyed and planned.
    Planning(Conversion),
    /// The plan was submitted to the executors, or their reports are being checked.
    Converting(Conversion, Submitted),
    /// Columns were found that the plan did not know, and that could not be added: another attempt is planned with
    /// them.
    Replanned(Input, KnownColumns),
    /// The output is complete, and private.
    Converted(Box<Output>),
    /// The commit is being prepared from the data of [`Self::Converted`].
    Preparing,
    /// The commit is prepared; the store may have accepted it, if its answer was lost.
    Prepared(Arc<Prepared>),
    /// The run is committed, by this process or another.
    Publishing(Publication),
    /// The attempt ended without a commit; its work is still to be recorded.
    Failed,
}

/// Data of a run that its attempts share.
#[derive(Clone)]
pub(super) struct Input {
    pub(super) manifest: Arc<Manifest>,
    /// Generation of the manifest's output, from 1.
    pub(super) generation: u32,
}

/// Survey of an input, and the columns that an attempt found in all of it.
pub(super) type KnownColumns = (Arc<Survey>, Columns);

/// An attempt that this process started.
pub(super) struct Attempt {
    /// Number of the attempt, from 1; 0 if another process started it.
    pub(super) number: u32,
    /// Tracing span of the attempt.
    pub(super) span: Span,
    pub(super) progress: Progress,
}

/// A conversion in progress.
#[derive(Clone)]
pub(super) struct Conversion {
    pub(super) input: Input,
    /// Columns found by the previous attempt.
    pub(super) columns: Option<KnownColumns>,
    /// Token that aborts the conversion.
    pub(super) abort: CancellationToken,
}

/// A submitted job.
pub(super) struct Submitted {
    /// Id of the engine's job.
    pub(super) job: JobId,
    /// Plan as text, for people.
    pub(super) plan: String,
}

/// Complete output of an attempt.
pub(super) struct Output {
    pub(super) input: Input,
    /// Plan as text, for people.
    pub(super) plan: String,
    pub(super) staging: Staging,
    pub(super) outcome: AttemptOutcome,
}

/// A prepared commit, which may have been made.
pub(super) struct Prepared {
    pub(super) commit: Commit,
    pub(super) result: RunResult,
}

/// Publication of a committed output, repeated until it succeeds.
#[derive(Default)]
pub(super) struct Publication {
    /// Commit of this process; `None` if another process made it, or the store's answer was lost.
    pub(super) commit: Option<Arc<Prepared>>,
    /// Number of consecutive checks that found a part of the output lost.
    pub(super) losses: u32,
    /// Number of failed publications.
    pub(super) failures: u32,
    /// Latest obstacle to the publication.
    pub(super) obstacle: Option<String>,
}

impl Attempt {
    /// Creates a new attempt at a manifest.
    pub(super) fn new(number: u32, span: Span, manifest: &Manifest) -> Self {
        let bytes = manifest.files.iter().filter_map(|file| file.size_bytes).fold(0, u64::saturating_add);
        Self { number, span, progress: Progress::new(bytes) }
    }

    /// Creates an attempt of an earlier process, of which only the commit is known.
    fn of_another() -> Self {
        Self { number: 0, span: Span::none(), progress: Progress::new(0) }
    }
}

impl ActiveRun {
    fn attempt(&self) -> Option<&Attempt> {
        match self {
            Self::Taken | Self::Loaded(..) => None,
            Self::Attempted(attempt, _) => Some(attempt),
        }
    }

    fn job(&self) -> Option<&JobId> {
        match self {
            Self::Attempted(_, Phase::Converting(_, submitted)) => Some(&submitted.job),
            _ => None,
        }
    }
}

/// Active runs, by manifest.
#[derive(Default)]
pub(super) struct RunRegistry(Mutex<HashMap<ManifestId, ActiveRun>>);

impl RunRegistry {
    fn all(&self) -> MutexGuard<'_, HashMap<ManifestId, ActiveRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the given attempt of a run to its next phase. `step` returns the phase, new or unchanged, and the data for
    /// the action; `None` if the run is not in the phase that the action requires.
    pub(super) fn advance<T>(
        &self,
        id: &ManifestId,
        attempt: u32,
        step: impl FnOnce(Phase) -> (Phase, Option<T>),
    ) -> Option<T> {
        let mut all = self.all();
        let Some(ActiveRun::Attempted(at, phase)) = all.get_mut(id) else { return None };
        if at.number != attempt {
            return None;
        }
        let (next, result) = step(std::mem::replace(phase, Phase::Failed));
        *phase = next;
        result
    }

    /// Adds a run for its next attempt. Returns its input, if that was loaded before.
    pub(super) fn take_up(&self, id: &ManifestId) -> Option<Input> {
        let mut all = self.all();
        let run = match all.remove(id) {
            Some(ActiveRun::Loaded(input, columns)) => ActiveRun::Loaded(input, columns),
            Some(ActiveRun::Attempted(_, Phase::Replanned(input, columns))) => ActiveRun::Loaded(input, Some(columns)),
            Some(ActiveRun::Taken | ActiveRun::Attempted(..)) | None => ActiveRun::Taken,
        };
        let input = match &run {
            ActiveRun::Loaded(input, _) => Some(input.clone()),
            _ => None,
        };
        all.insert(id.clone(), run);
        input
    }

    /// Stores the loaded input of a run.
    pub(super) fn loaded(&self, id: &ManifestId, input: Input) {
        self.all().insert(id.clone(), ActiveRun::Loaded(input, None));
    }

    /// Begins an attempt at a run.
    pub(super) fn started(&self, id: &ManifestId, attempt: Attempt, input: Input) {
        let mut all = self.all();
        let columns = match all.remove(id) {
            Some(ActiveRun::Loaded(_, columns)) => columns,
            _ => None,
        };
        let conversion = Conversion { input, columns, abort: CancellationToken::new() };
        all.insert(id.clone(), ActiveRun::Attempted(Box::new(attempt), Phase::Planning(conversion)));
    }

    /// Notes that an attempt ended without a commit.
    pub(super) fn failed(&self, id: &ManifestId, attempt: u32) {
        self.advance(id, attempt, |_| (Phase::Failed, Some(())));
    }

    /// Notes that the store accepted a commit.
    pub(super) fn committed(&self, id: &ManifestId, attempt: u32, commit: Arc<Prepared>) {
        let publication = Publication { commit: Some(commit), ..Publication::default() };
        self.advance(id, attempt, |_| (Phase::Publishing(publication), Some(())));
    }

    /// Moves a run to its publication. Returns its commit, if this process made it.
    pub(super) fn publish(&self, id: &ManifestId) -> Option<Arc<Prepared>> {
        let mut all = self.all();
        let (attempt, publication) = match all.remove(id) {
            Some(ActiveRun::Attempted(attempt, Phase::Publishing(publication))) => (attempt, publication),
            Some(ActiveRun::Attempted(attempt, _)) => (attempt, Publication::default()),
            Some(ActiveRun::Taken | ActiveRun::Loaded(..)) | None => {
                (Box::new(Attempt::of_another()), Publication::default())
            }
        };
        let commit = publication.commit.clone();
        all.insert(id.clone(), ActiveRun::Attempted(attempt, Phase::Publishing(publication)));
        commit
    }

    /// Commit of a run, if this process made it.
    pub(super) fn commit_of(&self, id: &ManifestId) -> Option<Arc<Prepared>> {
        self.publication(id, |publication| publication.commit.clone())?
    }

    /// Accesses the publication of a run, if the run is in that phase.
    pub(super) fn publication<T>(&self, id: &ManifestId, access: impl FnOnce(&mut Publication) -> T) -> Option<T> {
        match self.all().get_mut(id) {
            Some(ActiveRun::Attempted(_, Phase::Publishing(publication))) => Some(access(publication)),
            _ => None,
        }
    }

    /// Reads the phase of an attempt. `access` returns `None` for other phases.
    pub(super) fn phase<T>(
        &self,
        id: &ManifestId,
        attempt: u32,
        access: impl FnOnce(&Phase) -> Option<T>,
    ) -> Option<T> {
        match self.all().get(id) {
            Some(ActiveRun::Attempted(at, phase)) if at.number == attempt => access(phase),
            _ => None,
        }
    }

    /// Reads the newest attempt at a run.
    pub(super) fn attempt<T>(&self, id: &ManifestId, access: impl FnOnce(&Attempt) -> T) -> Option<T> {
        self.all().get(id).and_then(ActiveRun::attempt).map(access)
    }

    /// Updates the progress of the newest attempt.
    pub(super) fn note(&self, id: &ManifestId, note: impl FnOnce(&mut Progress)) {
        if let Some(ActiveRun::Attempted(attempt, _)) = self.all().get_mut(id) {
            note(&mut attempt.progress);
        }
    }

    /// Notes that the newest attempt starts a step.
    pub(super) fn step(&self, id: &ManifestId, step: Step) {
        self.note(id, |progress| progress.begin(step));
    }

    /// Updates the progress of a job, if it still belongs to the run.
    pub(super) fn note_job(&self, id: &ManifestId, job: &JobId, note: impl FnOnce(&mut Progress)) {
        let mut all = self.all();
        if let Some(ActiveRun::Attempted(attempt, Phase::Converting(_, submitted))) = all.get_mut(id)
            && submitted.job == *job
        {
            note(&mut attempt.progress);
        }
    }

    /// Runs that have a job.
    pub(super) fn jobs(&self) -> Vec<(ManifestId, JobId)> {
        self.all().iter().filter_map(|(id, run)| Some((id.clone(), run.job()?.clone()))).collect()
    }

    /// Job of a run, if it has one.
    pub(super) fn job(&self, id: &ManifestId) -> Option<JobId> {
        self.all().get(id).and_then(ActiveRun::job).cloned()
    }

    /// Tracing span of the newest attempt at a run.
    pub(super) fn span(&self, id: &ManifestId) -> Span {
        self.attempt(id, |attempt| attempt.span.clone()).unwrap_or_else(Span::none)
    }

    /// Latest obstacle to the publication of a run.
    pub(super) fn obstacle(&self, id: &ManifestId) -> Option<String> {
        self.publication(id, |publication| publication.obstacle.clone())?
    }

    /// Tells whether a run is active.
    pub(super) fn has(&self, id: &ManifestId) -> bool {
        self.all().contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Aborts the conversion of an attempt, if it is in progress.
    pub(super) fn abort(&self, id: &ManifestId, attempt: u32) {
        if let Some(ActiveRun::Attempted(at, phase)) = self.all().get(id)
            && at.number == attempt
            && let Phase::Planning(conversion) | Phase::Converting(conversion, _) = phase
        {
            conversion.abort.cancel();
        }
    }

    pub(super) fn remove(&self, id: &ManifestId) {
        self.all().remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::DateTime;

    fn input() -> Input {
        let manifest = Manifest {
            id: "2025-12-23-0001-a".parse().unwrap(),
            date: "2025-12-23".parse().unwrap(),
            created_at: DateTime::UNIX_EPOCH,
            files: Vec::new(),
            traceparents: Vec::new(),
        };
        Input { manifest: Arc::new(manifest), generation: 1 }
    }

    fn start(runs: &RunRegistry, number: u32) -> ManifestId {
        let input = input();
        let id = input.manifest.id.clone();
        runs.started(&id, Attempt::new(number, Span::none(), &input.manifest), input);
        id
    }

    #[test]
    fn an_attempt_finds_nothing_of_the_next() {
        let runs = RunRegistry::default();
        let id = start(&runs, 2);
        let is_planning = |attempt| runs.phase(&id, attempt, |phase| matches!(phase, Phase::Planning(_)).then_some(()));
        assert_eq!(runs.advance(&id, 1, |_| (Phase::Failed, Some(()))), None);
        runs.failed(&id, 1);
        assert_eq!((is_planning(1), is_planning(2)), (None, Some(())));
    }

    #[test]
    fn the_input_is_kept_until_an_attempt_begins() {
        let runs = RunRegistry::default();
        let id = input().manifest.id.clone();
        assert!(runs.take_up(&id).is_none() && runs.take_up(&id).is_none());
        runs.loaded(&id, input());
        assert!(runs.take_up(&id).is_some() && runs.take_up(&id).is_some());
        start(&runs, 1);
        runs.failed(&id, 1);
        assert!(runs.take_up(&id).is_none(), "what an attempt had went with it");
    }

    #[test]
    fn a_publication_needs_nothing_of_an_attempt_here() {
        let runs = RunRegistry::default();
        let id = input().manifest.id.clone();
        assert!(runs.publish(&id).is_none());
        runs.publication(&id, |publication| publication.failures += 1);
        assert!(runs.publish(&id).is_none());
        assert_eq!(runs.publication(&id, |publication| publication.failures), Some(1), "it goes on");
        assert_eq!(runs.attempt(&id, |attempt| attempt.number), Some(0));
    }
}
