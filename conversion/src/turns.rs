//! Turns: permits that limit how many lanes of an executor work at once, and decide which goes next.
//!
//! The tasks of an executor share the turns; a turn lasts for a morsel. A task that has run far longer than its stored
//! bytes suggest, such as a decompression bomb, gives up its turns in the middle of a morsel to lanes of other
//! tasks, so that it delays only others like it.

use millwork_ndjson::Pace;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

/// Time that any task's lanes may use, whatever its input.
const FREE: Duration = Duration::from_millis(100);
/// Additional time that a task's lanes may use, in nanoseconds per stored byte: 20 MB/s, a tenth of the usual speed.
const NANOS_A_BYTE: u64 = 50;
/// Limit of lanes that are paused in the middle of a morsel, since each keeps its data in memory.
const MAX_PAUSED: usize = 8;
/// Waiting time after which a paused lane goes before all others, so that its task finishes, too.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Time that it may then run before it can be paused again.
const SLICE: Duration = Duration::from_millis(100);

/// The turns of an executor.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Waiting lanes of tasks within their allowance, oldest first.
    waiting: VecDeque<oneshot::Sender<Granted>>,
    /// Waiting lanes of tasks over their allowance, oldest first, each with the time since which it has waited.
    late: VecDeque<(Instant, oneshot::Sender<Granted>)>,
    paused: usize,
    /// Set once no more turns are granted, and no lane pauses in the middle of a morsel.
    is_closed: bool,
}

/// A granted turn, returned when this is dropped.
#[derive(Debug)]
struct Granted(Option<Arc<Turns>>);

impl Drop for Granted {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.release();
        }
    }
}

impl State {
    fn is_overdue(&self) -> bool {
        self.late.front().is_some_and(|(since, _)| since.elapsed() >= MAX_PAUSE)
    }
}

impl Turns {
    /// Creates the turns of an executor; `free` is the number of lanes that may work at once.
    pub(crate) fn new(free: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { free, ..State::default() })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn release(self: Arc<Self>) {
        self.state().free += 1;
        self.grant();
    }

    /// Grants the free turns to the next lanes.
    fn grant(self: &Arc<Self>) {
        let mut state = self.state();
        while state.free > 0 {
            let first = if state.is_overdue() { None } else { state.waiting.pop_front() };
            let Some(next) = first.or_else(|| state.late.pop_front().map(|(_, next)| next)) else { return };
            match next.send(Granted(Some(self.clone()))) {
                Ok(()) => state.free -= 1,
                // The lane has stopped waiting.
                Err(mut refused) => drop(refused.0.take()),
            }
        }
    }

    /// Ends the waiting of all lanes for good. Must be called before their threads are told to end: a thread that
    /// blocks for a lane whose thread has ended would wait for ever, and its turn would be lost.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = (mem::take(&mut state.waiting), mem::take(&mut state.late));
        // Dropped after the lock is released, since lanes that were granted a turn return it.
        drop(state);
        drop(waiting);
    }

    /// Queues a lane. Returns false if the turns are closed.
    fn queue(&self, sender: oneshot::Sender<Granted>, is_late: bool) -> bool {
        let mut state = self.state();
        match (state.is_closed, is_late) {
            (true, _) => return false,
            (false, true) => state.late.push_back((Instant::now(), sender)),
            (false, false) => state.waiting.push_back(sender),
        }
        true
    }

    /// Tells whether a lane of a task within its allowance is waiting.
    fn is_wanted(&self) -> bool {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.is_closed());
        !state.waiting.is_empty()
    }

    /// Tells whether a lane must give up its turn after its current morsel.
    pub(crate) fn has_next(&self) -> bool {
        self.is_wanted() || self.state().is_overdue()
    }
}

/// Running time that the lanes of a task have used, and the time they may use.
#[derive(Debug)]
pub(crate) struct Allowance {
    turns: Arc<Turns>,
    allowed: Duration,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    /// Number of lanes that have a turn, and the time since which it is unchanged.
    lanes: u32,
    since: Instant,
    time: Duration,
    /// Time until which its lanes cannot be paused again.
    slice_until: Option<Instant>,
}

/// A turn, held by a lane of a task.
#[derive(Debug)]
pub(crate) struct Turn {
    allowance: Arc<Allowance>,
    _granted: Granted,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.allowance.count(|used| used.lanes -= 1);
    }
}

impl Allowance {
    /// Allowance of a task by the stored bytes of its input.
    pub(crate) fn of(bytes: u64, turns: Arc<Turns>) -> Arc<Self> {
        let used = Used { lanes: 0, since: Instant::now(), time: Duration::ZERO, slice_until: None };
        let allowed = FREE + Duration::from_nanos(bytes.saturating_mul(NANOS_A_BYTE));
        Arc::new(Self { turns, allowed, used: Mutex::new(used) })
    }

    /// Waits for a turn, which is returned when dropped. Waits for ever once the turns are closed: the lane is about to
    /// be dropped, and must not mistake a partial input for the whole.
    pub(crate) async fn turn(self: Arc<Self>) -> Turn {
        let (sender, granted) = oneshot::channel();
        self.turns.queue(sender, self.is_over());
        self.turns.grant();
        let Ok(granted) = granted.await else { return std::future::pending().await };
        self.count(|used| used.lanes += 1);
        Turn { allowance: self, _granted: granted }
    }

    fn count<T>(&self, change: impl FnOnce(&mut Used) -> T) -> T {
        let used = &mut *self.used.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        used.time += (now - used.since) * used.lanes;
        used.since = now;
        change(used)
    }

