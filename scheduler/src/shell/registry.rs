//! Runs that this process works on: each is in one phase, and has what exists in that phase. All of it can be read or made anew.

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

/// A run that this process works on.
pub(super) enum ActiveRun {
    /// The run's manifest is being read.
    Taken,
    /// An attempt is being started, with the columns that the one before found out, if its plan did not know them.
    Loaded(Input, Option<KnownColumns>),
    /// An attempt is under way, or its output is being published.
    Attempted(Box<Attempt>, Phase),
}

/// Phase of an attempt, with all that the next action needs; no action finds what belongs to another phase.
pub(super) enum Phase {
    /// The input is surveyed and planned.
    Planning(Conversion),
    /// The plan is with the executors, or their reports are being checked.
    Converting(Conversion, Submitted),
    /// Columns turned up that the plan did not know, and that could not be added: another attempt is to be planned with them.
    Replanned(Input, KnownColumns),
    /// The output is complete, and private.
    Converted(Box<Output>),
    /// The commit is being made ready of what [`Self::Converted`] had.
    Preparing,
    /// The commit is ready; the store may have taken it, if it did not answer.
    Prepared(Arc<Prepared>),
    /// The run is committed, here or elsewhere.
    Publishing(Publication),
    /// The attempt came to nothing; its account is still to be written.
    Failed,
}

/// Parts of a run that do not change from one attempt to the next.
#[derive(Clone)]
pub(super) struct Input {
    pub(super) manifest: Arc<Manifest>,
    /// Number of the manifest's output, from 1.
    pub(super) generation: u32,
}

/// Survey of an input, and the columns that an attempt found in all of it.
pub(super) type KnownColumns = (Arc<Survey>, Columns);

/// An attempt that was started here.
pub(super) struct Attempt {
    /// Number of the attempt, from 1; 0 for one that was not started here.
    pub(super) number: u32,
    /// The attempt, in a trace and in the log.
    pub(super) span: Span,
    pub(super) progress: Progress,
}

/// Conversion that goes on.
#[derive(Clone)]
pub(super) struct Conversion {
    pub(super) input: Input,
    /// Columns that the attempt before found out.
    pub(super) columns: Option<KnownColumns>,
    /// Ends the conversion.
    pub(super) abort: CancellationToken,
}

/// Work that is with the executors.
pub(super) struct Submitted {
    /// The engine's job.
    pub(super) job: JobId,
    /// Text of the plan, for people.
    pub(super) plan: String,
}

/// Complete output of an attempt.
pub(super) struct Output {
    pub(super) input: Input,
    /// Text of the plan, for people.
    pub(super) plan: String,
    pub(super) staging: Staging,
    pub(super) outcome: AttemptOutcome,
}

/// A commit that is ready to be made, or was.
pub(super) struct Prepared {
    pub(super) commit: Commit,
    pub(super) result: RunResult,
}

/// Publication of a committed output, which is tried until it succeeds.
#[derive(Default)]
pub(super) struct Publication {
    /// Commit that the store took from this process; none if it took another's, or did not say so.
    pub(super) commit: Option<Arc<Prepared>>,
    /// Number of times in a row that something of the output was found to be lost.
    pub(super) losses: u32,
    /// Number of times that the publication failed.
    pub(super) failures: u32,
    /// Obstacle to the publication, as it was last found.
    pub(super) obstacle: Option<String>,
}

impl Attempt {
    /// An attempt at a manifest that has just been started.
    pub(super) fn new(number: u32, span: Span, manifest: &Manifest) -> Self {
        let bytes = manifest.files.iter().filter_map(|file| file.size_bytes).fold(0, u64::saturating_add);
        Self { number, span, progress: Progress::new(bytes) }
    }

