//! Examination of everything that Millwork depends on.
//!
//! Each check tests one thing, within a time limit, without lasting changes: write access is tested with a private
//! object that is removed again. A check that cannot be made is reported as such, and not as a finding.

mod certificates;
mod probes;

pub use certificates::judge_certificate;

use crate::engine::ExecutorInfo;
use crate::why::Inspector;
use chrono::{DateTime, Duration, Utc};
use millwork_api::{BuilderInfo, Check, Examination, Verdict};
use millwork_diagnosis::{Leader, bytes, many, shown};
use millwork_tracking::{BuilderNote, FileFilter};

/// Age from which an expired lock is reported while files of its date wait, in minutes: 10, twice the duration of a
/// lock.
const OLD_LOCK: Duration = Duration::minutes(10);
/// Age from which a draft is reported, in minutes: 5. The sweep normally finishes one within a minute.
const OLD_DRAFT: Duration = Duration::minutes(5);
/// Clock difference that is reported, in seconds: 2, a quarter of the duration of the leader lock.
const CLOCK_SECONDS: i64 = millwork_cluster::SILENCE.as_secs() as i64 / 4;
/// Free space below which a place is reported: 1 GiB, or a twentieth of the file system.
const LEAST_FREE_BYTES: u64 = 1 << 30;
/// Limit of the reported executors of another version: 5, since those of one deployment share a version.
const MAX_VERSIONS: usize = 5;
/// Least number of files that a process should be able to open: 4096, for 512 connections and 30 runs.
const LEAST_DESCRIPTORS: u64 = 4096;

impl Inspector {
    /// Makes all checks that are possible from this process.
    pub async fn examine(&self, now: DateTime<Utc>) -> Examination {
        let mut checks = self.store_checks().await;
        // Without the store, checks that depend on it are pointless.
        if checks.iter().all(|check| check.verdict != Verdict::Broken) {
            checks.extend(self.cluster_checks(now).await);
            checks.extend(self.left_checks(now).await);
        }
        checks.extend(self.place_checks(now).await);
        checks.extend(certificates::checks(&self.certificates, now));
        checks.push(descriptors());
        Examination { at: now, version: env!("CARGO_PKG_VERSION").to_owned(), checks }
    }

    async fn store_checks(&self) -> Vec<Check> {
        if let Err(error) = self.store.ping().await {
            return vec![Check::broken("state", shown(&error.to_string()), "start the store, or mend the way to it")];
        }
        let mut checks = vec![Check::fine("state", "it answers")];
        match self.store.inspection().faults().await {
            Ok(faults) if faults.is_empty() => {
                checks.push(Check::fine("tables", "tables, indexes and expiry are as they must be"));
            }
            Ok(faults) => checks.extend(faults.into_iter().map(|fault| {
                Check::broken("tables", format!("{}: {}", fault.what, shown(&fault.found)), fault.remedy)
            })),
            Err(error) => checks.push(Check::unknown("tables", shown(&error.to_string()))),
        }
        checks
    }

    async fn cluster_checks(&self, now: DateTime<Utc>) -> Vec<Check> {
        let mut checks = Vec::new();
        checks.push(match self.leader_facts(now).await {
            Ok(Leader::Held { holder }) => Check::fine("scheduler", format!("{} runs the manifests", shown(&holder))),
            Ok(Leader::Nobody { .. }) => Check::warning(
                "scheduler",
                "none runs the manifests of this state",
                "start `millwork-scheduler`, or `millwork run`",
            ),
            Ok(Leader::Unknown) => Check::unknown("scheduler", "it cannot be told from here"),
            Err(error) => Check::unknown("scheduler", shown(&error.to_string())),
        });
        if let Some(leader) = &self.leader {
            let executors = leader.engine().executors();
            let slots: u64 = executors.iter().map(|executor| u64::from(executor.vcores)).sum();
            checks.push(match executors.is_empty() {
                true => Check::warning(
                    "executors",
                    "none is connected",
                    "start `millwork-executor`; its log says why it cannot connect",
                ),
                false => Check::fine(
                    "executors",
                    format!("{} with {}", many(executors.len() as u64, "executor"), many(slots, "slot")),
                ),
            });
            checks.extend(version_checks(executors));
        }
        match self.store.inspection().builders().await {
            Ok(builders) => {
                checks.extend(builder_checks(&builders, now));
                checks.extend(queue_checks(&builders).await);
            }
            Err(error) => checks.push(Check::unknown("builders", shown(&error.to_string()))),
        }
        checks
    }

    /// Checks leftovers: locks, drafts, failed runs.
    async fn left_checks(&self, now: DateTime<Utc>) -> Vec<Check> {
        let mut checks = self.lock_checks(now).await;
        match self.store.drafts(now - OLD_DRAFT).await {
            Ok(drafts) if drafts.is_empty() => checks.push(Check::fine("drafts", "none was left")),
            Ok(drafts) => checks.push(Check::warning(
                "drafts",
                format!("begun and not finished: {}", many(drafts.len() as u64, "manifest")),
                "millwork-manifest-builder sweep",
            )),
            Err(error) => checks.push(Check::unknown("drafts", shown(&error.to_string()))),
        }
        checks.push(self.failed_check().await);
        checks
    }

