//! File descriptors of the process.

use std::io;

/// Raises the limit of open files (`RLIMIT_NOFILE`) to the hard limit, and returns it. Called once at the start of a
/// service: connections, objects and files share this limit, which shells and supervisors often set to 1,024.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `limit` is valid memory for the result, without other references.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } != 0 {
        return Err(io::Error::last_os_error());
    }
    if limit.rlim_cur < limit.rlim_max {
        let raised = libc::rlimit { rlim_cur: limit.rlim_max, ..limit };
        // SAFETY: `raised` is only read.
        if unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raised) } == 0 {
            limit = raised;
        }
    }
    Ok(limit.rlim_cur)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_and_stays() {
        let first = raise_descriptor_limit().unwrap();
        assert!(first >= 64, "{first}");
        assert_eq!(raise_descriptor_limit().unwrap(), first);
    }
}
