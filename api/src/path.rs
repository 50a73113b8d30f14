//! Paths of the API, with what stands in them escaped.

use millwork_manifest::DatePrefix;
use std::fmt::Write as _;

/// Beginning of every path.
pub const BASE: &str = "/api/v1";
/// Manifests: submitted here.
pub const MANIFESTS: &str = "/api/v1/manifests";
/// Runs.
pub const RUNS: &str = "/api/v1/runs";
/// Files.
pub const FILES: &str = "/api/v1/files";
/// Path of one file, by its URI in the query.
pub const FILE: &str = "/api/v1/files/by-uri";
/// Piece of a file, by its URI in the query.
pub const FILE_PREVIEW: &str = "/api/v1/files/preview";
/// Diagnosis of a file, by its URI in the query.
pub const FILE_WHY: &str = "/api/v1/files/why";
/// Causes that need a person.
pub const ATTENTION: &str = "/api/v1/attention";
/// Files that were refused on arrival.
pub const QUARANTINE: &str = "/api/v1/quarantine";
/// Executors.
pub const EXECUTORS: &str = "/api/v1/executors";
/// All processes of the state.
pub const CLUSTER: &str = "/api/v1/cluster";
/// Builders.
pub const BUILDERS: &str = "/api/v1/builders";
/// Locks.
pub const LOCKS: &str = "/api/v1/locks";
/// Unfinished manifests.
pub const DRAFTS: &str = "/api/v1/drafts";
/// Queues of builders.
pub const QUEUES: &str = "/api/v1/queues";
/// Dead letters of a queue.
pub const DEAD_LETTERS: &str = "/api/v1/dead-letters";
/// Numbers.
pub const STATS: &str = "/api/v1/stats";
/// Change plans.
pub const PLANS: &str = "/api/v1/plans";
/// Notes of what was done.
pub const AUDIT: &str = "/api/v1/audit";
/// Events, as a stream.
pub const EVENTS: &str = "/api/v1/events";

/// Dates in numbers.
pub const DATES: &str = "/api/v1/dates";
/// A number over time.
pub const SERIES: &str = "/api/v1/series";
/// Costs, by date.
pub const COST: &str = "/api/v1/cost";
/// Schedulers of the state.
pub const SCHEDULERS: &str = "/api/v1/schedulers";
/// Examination of what a scheduler stands on.
pub const DOCTOR: &str = "/api/v1/doctor";
/// Settings in force.
pub const CONFIG: &str = "/api/v1/config";

/// Path of one date in numbers.
pub fn date(date: DatePrefix) -> String {
    format!("{DATES}/{date}")
}

/// Path of one run. An id that is none is refused by the scheduler.
pub fn run(id: &str) -> String {
    format!("{RUNS}/{}", segment(id))
}

/// Something of a run: `files`, `ledger`, `rejected`, `mended`, `cost`, `cancel`, `retry`, `force`, `priority`.
pub fn run_part(id: &str, part: &str) -> String {
    format!("{RUNS}/{}/{}", segment(id), segment(part))
}

/// Path of one manifest's document.
pub fn manifest(id: &str) -> String {
    format!("{MANIFESTS}/{}", segment(id))
}

/// Path of one change plan.
pub fn plan(id: &str) -> String {
    format!("{PLANS}/{}", segment(id))
}

/// The application of a change plan.
pub fn plan_apply(id: &str) -> String {
    format!("{PLANS}/{}/apply", segment(id))
}

/// Diagnosis of a date.
pub fn date_why(date: &str) -> String {
    format!("{BASE}/dates/{}/why", segment(date))
}

/// Diagnosis of an executor.
pub fn executor_why(id: &str) -> String {
    format!("{BASE}/executors/{}/why", segment(id))
}

/// A text as one segment of a path: nothing in it can leave it.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => segment.push(char::from(byte)),
            byte => {
                // A `String` takes all that is written to it.
                let _ = write!(segment, "%{byte:02X}");
            }
        }
    }
    segment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_segment() {
        assert_eq!(run("2025-12-23-batch_1.x"), "/api/v1/runs/2025-12-23-batch_1.x");
        assert_eq!(run_part("a/../b?c#d é", "files"), "/api/v1/runs/a%2F..%2Fb%3Fc%23d%20%C3%A9/files");
    }
}