    fn is_over(&self) -> bool {
        self.count(|used| used.time > self.allowed && used.slice_until.is_none_or(|until| until <= used.since))
    }

    /// Passes this lane's turn to another, and blocks until it gets one again.
    fn pause(&self, runtime: &Handle) {
        let (sender, granted) = oneshot::channel();
        {
            let mut state = self.turns.state();
            if state.paused >= MAX_PAUSED || state.is_closed {
                return;
            }
            state.paused += 1;
        }
        self.count(|used| used.lanes -= 1);
        self.turns.queue(sender, true);
        self.turns.clone().release();
        // An error means that the turns are closed; counts no longer matter then.
        let granted = block_in_place(|| runtime.block_on(granted));
        self.turns.state().paused -= 1;
        self.count(|used| (used.lanes, used.slice_until) = (used.lanes + 1, Some(used.since + SLICE)));
        // The turn is kept by the lane, which already has a guard for one.
        if let Ok(mut granted) = granted {
            drop(granted.0.take());
        }
    }
}

impl Pace for Allowance {
    fn keep(&self) {
        if !self.is_over() || !self.turns.is_wanted() {
            return;
        }
        // Blocking requires a multi-threaded runtime.
        let runtime = Handle::try_current().ok();
        if let Some(runtime) = runtime.filter(|runtime| runtime.runtime_flavor() == RuntimeFlavor::MultiThread) {
            self.pause(&runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn free(turns: &Turns) -> usize {
        turns.state().free
    }

    #[tokio::test]
    async fn a_turn_is_free_again_however_its_lane_ends() {
        let turns = Turns::new(1);
        let task = Allowance::of(1 << 30, turns.clone());
        let first = task.clone().turn().await;
        assert_eq!(free(&turns), 0);
        // The first lane is aborted while it waits; the second after it was granted a turn and before it took it.
        let waiting = tokio::spawn(task.clone().turn());
        tokio::task::yield_now().await;
        assert!(turns.is_wanted());
        waiting.abort();
        assert!(waiting.await.unwrap_err().is_cancelled() && !turns.is_wanted());
        let mut second = Box::pin(task.clone().turn());
        assert!(futures::poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second);
        assert_eq!(free(&turns), 1);
        assert_eq!(task.count(|used| used.lanes), 0);
    }

    #[tokio::test]
    async fn who_has_taken_too_long_goes_last() {
        let turns = Turns::new(1);
        let (small, large) = (Allowance::of(0, turns.clone()), Allowance::of(1 << 40, turns.clone()));
        let first = small.clone().turn().await;
        small.count(|used| used.time = 2 * FREE);
        let (mut late, mut next) = (Box::pin(small.clone().turn()), Box::pin(large.turn()));
        assert!(futures::poll!(late.as_mut()).is_pending() && futures::poll!(next.as_mut()).is_pending());
        drop(first);
        let turn = next.await;
        assert!(futures::poll!(late.as_mut()).is_pending());
        drop(turn);
        late.await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_task_that_takes_too_long_lets_others_pass_in_the_middle_of_a_morsel() {
        let turns = Turns::new(1);
        let bomb = Allowance::of(0, turns.clone());
        let turn = bomb.clone().turn().await;
        bomb.keep();
        assert_eq!(free(&turns), 0, "nobody waits");
        let is_done = Arc::new(AtomicBool::new(false));
        let (end, of_bomb) = (is_done.clone(), bomb.clone());
        let lane = tokio::spawn(async move {
            let _turn = turn;
            while !end.load(Ordering::Relaxed) {
                of_bomb.keep();
            }
        });
        // Granted although the bomb's lane holds the only turn: that lane pauses in the middle of its morsel.
        let good = Allowance::of(1 << 30, turns.clone());
        let passed = good.turn().await;
        assert_eq!((turns.state().paused, bomb.count(|used| used.lanes)), (1, 0));
        is_done.store(true, Ordering::Relaxed);
        drop(passed);
        lane.await.unwrap();
        assert_eq!((free(&turns), turns.state().paused), (1, 0));
    }

    /// A lane pauses while its runtime is shutting down and occupies the only thread: the lane that it yielded to never
    /// runs.
    #[test]
    fn nobody_waits_for_lanes_of_a_session_that_is_over() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let turns = Turns::new(1);
        let (bomb, good) = (Allowance::of(0, turns.clone()), Allowance::of(1 << 30, turns.clone()));
        let (is_shut_down, is_begun) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (ended, end) = std::sync::mpsc::channel();
        let (shut_down, begun, of_bomb) = (is_shut_down.clone(), is_begun.clone(), bomb.clone());
        runtime.spawn(async move {
            let _turn = of_bomb.clone().turn().await;
            begun.store(true, Ordering::Relaxed);
            while !shut_down.load(Ordering::Relaxed) {
                std::thread::yield_now();
            }
            of_bomb.count(|used| used.time = 2 * FREE);
            of_bomb.keep();
            of_bomb.keep();
            ended.send(()).unwrap();
        });
        while !is_begun.load(Ordering::Relaxed) {
            std::thread::yield_now();
        }
        let mut waiting = Box::pin(good.turn());
        assert!(runtime.block_on(async { futures::poll!(waiting.as_mut()) }).is_pending() && turns.is_wanted());
        runtime.spawn(waiting);
        turns.close();
        runtime.shutdown_background();
        is_shut_down.store(true, Ordering::Relaxed);
        end.recv_timeout(Duration::from_secs(60)).expect("the lane goes on");
        assert_eq!(turns.state().paused, 0);
    }
}
