//! Limits of connections.

use std::net::{IpAddr, Ipv6Addr};

/// Connections that a server has at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// In all.
    pub in_all: usize,
    /// From one address, or from one network of 64 bits in IPv6.
    pub of_one: usize,
}

/// Part of the process's file descriptors that connections may have: the others are for the work.
const SHARE_OF_DESCRIPTORS: u64 = 4;
/// Smallest number of connections, however few descriptors there are: a probe, a person, a page and its events.
const MIN_CONNECTIONS: usize = 8;

impl ConnectionLimits {
    /// As many as wanted, but no more than a quarter of the descriptors. Half of them for one address, so that no client is
    /// alone.
    pub fn within(wanted: usize, descriptors: u64) -> Self {
        let share = usize::try_from(descriptors / SHARE_OF_DESCRIPTORS).unwrap_or(usize::MAX);
        let in_all = wanted.min(share).max(MIN_CONNECTIONS);
        Self { in_all, of_one: in_all / 2 }
    }
}

/// The address that limits count by: in IPv6 the network, since whoever has one address there has 2^64.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_keeps_its_descriptors() {
        assert_eq!(ConnectionLimits::within(512, 20_000), ConnectionLimits { in_all: 512, of_one: 256 });
        assert_eq!(ConnectionLimits::within(512, 1024), ConnectionLimits { in_all: 256, of_one: 128 });
        assert_eq!(ConnectionLimits::within(512, 4), ConnectionLimits { in_all: 8, of_one: 4 });
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        let of = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(of("10.0.0.1"), "10.0.0.1");
        assert_eq!(of("::ffff:10.0.0.1"), "10.0.0.1");
        assert_eq!(of("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
