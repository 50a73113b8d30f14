//! Turns of lanes: how many work at once in an executor, and which goes next.
//!
//! Tasks share the turns, a morsel each. One that has taken far longer than its input lets expect, as a small archive does that holds
//! gigabytes, gives its turn up in the middle of a morsel to a lane that waits and has not: so it keeps nobody waiting but its like.

use millwork_ndjson::Pace;
use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::oneshot;
use tokio::task::block_in_place;

/// Time of lanes that any task may take.
const FREE: Duration = Duration::from_millis(100);
/// Time that a task may take beyond that, in nanoseconds for each stored byte: 20 MB/s, a tenth of what most lanes do.
const NANOS_A_BYTE: u64 = 50;
/// Limit of lanes that wait in the middle of a morsel, each with what it has of it in memory.
const MAX_PAUSED: usize = 8;
/// Time after which such a lane goes before all others, so that it comes to its end, too.
const MAX_PAUSE: Duration = Duration::from_secs(2);
/// Time that it has then before it may have to wait again.
const SLICE: Duration = Duration::from_millis(100);

/// The turns of an executor.
#[derive(Debug)]
pub(crate) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Lanes that wait, the first first.
    waiting: VecDeque<oneshot::Sender<Granted>>,
    /// Lanes of tasks that have taken too long, with the time from which each has waited.
    late: VecDeque<(Instant, oneshot::Sender<Granted>)>,
    paused: usize,
    /// Nobody gets a turn any more, and nobody waits for one in the middle of a morsel.
    is_closed: bool,
}

/// Holds one of the turns, which is free again when this is dropped.
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
    /// Makes turns, of which nobody has one yet; `free` is how many lanes may have one at once.
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

    /// Gives the turns that are free to those that are to go next.
    fn grant(self: &Arc<Self>) {
        let mut state = self.state();
        while state.free > 0 {
            let first = if state.is_overdue() { None } else { state.waiting.pop_front() };
            let Some(next) = first.or_else(|| state.late.pop_front().map(|(_, next)| next)) else { return };
            match next.send(Granted(Some(self.clone()))) {
                Ok(()) => state.free -= 1,
                // A lane that waits no more.
                Err(mut refused) => drop(refused.0.take()),
            }
        }
    }

    /// Ends the waiting of all lanes, for good. To be called before their threads are told to end: a thread that waits then
    /// for a lane whose thread is gone would wait for ever, and its turn would be lost.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closed = true;
        let waiting = (mem::take(&mut state.waiting), mem::take(&mut state.late));
        // Dropped when the lock is free, since lanes that have been granted a turn give it back.
        drop(state);
        drop(waiting);
    }

    /// Puts a lane at the end of those that wait. False if nobody is to wait any more.
    fn queue(&self, sender: oneshot::Sender<Granted>, is_late: bool) -> bool {
        let mut state = self.state();
        match (state.is_closed, is_late) {
            (true, _) => return false,
            (false, true) => state.late.push_back((Instant::now(), sender)),
            (false, false) => state.waiting.push_back(sender),
        }
        true
    }

    /// Tells whether a lane waits whose task has not taken too long.
    fn is_wanted(&self) -> bool {
        let mut state = self.state();
        state.waiting.retain(|waiting| !waiting.is_closed());
        !state.waiting.is_empty()
    }

    /// Tells whether a lane is to give its turn up after a morsel.
    pub(crate) fn has_next(&self) -> bool {
        self.is_wanted() || self.state().is_overdue()
    }
}

/// Time that the lanes of a task have taken, and may take.
#[derive(Debug)]
pub(crate) struct Allowance {
    turns: Arc<Turns>,
    allowed: Duration,
    used: Mutex<Used>,
}

#[derive(Debug)]
struct Used {
    /// Lanes that have a turn, and since when there are so many.
    lanes: u32,
    since: Instant,
    time: Duration,
    /// Time until which its lanes keep their turns.
    slice_until: Option<Instant>,
}

/// A turn of a task's lane.
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
    /// The allowance of a task by the stored bytes of its input.
    pub(crate) fn of(bytes: u64, turns: Arc<Turns>) -> Arc<Self> {
        let used = Used { lanes: 0, since: Instant::now(), time: Duration::ZERO, slice_until: None };
        let allowed = FREE + Duration::from_nanos(bytes.saturating_mul(NANOS_A_BYTE));
        Arc::new(Self { turns, allowed, used: Mutex::new(used) })
    }

    /// Waits for a turn, which is given back when it is dropped. Waits for ever once the turns are closed: the lane is about to be
    /// dropped, and must not take what it has for the whole.
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

    /// Lets another lane have the turn of this one, and waits for the next.
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
        // An error if the turns are closed: then nobody counts them.
        let granted = block_in_place(|| runtime.block_on(granted));
        self.turns.state().paused -= 1;
        self.count(|used| (used.lanes, used.slice_until) = (used.lanes + 1, Some(used.since + SLICE)));
        // Kept by the lane, which has had one before.
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
        // Threads that have no others beside them cannot wait.
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
        // Waits, and is given up while it waits; another is given up when it has the turn, and has not taken it.
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
        // The one that waits for this has the only turn in the middle of the other's morsel.
        let good = Allowance::of(1 << 30, turns.clone());
        let passed = good.turn().await;
        assert_eq!((turns.state().paused, bomb.count(|used| used.lanes)), (1, 0));
        is_done.store(true, Ordering::Relaxed);
        drop(passed);
        lane.await.unwrap();
        assert_eq!((free(&turns), turns.state().paused), (1, 0));
    }

    /// A lane comes to pause when its runtime is being shut down, whose only thread it has: the one that it let pass never runs.
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
