//! Connections of a server, with their phases.

use super::limits::ConnectionLimits;
use crate::crowd::{Candidate, network, to_go};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Time limit of a new connection for its first request, including its TLS handshake; bounds the cost of silent ones.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// Time limit between two requests of a connection, until the header of the second is complete.
const NEXT_REQUEST: Duration = Duration::from_secs(60);
/// Time limit of a request, from its header to the last byte of its response. Handlers have shorter limits: this one
/// ends connections of clients that do not read their response.
const ONE_REQUEST: Duration = Duration::from_secs(120);

/// Time limit for the last bytes of a finished stream, for clients that do not read.
const LAST_BYTES: Duration = Duration::from_secs(5);

/// Phase of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// No request has been received yet.
    Silent,
    /// Between two requests.
    Idle,
    /// In a request.
    Busy,
    /// Sending an endless response.
    Endless,
    /// Sending the rest of an endless response that was ended.
    Over,
}

impl Phase {
    fn time(self) -> Option<Duration> {
        match self {
            Self::Silent => Some(FIRST_REQUEST),
            Self::Idle => Some(NEXT_REQUEST),
            Self::Busy => Some(ONE_REQUEST),
            Self::Endless => None,
            Self::Over => Some(LAST_BYTES),
        }
    }

    /// Tells whether the connection can be closed without loss.
    fn can_go(self) -> bool {
        matches!(self, Self::Silent | Self::Idle)
    }
}

/// All connections of a server.
#[derive(Debug)]
pub(super) struct Connections {
    limits: ConnectionLimits,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    next: u64,
    connections: HashMap<u64, Connection>,
    by_network: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Connection {
    network: IpAddr,
    phase: Phase,
    since: Instant,
    ends: Ends,
    /// Cancelled when its endless response ends.
    over: Option<CancellationToken>,
}

/// Two ways of ending a connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends {
    /// As soon as it has no request in progress.
    pub(super) soon: CancellationToken,
    /// Immediately.
    pub(super) now: CancellationToken,
}

impl Connections {
    pub(super) fn new(limits: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self { limits, known: Mutex::default() })
    }

    /// Makes room for a new connection, if necessary by ending one without a request. `None` if there is none: the new
    /// one is then to be closed. Also tells whether another had to be ended.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> (Option<Ticket>, bool) {
        let network = network(address);
        let mut known = self.lock();
        let of_one = known.by_network.get(&network).copied().unwrap_or_default();
        let is_full = known.connections.len() >= self.limits.in_all;
        let is_crowded = of_one >= self.limits.of_one;
        let has_room = match (is_crowded, is_full) {
            (true, _) => known.end_one(Some(network)),
            (false, true) => known.end_one(None),
            (false, false) => true,
        };
        if !has_room {
            return (None, true);
        }
        let (number, ends) = (known.next, Ends::default());
        known.next += 1;
        let connection =
            Connection { network, phase: Phase::Silent, since: Instant::now(), ends: ends.clone(), over: None };
        known.connections.insert(number, connection);
        *known.by_network.entry(network).or_default() += 1;
        (Some(Ticket { of: self.clone(), number, is_busy: AtomicBool::new(false), ends }), is_full || is_crowded)
    }

    /// Ends a connection that can be closed, if there is one: the process has run out of descriptors.
    pub(super) fn make_room(&self) {
        self.lock().end_one(None);
    }

    /// Ends connections that have exceeded the time limit of their phase.
    pub(super) fn end_overdue(&self) {
        let now = Instant::now();
        for connection in self.lock().connections.values_mut() {
            let is_over = connection.over.as_ref().is_some_and(CancellationToken::is_cancelled);
            if connection.phase == Phase::Endless && is_over {
                (connection.phase, connection.since) = (Phase::Over, now);
            }
            let time = connection.phase.time();
            if time.is_some_and(|time| now.duration_since(connection.since) > time) {
                match connection.phase.can_go() {
                    true => connection.ends.soon.cancel(),
                    false => connection.ends.now.cancel(),
                }
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Ends a connection without a request, of this network if one is given, else of the one that has the most of them:
    /// the one that has been quiet for longest, whether it had a request before or not. A stranger who keeps idle
    /// connections could otherwise have all newcomers closed before their first request. Returns false if there is none.
    fn end_one(&mut self, network: Option<IpAddr>) -> bool {
        let of_network = |connection: &Connection| network.is_none_or(|network| connection.network == network);
        let can_go = self.connections.iter().filter(|(_, c)| c.phase.can_go() && of_network(c));
        let candidate =
            |(number, c): (&u64, &Connection)| Candidate { number: *number, network: c.network, since: c.since };
        let ended = to_go(can_go.map(candidate)).and_then(|number| self.remove(number));
        if let Some(connection) = &ended {
            connection.ends.soon.cancel();
        }
        ended.is_some()
    }

    fn remove(&mut self, number: u64) -> Option<Connection> {
        let connection = self.connections.remove(&number)?;
        match self.by_network.get_mut(&connection.network) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.by_network.remove(&connection.network)),
        }
        Some(connection)
    }
}

