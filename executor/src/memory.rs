//! Memory of this process, as the system tells of it.

use std::fs;

/// Memory that the process has, in bytes: resident, whatever it is for. None where the system does not tell.
pub(crate) fn used_bytes() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// Limit of the memory that the process may have, in bytes: of its control group, else all that the machine has.
pub(crate) fn limit_bytes() -> Option<u64> {
    let of_group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].into_iter();
    // `max` is no number, and the older kind says a number that no machine has.
    let limits = of_group.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain(field("/proc/meminfo", "MemTotal:")).min()
}

/// A number of a file of lines such as `VmRSS:     1234 kB`, in bytes.
fn field(path: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let kilobytes: u64 =
        text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()?;
    kilobytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_less_than_its_limit() {
        let (used, limit) = (used_bytes().unwrap(), limit_bytes().unwrap());
        assert!(used > 1 << 20 && used < limit, "{used} of {limit}");
    }
}
