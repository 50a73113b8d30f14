//! The state machine of all runs.

mod attempt;
mod refusal;

use super::active::{Active, Activity};
use super::pauses;
use super::words::{Action, Event, Seen};
use chrono::{DateTime, Duration, Utc};
use millwork_manifest::{Failure, FailureClass, ManifestId, RunState};
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// Interval of reading the queue when no event announces new entries.
const LOOK_FOR_DUE: Duration = Duration::seconds(2);
/// Interval of reading the store's active runs, to find those of a dead scheduler, and cancellations that another
/// process recorded.
const LOOK_FOR_OPEN: Duration = Duration::seconds(5);
/// Least number of queue entries that are read at once.
const MIN_LOOK: usize = 32;

/// Limits of runs and their attempts.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Limit of concurrent runs.
    pub max_concurrent_runs: usize,
    /// Limit of the retries of a run after transient failures.
    pub max_retries: u32,
    /// Time limit of an attempt's conversion.
    pub run_timeout: Duration,
    /// Limit of consecutive attempts that ended without a report, because the scheduler died: a manifest that crashes
    /// the scheduler must not be retried for ever.
    pub max_silent_attempts: u32,
}

impl Limits {
    /// Limit of the retries after failures of this class. The loss of an executor is usually not the run's fault, but a
    /// file that crashes executors must not be retried for ever.
    fn retries_after(&self, class: FailureClass) -> u32 {
        match class {
            FailureClass::LostExecutor => self.max_retries.saturating_mul(5),
            class if class.can_pass() => self.max_retries,
            _ => 0,
        }
    }
}

/// State machine of all runs of this process, from when it becomes the leader until it ends.
#[derive(Debug)]
pub struct Machine {
    limits: Limits,
    stops: bool,
    runs: BTreeMap<ManifestId, Active>,
    /// Beginning of the queue, as last read.
    ready: VecDeque<Seen>,
    /// True if the queue may have more entries than were read.
    has_more: bool,
    look_for_due: Look,
    look_for_open: Look,
    /// Runs that were settled since [`Action::LookForOpen`] was requested, whose answer may show their former state.
    settled: BTreeSet<ManifestId>,
}

/// Time of the next read; `None` while a read is in progress.
type Look = Option<DateTime<Utc>>;

impl Machine {
    /// Creates a machine that begins by reading the store.
    pub fn new(limits: Limits) -> Self {
        let at_once = Some(DateTime::UNIX_EPOCH);
        Self {
            limits,
            stops: false,
            runs: BTreeMap::new(),
            ready: VecDeque::new(),
            has_more: false,
            look_for_due: at_once,
            look_for_open: at_once,
            settled: BTreeSet::new(),
        }
    }

    /// Tells whether no run is in progress.
    pub fn is_idle(&self) -> bool {
        self.runs.is_empty()
    }

    /// Tells whether a run is in progress.
    pub fn has(&self, id: &ManifestId) -> bool {
        self.runs.contains_key(id)
    }

    /// Number of attempts that are being converted.
    pub fn converting(&self) -> usize {
        self.runs.values().filter(|run| run.activity == Activity::Converting).count()
    }

    /// Latest time at which [`Event::Tick`] is due.
    pub fn wakes_at(&self) -> Option<DateTime<Utc>> {
        let runs =
            self.runs.values().flat_map(|run| run.deadline.into_iter().chain(run.again.as_ref().map(|(at, _)| *at)));
        // Without capacity for another run, the queue need not be read.
        let look_for_due = self.look_for_due.filter(|_| self.free_turns() > 0);
        let looks = [look_for_due, self.look_for_open].into_iter().flatten().filter(|_| !self.stops);
        runs.chain(looks).min()
    }

    /// Moves all times of the machine, after the clock was set: what was due in two seconds still is.
    pub fn shift(&mut self, by: Duration) {
        let moved = |at: &mut DateTime<Utc>| *at = at.checked_add_signed(by).unwrap_or(*at);
        for run in self.runs.values_mut() {
            run.deadline.iter_mut().for_each(moved);
            run.again.iter_mut().for_each(|(at, _)| moved(at));
        }
        [&mut self.look_for_due, &mut self.look_for_open].into_iter().flatten().for_each(moved);
    }

    /// Handles an event, and returns the actions to carry out.
    pub fn step(&mut self, event: Event, now: DateTime<Utc>) -> Vec<Action> {
        let mut actions = Vec::new();
        self.handle(event, now, &mut actions);
        self.ask_again(now, &mut actions);
        self.time_out(now, &mut actions);
        self.admit(now, &mut actions);
        actions
    }

