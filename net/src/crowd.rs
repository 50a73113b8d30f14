//! Places of strangers, none of whom can keep the others out.
//!
//! A newcomer always gets a place. If none is free, another loses its own: of the network that has the most places, the
//! one that has been quiet for longest. Many places from few networks therefore mostly cost each other, and whoever has
//! a single place loses it last.

use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;
use tokio_util::sync::CancellationToken;

/// Address by which limits are counted: in IPv6 the /64 network, since a client usually has all of its addresses.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// A place that can be taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) number: u64,
    pub(crate) network: IpAddr,
    /// Time since which it has been quiet.
    pub(crate) since: Instant,
}

/// Number of the place that is taken away for a newcomer; `None` if there is none.
pub(crate) fn to_go(candidates: impl Iterator<Item = Candidate>) -> Option<u64> {
    let mut of_network: HashMap<IpAddr, (usize, Candidate)> = HashMap::new();
    for candidate in candidates {
        let (count, oldest) = of_network.entry(candidate.network).or_insert((0, candidate));
        *count += 1;
        if candidate.since < oldest.since {
            *oldest = candidate;
        }
    }
    let most = |one: &(usize, Candidate), other: &(usize, Candidate)| {
        one.0.cmp(&other.0).then_with(|| other.1.since.cmp(&one.1.since))
    };
    of_network.into_values().max_by(most).map(|(_, oldest)| oldest.number)
}

/// Places, limited in all and per network. Clones share them.
#[derive(Clone, Debug)]
pub struct Crowd {
    in_all: usize,
    of_one: usize,
    members: Arc<Mutex<Members>>,
}

#[derive(Debug, Default)]
struct Members {
    next: u64,
    by_number: BTreeMap<u64, Member>,
}

#[derive(Debug)]
struct Member {
    network: IpAddr,
    since: Instant,
    ended: CancellationToken,
}

impl Crowd {
    /// Creates `in_all` free places, of which one network may have `of_one`.
    pub fn new(in_all: usize, of_one: usize) -> Self {
        Self { in_all: in_all.max(1), of_one: of_one.max(1), members: Arc::default() }
    }

    /// Takes a place for an address, if necessary from another. Also tells whether that was necessary.
    pub fn enter(&self, address: IpAddr) -> (Place, bool) {
        let network = network(address);
        let mut members = self.lock();
        let of_one = members.by_number.values().filter(|member| member.network == network).count();
        let is_crowded = of_one >= self.of_one;
        let is_full = members.by_number.len() >= self.in_all;
        if is_crowded || is_full {
            members.end_one(is_crowded.then_some(network));
        }
        let (number, ended) = (members.next, CancellationToken::new());
        members.next += 1;
        members.by_number.insert(number, Member { network, since: Instant::now(), ended: ended.clone() });
        (Place { of: self.clone(), number, ended }, is_crowded || is_full)
    }

    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Members {
    /// Takes away a place, of this network if one is given.
    fn end_one(&mut self, network: Option<IpAddr>) {
        let of_network = |member: &Member| network.is_none_or(|network| member.network == network);
        let candidates = self.by_number.iter().filter(|(_, member)| of_network(member));
        let candidate = |(number, member): (&u64, &Member)| Candidate {
            number: *number,
            network: member.network,
            since: member.since,
        };
        if let Some(member) = to_go(candidates.map(candidate)).and_then(|number| self.by_number.remove(&number)) {
            member.ended.cancel();
        }
    }
}

/// A place in use, free again when dropped.
#[derive(Debug)]
pub struct Place {
    of: Crowd,
    number: u64,
    ended: CancellationToken,
}

impl Place {
    /// Cancelled when the place is taken away.
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Notes that it has been used, and is quiet only from now on.
    pub fn note_use(&self) {
        if let Some(member) = self.of.lock().by_number.get_mut(&self.number) {
            member.since = Instant::now();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.of.lock().by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }

    fn enter(crowd: &Crowd, last: u8) -> Place {
        crowd.enter([127, 0, 0, last].into()).0
    }

    #[test]
    fn many_of_one_network_make_room_for_each_other_and_for_newcomers() {
        let crowd = Crowd::new(6, 4);
        let mut mine: Vec<Place> = (0..9).map(|_| enter(&crowd, 1)).collect();
        assert_eq!(mine.iter().filter(|place| !place.ended().is_cancelled()).count(), 4);
        let single = enter(&crowd, 2);
        let others: Vec<Place> = (3..6).map(|last| enter(&crowd, last)).collect();
        assert_eq!(mine.iter().filter(|place| !place.ended().is_cancelled()).count(), 2);
        assert!(!single.ended().is_cancelled() && others.iter().all(|place| !place.ended().is_cancelled()));
        mine.clear();
        drop((single, others));
        assert!(crowd.lock().by_number.is_empty(), "nobody is remembered");
    }

    #[test]
    fn among_equals_the_longest_quiet_goes() {
        let crowd = Crowd::new(3, 3);
        let [first, second, third] = [1, 2, 3].map(|last| enter(&crowd, last));
        first.note_use();
        let (fourth, was_full) = crowd.enter([127, 0, 0, 4].into());
        assert!(was_full && second.ended().is_cancelled());
        assert!([first, third, fourth].iter().all(|place| !place.ended().is_cancelled()));
    }
}