    /// An attempt of a process before this one, of which only the commit is known.
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

/// Runs that this scheduler works on, by manifest.
#[derive(Default)]
pub(super) struct RunRegistry(Mutex<HashMap<ManifestId, ActiveRun>>);

impl RunRegistry {
    fn all(&self) -> MutexGuard<'_, HashMap<ManifestId, ActiveRun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves a run that is at this attempt to its next phase. `step` gives back the phase, the next one or as it is, and what the
    /// action needs; none if the run is not in the phase that the action begins with.
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

    /// Takes a run up for its next attempt. Returns its input, if that was read already.
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

    /// Notes that the input of a run is read.
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

    /// Notes that an attempt came to nothing.
    pub(super) fn failed(&self, id: &ManifestId, attempt: u32) {
        self.advance(id, attempt, |_| (Phase::Failed, Some(())));
    }

    /// Notes that the store took a commit.
    pub(super) fn committed(&self, id: &ManifestId, attempt: u32, commit: Arc<Prepared>) {
        let publication = Publication { commit: Some(commit), ..Publication::default() };
        self.advance(id, attempt, |_| (Phase::Publishing(publication), Some(())));
    }

    /// Comes to the publication of a run, and returns its commit, if the store took it from this process.
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

    /// The commit of a run, if the store took it from this process.
    pub(super) fn commit_of(&self, id: &ManifestId) -> Option<Arc<Prepared>> {
        self.publication(id, |publication| publication.commit.clone())?
    }

    /// Reads or changes the publication of a run, if the run has come to it.
    pub(super) fn publication<T>(&self, id: &ManifestId, access: impl FnOnce(&mut Publication) -> T) -> Option<T> {
        match self.all().get_mut(id) {
            Some(ActiveRun::Attempted(_, Phase::Publishing(publication))) => Some(access(publication)),
            _ => None,
        }
    }

    /// Reads the phase of an attempt. `access` returns none for a phase that is not asked for.
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

    /// Reads the newest attempt that was started at a run.
    pub(super) fn attempt<T>(&self, id: &ManifestId, access: impl FnOnce(&Attempt) -> T) -> Option<T> {
        self.all().get(id).and_then(ActiveRun::attempt).map(access)
    }

    /// Notes progress of the newest attempt.
    pub(super) fn note(&self, id: &ManifestId, note: impl FnOnce(&mut Progress)) {
        if let Some(ActiveRun::Attempted(attempt, _)) = self.all().get_mut(id) {
            note(&mut attempt.progress);
        }
    }

    /// Notes that the newest attempt comes to a step.
    pub(super) fn step(&self, id: &ManifestId, step: Step) {
        self.note(id, |progress| progress.begin(step));
    }

    /// Notes progress of a job, if it still is the run's.
    pub(super) fn note_job(&self, id: &ManifestId, job: &JobId, note: impl FnOnce(&mut Progress)) {
        let mut all = self.all();
        if let Some(ActiveRun::Attempted(attempt, Phase::Converting(_, submitted))) = all.get_mut(id)
            && submitted.job == *job
        {
            note(&mut attempt.progress);
        }
    }

    /// The runs that have a job.
    pub(super) fn jobs(&self) -> Vec<(ManifestId, JobId)> {
        self.all().iter().filter_map(|(id, run)| Some((id.clone(), run.job()?.clone()))).collect()
    }

    /// The job of a run, if it has one.
    pub(super) fn job(&self, id: &ManifestId) -> Option<JobId> {
        self.all().get(id).and_then(ActiveRun::job).cloned()
    }

    /// The newest attempt at a run, in a trace and in the log.
    pub(super) fn span(&self, id: &ManifestId) -> Span {
        self.attempt(id, |attempt| attempt.span.clone()).unwrap_or_else(Span::none)
    }

    /// Obstacle to the publication of a run, as it was last found.
    pub(super) fn obstacle(&self, id: &ManifestId) -> Option<String> {
        self.publication(id, |publication| publication.obstacle.clone())?
    }

    /// Tells whether a run has a turn.
    pub(super) fn has(&self, id: &ManifestId) -> bool {
        self.all().contains_key(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// Ends the conversion of an attempt, if it goes on.
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
