//! CPU time, memory and descriptors of the process under their standard Prometheus names, read from the system on
//! request.

use std::fmt::Write;
use std::fs;

/// Indexes of the fields of `/proc/self/stat` after the name in brackets, from 0: user and system time, threads, start,
/// memory.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const THREADS: usize = 17;
const START_TICKS: usize = 19;
const VIRTUAL_BYTES: usize = 20;
const RESIDENT_PAGES: usize = 21;

/// Metrics of the process, in Prometheus text format. Values that the system does not report are omitted.
pub(crate) fn render() -> String {
    let mut text = String::new();
    if let Some(stat) = fs::read_to_string("/proc/self/stat").ok().and_then(|stat| of_stat(&stat)) {
        put(
            &mut text,
            "process_cpu_seconds_total",
            "counter",
            "Time that processors worked for the process",
            stat.cpu_seconds,
        );
        put(&mut text, "process_resident_memory_bytes", "gauge", "Memory that the process has", stat.resident_bytes);
        put(&mut text, "process_virtual_memory_bytes", "gauge", "Addresses that the process has", stat.virtual_bytes);
        put(&mut text, "process_threads", "gauge", "Threads of the process", stat.threads);
        if let Some(start) = boot_seconds().map(|boot| boot + stat.start_seconds) {
            put(&mut text, "process_start_time_seconds", "gauge", "When the process started, since 1970", start);
        }
    }
    // Listing the directory opens one of the files, which is not counted.
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        put(
            &mut text,
            "process_open_fds",
            "gauge",
            "Files and connections that are open",
            open.count().saturating_sub(1) as f64,
        );
    }
    if let Some(max) = max_descriptors() {
        put(&mut text, "process_max_fds", "gauge", "Files and connections that may be open", max);
    }
    text
}

fn put(text: &mut String, name: &str, kind: &str, help: &str, value: f64) {
    // Writing to a string cannot fail.
    let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n\n");
}

struct Stat {
    cpu_seconds: f64,
    start_seconds: f64,
    threads: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

fn of_stat(stat: &str) -> Option<Stat> {
    // The program's name can contain anything, including brackets.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
    let (second, page) = (system(libc::_SC_CLK_TCK)?, system(libc::_SC_PAGESIZE)?);
    Some(Stat {
        cpu_seconds: (number(USER_TICKS)? + number(SYSTEM_TICKS)?) / second,
        start_seconds: number(START_TICKS)? / second,
        threads: number(THREADS)?,
        virtual_bytes: number(VIRTUAL_BYTES)?,
        resident_bytes: number(RESIDENT_PAGES)? * page,
    })
}

fn system(name: libc::c_int) -> Option<f64> {
    // SAFETY: the call takes a number and has no side effects.
    let value = unsafe { libc::sysconf(name) };
    (value > 0).then_some(value as f64)
}

/// Boot time of the machine, in Unix seconds.
fn boot_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn max_descriptors() -> Option<f64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    line.split_ascii_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_and_spaces_is_no_matter() {
        let rest = "S 1 2 3 4 5 6 7 8 9 10 200 100 13 14 15 16 9 18 1000 4096 2";
        let stat = of_stat(&format!("42 (a) b) {rest}")).unwrap();
        let second = system(libc::_SC_CLK_TCK).unwrap();
        assert_eq!((stat.cpu_seconds, stat.threads), (300.0 / second, 9.0));
        assert_eq!(stat.virtual_bytes, 4096.0);
        assert!(of_stat("42 (a) S 1").is_none());
    }

    #[test]
    fn the_system_tells_of_this_process() {
        let text = render();
        for name in ["process_cpu_seconds_total", "process_open_fds", "process_start_time_seconds", "process_max_fds"] {
            assert!(text.contains(&format!("\n{name} ")), "{name} in {text}");
        }
    }
}
