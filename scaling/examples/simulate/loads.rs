//! Loads: when manifests come, and how large they are.

use crate::fleet::{Outcome, SAMPLE, Sample, quantile};

/// Manifests of a day of 338,000 files.
const A_DAY: f64 = 1690.0;
const DAY: f64 = 86_400.0;
/// Bytes of a manifest of files of 3.5 MB, and of one of files of 3.5 GB.
const SMALL: f64 = 0.7e9;
const LARGE: f64 = 0.7e12;

/// A load, and the fleet that there may be for it.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) title: &'static str,
    /// Seconds and bytes of each manifest, in order.
    pub(crate) arrivals: Vec<(f64, f64)>,
    pub(crate) seconds: f64,
    /// The fleet that has one size.
    pub(crate) fixed: u32,
    pub(crate) max: u32,
    pub(crate) deadline_minutes: u64,
    pub(crate) wake_minutes: u64,
    /// Time at which half of the executors are lost.
    pub(crate) lose_at: Option<f64>,
}

fn flat(seconds: f64, bytes: f64) -> Vec<(f64, f64)> {
    let count = (seconds / DAY * A_DAY) as usize;
    (0..count).map(|n| (n as f64 * DAY / A_DAY, bytes)).collect()
}

/// A month at once, and the day that goes on.
fn month() -> Vec<(f64, f64)> {
    let at_once = std::iter::repeat_n((0.0, SMALL), 48_600);
    at_once.chain(flat(3.0 * 3600.0, SMALL)).collect()
}

pub(crate) fn built_in() -> Vec<Scenario> {
    let scenario = |name, title, arrivals: Vec<(f64, f64)>, hours: f64, fixed| Scenario {
        name,
        title,
        arrivals,
        seconds: hours * 3600.0,
        fixed,
        max: 40,
        deadline_minutes: 30,
        wake_minutes: 0,
        lose_at: None,
    };
    let lost = scenario("spot", "the same, half of the executors lost after 10 minutes", month(), 3.0, 4);
    let asleep = scenario("asleep", "a flat day (1.18 TB), asleep between batches", flat(DAY, SMALL), 24.0, 1);
    vec![
        scenario("month", "a month at once (34 TB)", month(), 3.0, 4),
        Scenario { lose_at: Some(600.0), ..lost },
        scenario("large", "a day of 3.5 GB files (1.18 PB)", flat(DAY, LARGE), 24.0, 16),
        Scenario { wake_minutes: 20, ..asleep },
    ]
}

/// Jobs at once, time of a job for 0.7 GB, and price of its 20 workers of two units, of the pipeline that Millwork replaces.
const JOBS: usize = 30;
const JOB_SECONDS: f64 = 300.0;
const JOB_DOLLARS_PER_HOUR: f64 = 40.0 * 0.44;
const WORKERS: u32 = 20;

/// Runs a load on AWS Glue: 30 jobs of 20 workers, each five minutes for 0.7 GB, as that pipeline's owners tell.
pub(crate) fn glue(scenario: &Scenario) -> Outcome {
    let mut free = vec![0.0_f64; JOBS];
    let mut jobs = Vec::new();
    for &(at, bytes) in &scenario.arrivals {
        let (job, ready) =
            free.iter().copied().enumerate().fold((0, f64::MAX), |best, (n, t)| if t < best.1 { (n, t) } else { best });
        let start = ready.max(at);
        if start > scenario.seconds {
            break;
        }
        let end = start + JOB_SECONDS * bytes / SMALL;
        free[job] = end;
        jobs.push((at, start, end, bytes));
    }
    let mut latencies: Vec<f64> = scenario
        .arrivals
        .iter()
        .enumerate()
        .map(|(n, (at, _))| jobs.get(n).map_or(scenario.seconds, |(_, _, end, _)| end.min(scenario.seconds)) - at)
        .collect();
    latencies.sort_by(f64::total_cmp);
    let deadline = scenario.deadline_minutes as f64 * 60.0;
    let total: f64 = scenario.arrivals.iter().map(|(_, bytes)| bytes).sum();
    let share = |now: f64, (_, start, end, bytes): &(f64, f64, f64, f64)| {
        bytes * ((now - start) / (end - start)).clamp(0.0, 1.0)
    };
    let mut samples = Vec::new();
    let (mut now, mut peak) = (0.0, 0);
    while now <= scenario.seconds {
        let came: f64 = scenario.arrivals.iter().take_while(|(at, _)| *at <= now).map(|(_, bytes)| bytes).sum();
        let done: f64 = jobs.iter().map(|job| share(now, job)).sum();
        let running = jobs.iter().filter(|(_, start, end, _)| (*start..*end).contains(&now)).count() as u32;
        let hours: f64 = jobs.iter().map(|(_, start, end, _)| (end.min(now) - start).max(0.0)).sum::<f64>() / 3600.0;
        let waiting =
            scenario.arrivals.iter().enumerate().find(|(n, _)| jobs.get(*n).is_none_or(|(_, _, end, _)| *end > now));
        let oldest = waiting.map_or(0.0, |(_, (at, _))| (now - at).max(0.0));
        peak = peak.max(running * WORKERS);
        samples.push(Sample {
            at: now,
            backlog: came - done,
            executors: running * WORKERS,
            wanted: running * WORKERS,
            oldest,
            cost: hours * JOB_DOLLARS_PER_HOUR,
        });
        now += SAMPLE * 10.0;
    }
    let done: f64 = jobs.iter().map(|job| share(scenario.seconds, job)).sum();
    let late = latencies.iter().filter(|latency| **latency > deadline).count() as f64 / latencies.len().max(1) as f64;
    Outcome {
        done: done / total,
        cost: samples.last().map_or(0.0, |sample| sample.cost),
        peak,
        p95: quantile(&latencies, 0.95),
        max: latencies.last().copied().unwrap_or_default(),
        late,
        changes: 0,
        samples,
    }
}
