//! Paths of the API, with ids and dates percent-encoded.

use millwork_manifest::DatePrefix;
use std::fmt::Write as _;

/// Common prefix of all paths.
pub const BASE: &str = "/api/v1";
/// Path of the manifests, to submit one.
pub const MANIFESTS: &str = "/api/v1/manifests";
/// Path of the runs.
pub const RUNS: &str = "/api/v1/runs";
/// Files.
pub const FILES: &str = "/api/v1/files";
/// Path of one file, with its URI in the query.
pub const FILE: &str = "/api/v1/files/by-uri";
/// Path of the preview of a part of a file, with the URI of the file in the query.
pub const FILE_PREVIEW: &str = "/api/v1/files/preview";
/// Path of the diagnosis of a file, with its URI in the query.
pub const FILE_WHY: &str = "/api/v1/files/why";
/// Path of the causes that need attention by a person.
pub const ATTENTION: &str = "/api/v1/attention";
/// Path of the files refused on arrival.
pub const QUARANTINE: &str = "/api/v1/quarantine";
/// Path of the executors.
pub const EXECUTORS: &str = "/api/v1/executors";
/// Path of all processes that share the state.
pub const CLUSTER: &str = "/api/v1/cluster";
/// Path of the builders.
pub const BUILDERS: &str = "/api/v1/builders";
/// Path of the locks.
pub const LOCKS: &str = "/api/v1/locks";
/// Path of unfinished manifests.
pub const DRAFTS: &str = "/api/v1/drafts";
/// Path of the queues of builders.
pub const QUEUES: &str = "/api/v1/queues";
/// Dead letters of a queue.
pub const DEAD_LETTERS: &str = "/api/v1/dead-letters";
/// Path of the statistics.
pub const STATS: &str = "/api/v1/stats";
/// Path of the change plans.
pub const PLANS: &str = "/api/v1/plans";
/// Path of the audit log.
pub const AUDIT: &str = "/api/v1/audit";
/// Path of the event stream.
pub const EVENTS: &str = "/api/v1/events";

/// Path of the totals of all dates.
pub const DATES: &str = "/api/v1/dates";
/// A number over time.
pub const SERIES: &str = "/api/v1/series";
/// Path of the costs of all dates.
pub const COST: &str = "/api/v1/cost";
/// Path of the schedulers that share the state.
pub const SCHEDULERS: &str = "/api/v1/schedulers";
/// Path of the health checks.
pub const DOCTOR: &str = "/api/v1/doctor";
/// Path of the settings in force.
pub const CONFIG: &str = "/api/v1/config";

/// Path of the totals of one date.
pub fn date(date: DatePrefix) -> String {
    format!("{DATES}/{date}")
}

/// Path of one run. The scheduler, not this function, refuses invalid ids.
pub fn run(id: &str) -> String {
    format!("{RUNS}/{}", segment(id))
}

/// Path of a resource or action of a run: `files`, `ledger`, `rejected`, `mended`, `cost`, `cancel`, `retry`, `force`
/// or `priority`.
pub fn run_part(id: &str, part: &str) -> String {
    format!("{RUNS}/{}/{}", segment(id), segment(part))
}

/// Path of the document of a manifest.
pub fn manifest(id: &str) -> String {
    format!("{MANIFESTS}/{}", segment(id))
}

/// Path of a change plan.
pub fn plan(id: &str) -> String {
    format!("{PLANS}/{}", segment(id))
}

/// Path to apply a change plan.
pub fn plan_apply(id: &str) -> String {
    format!("{PLANS}/{}/apply", segment(id))
}

/// Path of the diagnosis of a date.
pub fn date_why(date: &str) -> String {
    format!("{BASE}/dates/{}/why", segment(date))
}

/// Path of the diagnosis of an executor.
pub fn executor_why(id: &str) -> String {
    format!("{BASE}/executors/{}/why", segment(id))
}

/// Text percent-encoded as one path segment. Slashes are encoded, so the text cannot address another path.
pub fn segment(text: &str) -> String {
    let mut segment = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => segment.push(char::from(byte)),
            byte => {
                // Infallible: writing to a `String` cannot fail.
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
