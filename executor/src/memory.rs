//! Memory of this process, as reported by the system.

use std::fs;

/// Resident memory of the process, in bytes; `None` where the system does not report it.
pub(crate) fn used_bytes() -> Option<u64> {
    field("/proc/self/status", "VmRSS:")
}

/// Memory limit of the process, in bytes: that of its control group, else the memory of the machine.
pub(crate) fn limit_bytes() -> Option<u64> {
    let of_group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"].into_iter();
    // Without a limit, cgroup v2 reports `max`, and v1 an impossibly large number.
    let limits = of_group.filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok());
    limits.chain(field("/proc/meminfo", "MemTotal:")).min()
}

/// Value of a line such as `VmRSS:     1234 kB`, in bytes.
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