/// Entry of a connection, removed when dropped.
#[derive(Debug)]
pub(super) struct Ticket {
    of: Arc<Connections>,
    number: u64,
    /// True while a request is in progress. Can be true even after the connection was told to make room, in a race.
    is_busy: AtomicBool,
    pub(super) ends: Ends,
}

impl Ticket {
    /// Begins a request, which ends when the result is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InRequest {
        self.is_busy.store(true, Ordering::Relaxed);
        self.enter(Phase::Busy, None);
        InRequest(self.clone())
    }

    pub(super) fn is_busy(&self) -> bool {
        self.is_busy.load(Ordering::Relaxed)
    }

    fn enter(&self, phase: Phase, over: Option<CancellationToken>) {
        if let Some(connection) = self.of.lock().connections.get_mut(&self.number) {
            (connection.phase, connection.since, connection.over) = (phase, Instant::now(), over);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.of.lock().remove(self.number);
    }
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct InRequest(Arc<Ticket>);

impl InRequest {
    /// Marks the response as endless until this is cancelled.
    pub(super) fn set_endless(&self, over: CancellationToken) {
        self.0.enter(Phase::Endless, Some(over));
    }
}

impl Drop for InRequest {
    fn drop(&mut self) {
        self.0.is_busy.store(false, Ordering::Relaxed);
        self.0.enter(Phase::Idle, None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(connections: &Arc<Connections>, address: [u8; 4]) -> Option<Arc<Ticket>> {
        connections.admit(address.into()).0.map(Arc::new)
    }

    const A: [u8; 4] = [127, 0, 0, 1];
    const B: [u8; 4] = [127, 0, 0, 2];

    #[test]
    fn the_longest_silent_makes_room_and_requests_are_left_alone() {
        let connections = Connections::new(ConnectionLimits { in_all: 4, of_one: 3 });
        let first = admit(&connections, A).unwrap();
        let second = admit(&connections, A).unwrap();
        let third = admit(&connections, A).unwrap();
        let request = first.begin();
        let fourth = admit(&connections, A).unwrap();
        assert!(!first.ends.soon.is_cancelled() && second.ends.soon.is_cancelled(), "the first is in a request");
        assert!(!third.ends.soon.is_cancelled() && !fourth.ends.soon.is_cancelled());
        let requests = [third.begin(), fourth.begin()];
        assert!(admit(&connections, A).is_none(), "all are in requests");
        let other = admit(&connections, B).unwrap();
        assert!(admit(&connections, B).is_some() && other.ends.soon.is_cancelled(), "four in all");
        drop(request);
        assert!(admit(&connections, A).is_some() && first.ends.soon.is_cancelled(), "it is idle now");
        drop(requests);
    }

    #[test]
    fn idle_ones_of_many_do_not_keep_out_a_newcomer_that_is_still_silent() {
        let connections = Connections::new(ConnectionLimits { in_all: 6, of_one: 3 });
        let idle: Vec<_> = [A, A, A, B, B, B].map(|address| admit(&connections, address).unwrap()).into();
        idle.iter().for_each(|ticket| drop(ticket.begin()));
        let newcomer = admit(&connections, [127, 0, 0, 3]).unwrap();
        let flood: Vec<_> = [A, B, A, B, A, B, A, B].map(|address| admit(&connections, address).unwrap()).into();
        assert!(!newcomer.ends.soon.is_cancelled() && idle.iter().all(|ticket| ticket.ends.soon.is_cancelled()));
        drop(flood);
    }

    #[test]
    fn among_those_of_one_network_the_longest_quiet_goes() {
        let connections = Connections::new(ConnectionLimits { in_all: 2, of_one: 2 });
        let idle = admit(&connections, A).unwrap();
        let silent = admit(&connections, A).unwrap();
        drop(idle.begin());
        let _third = admit(&connections, A).unwrap();
        assert!(silent.ends.soon.is_cancelled() && !idle.ends.soon.is_cancelled());
    }

    #[test]
    fn an_answer_without_end_ends_when_it_is_over_though_nobody_reads() {
        let connections = Connections::new(ConnectionLimits { in_all: 2, of_one: 2 });
        let (ticket, over) = (admit(&connections, A).unwrap(), CancellationToken::new());
        let request = ticket.begin();
        request.set_endless(over.clone());
        let pass = |time| {
            let mut known = connections.lock();
            known.connections.values_mut().for_each(|connection| connection.since -= time);
            drop(known);
            connections.end_overdue();
            ticket.ends.now.is_cancelled()
        };
        assert!(!pass(ONE_REQUEST * 2), "it may take any time");
        over.cancel();
        assert!(!pass(Duration::ZERO) && !pass(LAST_BYTES / 2) && pass(LAST_BYTES));
    }

    #[test]
    fn one_that_begins_a_request_while_it_makes_room_may_end_it() {
        let connections = Connections::new(ConnectionLimits { in_all: 1, of_one: 1 });
        let first = admit(&connections, A).unwrap();
        let second = admit(&connections, A).unwrap();
        let request = first.begin();
        assert!(first.ends.soon.is_cancelled() && first.is_busy());
        drop((request, first, second));
        let known = connections.lock();
        assert!(known.connections.is_empty() && known.by_network.is_empty(), "nobody is remembered");
    }
}
