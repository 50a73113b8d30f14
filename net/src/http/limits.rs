//! Limits of connections.

/// Limit of a request's header, including the path and query; bounds the memory of a connection before its request is
/// known.
pub(super) const MAX_HEADER_BYTES: usize = 64 << 10;

/// Limits of the connections of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Limit in total.
    pub in_all: usize,
    /// Limit for one address, or one /64 network in IPv6.
    pub of_one: usize,
}

/// Divisor of the process's file descriptors that gives the most that connections may use.
const SHARE_OF_DESCRIPTORS: u64 = 4;
/// Least limit of connections, however few descriptors there are: for a health check, a user, a page and its event
/// stream.
const MIN_CONNECTIONS: usize = 8;

impl ConnectionLimits {
    /// Limits for the wanted number, but at most a quarter of the descriptors. Half of them for one address, so that a
    /// single client cannot use all.
    pub fn within(wanted: usize, descriptors: u64) -> Self {
        let share = usize::try_from(descriptors / SHARE_OF_DESCRIPTORS).unwrap_or(usize::MAX);
        let in_all = wanted.min(share).max(MIN_CONNECTIONS);
        Self { in_all, of_one: in_all / 2 }
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
}