    fn handle(&mut self, event: Event, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => {}
            Event::Stop => self.stop(actions),
            Event::Queued { is_urgent } => self.queued(is_urgent, now),
            Event::Due(seen) => self.found_due(seen, now),
            Event::Open(seen) => self.found_open(&seen, now, actions),
            Event::LookFailed => self.look_failed(now),
            Event::Cancel(id) => self.cancel(&id, actions),
            Event::Started(id, attempt) => self.started(id, attempt, now, actions),
            Event::Planned(id, attempt) => self.planned(id, attempt, actions),
            Event::Converted(id, attempt) => self.converted(id, attempt, actions),
            Event::NeedsReplan(id, attempt) => self.needs_replan(id, attempt, actions),
            Event::AttemptFailed(id, attempt, failure) => self.attempt_failed(id, attempt, failure, actions),
            Event::Committed(id, attempt) => self.committed(&id, attempt, actions),
            Event::Published(id) => self.published(&id, actions),
            Event::PublishFailed(id, _) => self.again(&id, now, pauses::before_publishing_again),
            Event::Lost(id, failure) => self.lost(&id, failure, now, actions),
            Event::Discarded(id, attempt) => self.discarded(id, attempt, now, actions),
            Event::Settled(id) => self.forget_settled(id, actions),
            Event::Refused(id, failure) => self.refused(id, failure, now, actions),
            Event::Unanswered(id) => self.again(&id, now, pauses::before_asking_again),
            Event::Found(id, seen) => self.found(id, seen, actions),
        }
    }

    // Looks.

    fn queued(&mut self, is_urgent: bool, now: DateTime<Utc>) {
        if is_urgent {
            self.ready.clear();
        }
        self.look_soon(now);
    }

    fn found_due(&mut self, seen: Vec<Seen>, now: DateTime<Utc>) {
        self.has_more |= seen.len() >= self.look_limit();
        self.look_for_due = Some(now + LOOK_FOR_DUE);
        self.ready = seen.into();
    }

    fn found_open(&mut self, seen: &[Seen], now: DateTime<Utc>, actions: &mut Vec<Action>) {
        self.look_for_open = Some(now + LOOK_FOR_OPEN);
        let settled = std::mem::take(&mut self.settled);
        if !self.stops {
            let open = seen.iter().filter(|seen| !settled.contains(&seen.id));
            open.for_each(|seen| self.adopt(seen, actions));
        }
    }

    fn look_failed(&mut self, now: DateTime<Utc>) {
        let soon = Some(now + Duration::seconds(1));
        self.look_for_due = self.look_for_due.or(soon);
        self.look_for_open = self.look_for_open.or(soon);
    }

    // Admission of queued runs.

    fn admit(&mut self, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        if self.stops {
            return;
        }
        // While the limit is reached, the queue is read again only once a run ends, in case more urgent ones have come
        // first.
        let had_turn = self.free_turns() > 0;
        while self.free_turns() > 0 {
            let Some(seen) = self.ready.pop_front() else { break };
            if !self.runs.contains_key(&seen.id) {
                self.begin(&seen, actions);
            }
        }
        if self.free_turns() > 0 && self.ready.is_empty() && std::mem::take(&mut self.has_more) {
            self.look_soon(now);
        }
        if had_turn && self.look_for_due.is_some_and(|at| at <= now) {
            self.look_for_due = None;
            actions.push(Action::LookForDue(self.look_limit()));
        }
        if self.look_for_open.is_some_and(|at| at <= now) {
            self.look_for_open = None;
            self.settled.clear();
            actions.push(Action::LookForOpen);
        }
    }

    fn look_soon(&mut self, now: DateTime<Utc>) {
        match &mut self.look_for_due {
            Some(at) => *at = now.min(*at),
            // A read in progress may have missed the new entry.
            None => self.has_more = true,
        }
    }

    fn look_limit(&self) -> usize {
        self.limits.max_concurrent_runs.max(MIN_LOOK)
    }

    fn free_turns(&self) -> usize {
        self.limits.max_concurrent_runs.saturating_sub(self.runs.values().filter(|run| run.has_turn()).count())
    }

    fn begin(&mut self, seen: &Seen, actions: &mut Vec<Action>) {
        let id = &seen.id;
        self.runs.insert(id.clone(), Active::new(seen, Activity::Starting));
        let silent = seen.silent_attempts;
        if silent >= self.limits.max_silent_attempts && seen.state != RunState::Queued {
            let message =
                format!("its last {silent} attempts ended without a word: the scheduler died, or was stopped, in each");
            let failure = Failure::new(FailureClass::Bug, message);
            self.ask(id, Activity::Ending, Action::Fail(id.clone(), seen.attempts, failure), actions);
        } else {
            self.ask(id, Activity::Starting, Action::Start(id.clone()), actions);
        }
    }

    /// Takes over a run that an earlier scheduler left.
    fn adopt(&mut self, seen: &Seen, actions: &mut Vec<Action>) {
        let id = &seen.id;
        if self.runs.contains_key(id) {
            if seen.cancel_requested {
                self.cancel(id, actions);
            }
            return;
        }
        match seen.state {
            RunState::Committing => {
                self.runs.insert(id.clone(), Active::new(seen, Activity::Publishing));
                self.ask(id, Activity::Publishing, Action::Publish(id.clone()), actions);
            }
            RunState::Planning | RunState::Running if seen.cancel_requested => {
                self.runs.insert(id.clone(), Active::new(seen, Activity::Discarding(None)));
                self.discard(id, Some(cancelled()), actions);
            }
            RunState::Planning | RunState::Running => self.begin(seen, actions),
            _ => {}
        }
    }

    // Shutdown.

    fn stop(&mut self, actions: &mut Vec<Action>) {
        self.stops = true;
        self.ready.clear();
        for (id, run) in &mut self.runs {
            if run.activity == Activity::Converting {
                run.activity = Activity::Aborting(None);
                run.deadline = None;
                actions.push(Action::Abort(id.clone(), run.attempt));
            }
        }
        // Runs that only wait for a repeated request are left to the next scheduler.
        let waiting = self.runs.iter().filter(|(_, run)| run.again.is_some());
        let waiting: Vec<ManifestId> = waiting.map(|(id, _)| id.clone()).collect();
        waiting.into_iter().for_each(|id| self.forget(id, actions));
    }

    fn forget(&mut self, id: ManifestId, actions: &mut Vec<Action>) {
        self.runs.remove(&id);
        self.settled.insert(id.clone());
        actions.push(Action::Forget(id));
    }

    fn discard(&mut self, id: &ManifestId, reason: Option<Failure>, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get(id) else { return };
        let attempt = run.attempt;
        self.ask(id, Activity::Discarding(reason), Action::Discard(id.clone(), attempt), actions);
    }

    // Requests to the shell.

    fn ask(&mut self, id: &ManifestId, activity: Activity, action: Action, actions: &mut Vec<Action>) {
        let Some(run) = self.runs.get_mut(id) else { return };
        if activity != Activity::Converting {
            run.deadline = None;
        }
        run.activity = activity;
        run.tries = 0;
        run.again = None;
        run.asked = Some(action.clone());
        actions.push(action);
    }

    /// Repeats the last action after a pause.
    fn again(&mut self, id: &ManifestId, now: DateTime<Utc>, pause: fn(u32) -> Duration) {
        if self.stops {
            // The process is stopping; the next scheduler continues.
            self.runs.remove(id);
            return;
        }
        let Some(run) = self.runs.get_mut(id) else { return };
        if let Some(action) = run.asked.clone() {
            run.again = Some((now + pause(run.tries), action));
            run.tries += 1;
        }
    }

    fn ask_again(&mut self, now: DateTime<Utc>, actions: &mut Vec<Action>) {
        for run in self.runs.values_mut() {
            if let Some((_, action)) = run.again.take_if(|(at, _)| *at <= now) {
                actions.push(action);
            }
        }
    }

    fn activity(&self, id: &ManifestId) -> Option<&Activity> {
        self.runs.get(id).map(|run| &run.activity)
    }

    /// The activity of a run, if this is its attempt.
    fn at(&self, id: &ManifestId, attempt: u32) -> Option<&Activity> {
        self.runs.get(id).filter(|run| run.attempt == attempt).map(|run| &run.activity)
    }

    fn is_at(&self, id: &ManifestId, attempt: u32, is: impl Fn(&Activity) -> bool) -> bool {
        self.at(id, attempt).is_some_and(is)
    }
}

fn cancelled() -> Failure {
    Failure::new(FailureClass::Cancelled, "cancelled by request")
}