    /// Checks the locks of dates with files that wait.
    async fn lock_checks(&self, now: DateTime<Utc>) -> Vec<Check> {
        const MAX_LOCKS: usize = 100;
        let backlogs = match self.store.backlogs().await {
            Ok(backlogs) => backlogs,
            Err(error) => return vec![Check::unknown("locks", shown(&error.to_string()))],
        };
        let names: Vec<String> = backlogs.iter().take(MAX_LOCKS).map(|(date, _)| format!("LOCK#{date}")).collect();
        let locks = self.store.inspection().locks(&names).await.unwrap_or_default();
        let old = locks.iter().filter_map(|lock| Some((lock, lock.expires_at.filter(|at| now - *at > OLD_LOCK)?)));
        let old = old.map(|(lock, at)| {
            let (name, holder) = (shown(&lock.name), shown(&lock.holder));
            let found = format!("{name} expired at {at}, holder {holder}; files of its date wait");
            Check::warning("lock", found, "start a builder, or `millwork-manifest-builder sweep`")
        });
        let mut checks: Vec<Check> = old.collect();
        if checks.is_empty() {
            let dates = many(backlogs.len() as u64, "date");
            checks.push(Check::fine("locks", format!("none was left by its holder, of {dates} with files that wait")));
        }
        checks
    }

    /// Checks whether files have failed.
    async fn failed_check(&self) -> Check {
        let failed =
            FileFilter { state: Some(millwork_manifest::FileState::Failed), limit: 1000, ..FileFilter::default() };
        match self.store.list_files(&failed).await {
            Err(error) => Check::broken(
                "files",
                shown(&error.to_string()),
                "somebody has changed the store by hand: restore it from a backup",
            ),
            Ok(page) => match page.items.len() {
                0 => Check::fine("failed files", "there is none"),
                count => Check::warning(
                    "failed files",
                    format!(
                        "{}{}, in no output",
                        if page.next_cursor.is_some() { "more than " } else { "" },
                        many(count as u64, "file")
                    ),
                    "`millwork files list --state failed`, then `millwork why FILE`",
                ),
            },
        }
    }
}

/// Executors of another version than this scheduler's.
fn version_checks(executors: Vec<ExecutorInfo>) -> impl Iterator<Item = Check> {
    let versions = executors.into_iter().map(|executor| (executor.id, executor.version));
    let others = versions.filter(|(_, version)| version != env!("CARGO_PKG_VERSION"));
    others.take(MAX_VERSIONS).map(|(id, version)| {
        let found = format!("{} is {}, this is {}", shown(&id), shown(&version), env!("CARGO_PKG_VERSION"));
        Check::warning(
            "version",
            found,
            "run the same version everywhere: replace its image or binary, then restart it",
        )
    })
}

/// Checks builders: running ones, missing ones, and wrong clocks.
fn builder_checks(builders: &[BuilderNote], now: DateTime<Utc>) -> Vec<Check> {
    let mut checks = Vec::new();
    let alive: Vec<&BuilderNote> = builders.iter().filter(|note| BuilderInfo::is_alive_at(note.seen_at, now)).collect();
    checks.push(match (alive.len(), builders.first()) {
        (0, None) => Check::unknown(
            "builders",
            "none has ever shown itself: manifests come from elsewhere, or from `millwork run`",
        ),
        (0, Some(last)) => Check::warning(
            "builders",
            format!(
                "none is there; the last, {}, was seen {} ago",
                shown(&last.id),
                millwork_diagnosis::span(now - last.seen_at)
            ),
            "start `millwork-manifest-builder serve` or `watch`",
        ),
        (count, _) => Check::fine("builders", format!("{} there", many(count as u64, "builder"))),
    });
    for note in &alive {
        let ahead = (note.seen_at - now).num_seconds();
        if ahead > CLOCK_SECONDS {
            let found = format!("the clock of {} is {ahead} s ahead of this one", shown(&note.id));
            checks.push(Check::warning("clock", found, "keep all clocks right (NTP): locks are compared by them"));
        }
        let version = note.about().map(|about| about.version);
        if let Some(version) = version.filter(|version| version != env!("CARGO_PKG_VERSION")) {
            let found = format!("{} is {}, this is {}", shown(&note.id), shown(&version), env!("CARGO_PKG_VERSION"));
            checks.push(Check::warning("version", found, "run the same version everywhere"));
        }
    }
    checks
}

/// Checks the queues of the builder with the latest heartbeat.
async fn queue_checks(builders: &[BuilderNote]) -> Vec<Check> {
    let Some(about) = builders.iter().find_map(BuilderNote::about) else { return Vec::new() };
    let mut checks = Vec::new();
    for (name, url) in [("queue", about.queue_url), ("dead letters", about.dead_letter_queue_url)] {
        let Some(url) = url else { continue };
        checks.push(match millwork_queue::depth(&url).await {
            Ok(depth) if name == "dead letters" && depth.waiting > 0 => Check::warning(
                name,
                format!("{} in {}", many(depth.waiting, "message"), shown(&url)),
                "`millwork queues dead-letters` tells why; mend that, then put them back: `millwork queues redrive`",
            ),
            Ok(depth) => Check::fine(name, format!("{} messages wait, {} are in work", depth.waiting, depth.in_work)),
            Err(error) => Check::unknown(name, shown(&format!("{error:#}"))),
        });
    }
    checks
}

fn descriptors() -> Check {
    match millwork_net::raise_descriptor_limit() {
        Ok(limit) if limit < LEAST_DESCRIPTORS => Check::warning(
            "open files",
            format!("a process may open {limit}"),
            format!("allow at least {LEAST_DESCRIPTORS} (ulimit -n)"),
        ),
        Ok(limit) => Check::fine("open files", format!("a process may open {limit}")),
        Err(error) => Check::unknown("open files", error.to_string()),
    }
}

/// Checks the free space of a directory's file system.
fn space(name: &str, free: u64, all: u64) -> Check {
    let found = format!("{} of {} are free", bytes(free), bytes(all));
    match free < LEAST_FREE_BYTES || free < all / 20 {
        true => Check::warning(name, found, "free space there: attempts fail when it is full"),
        false => Check::fine(name, found),
    }
}
