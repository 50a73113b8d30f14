//! Rate limit for wrong tokens, by client address.

use millwork_net::network;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Limit of the wrong tokens per address within [`WINDOW`]: enough for mistakes, useless for a search.
const MAX_WRONG: u32 = 10;
/// Time after which the count of an address starts again.
const WINDOW: Duration = Duration::from_secs(60);
/// Limit of the addresses that are remembered, at about 60 bytes each; a further one replaces the one with the oldest
/// count.
const MAX_ADDRESSES: usize = 4096;

/// Wrong tokens of the last minute, by address.
#[derive(Debug, Default)]
pub(crate) struct WrongTries(Mutex<HashMap<IpAddr, Tries>>);

#[derive(Debug, Clone, Copy)]
struct Tries {
    since: Instant,
    wrong: u32,
}

impl WrongTries {
    /// Counts a wrong token. Returns the time for which the address is blocked, if it has sent too many.
    pub(crate) fn note(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let address = network(address);
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ADDRESSES && !known.contains_key(&address) {
            known.retain(|_, tries| now.duration_since(tries.since) < WINDOW);
            let oldest = known.iter().min_by_key(|(_, tries)| tries.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| known.len() >= MAX_ADDRESSES) {
                known.remove(&oldest);
            }
        }
        let tries = known.entry(address).or_insert(Tries { since: now, wrong: 0 });
        if now.duration_since(tries.since) >= WINDOW {
            *tries = Tries { since: now, wrong: 0 };
        }
        tries.wrong = tries.wrong.saturating_add(1);
        tries.to_wait(now)
    }

    /// Time for which an address is blocked, with `wrong` as the limit in place of `MAX_WRONG`.
    pub(crate) fn to_wait_after(&self, wrong: u32, address: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = known.get(&network(address)).filter(|tries| tries.wrong >= wrong)?;
        Some(WINDOW.saturating_sub(now.duration_since(tries.since))).filter(|left| !left.is_zero())
    }

    /// Time for which an address is blocked because it has sent too many wrong tokens.
    pub(crate) fn to_wait(&self, address: IpAddr, now: Instant) -> Option<Duration> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&network(address)).and_then(|tries| tries.to_wait(now))
    }
}

impl Tries {
    fn to_wait(self, now: Instant) -> Option<Duration> {
        let left = WINDOW.saturating_sub(now.duration_since(self.since));
        (self.wrong > MAX_WRONG && !left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const B: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));

    #[test]
    fn ten_wrong_tokens_a_minute_are_answered_and_no_more() {
        let (tries, start) = (WrongTries::default(), Instant::now());
        assert!((0..10).all(|_| tries.note(A, start).is_none()));
        assert_eq!(tries.to_wait(A, start), None);
        assert_eq!(tries.note(A, start + Duration::from_secs(20)), Some(Duration::from_secs(40)));
        assert!(tries.to_wait(A, start).is_some() && tries.note(B, start).is_none(), "others are not held up");
        assert_eq!(tries.to_wait(A, start + WINDOW), None);
        assert_eq!(tries.note(A, start + WINDOW), None, "it begins anew");
    }

    #[test]
    fn memory_is_bounded_however_many_addresses_there_are() {
        let (tries, start) = (WrongTries::default(), Instant::now());
        for n in 0..MAX_ADDRESSES as u32 + 100 {
            tries.note(IpAddr::V4((0x0a00_0000 + n).into()), start + Duration::from_micros(n.into()));
        }
        let known = tries.0.lock().unwrap();
        assert_eq!(known.len(), MAX_ADDRESSES);
        assert!(known.contains_key(&IpAddr::V4((0x0a00_0000 + MAX_ADDRESSES as u32 + 99).into())));
    }
}
