//! Names of the tables.

/// The names of the tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableNames {
    /// Table of files.
    pub tracking: String,
    /// Table of locks and batch indexes; may be the tracking table.
    pub lock: String,
    /// Table of backlogs, counters and audit records.
    pub metrics: String,
    /// Table of runs, documents and commit records.
    pub runs: String,
}

impl TableNames {
    /// Names derived from that of the tracking table, unless `LOCK_TABLE`, `METRICS_TABLE` and `RUNS_TABLE` override
    /// them.
    pub fn from_env(tracking: &str) -> Self {
        Self::named(tracking, |name| std::env::var(name).ok())
    }

    fn named(tracking: &str, variable: impl Fn(&str) -> Option<String>) -> Self {
        let name = |key, default: String| variable(key).filter(|name| !name.is_empty()).unwrap_or(default);
        Self {
            tracking: tracking.to_owned(),
            lock: name("LOCK_TABLE", tracking.to_owned()),
            metrics: name("METRICS_TABLE", format!("{tracking}-metrics")),
            runs: name("RUNS_TABLE", format!("{tracking}-runs")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_names_the_other_tables() {
        let names = TableNames::named("files", |name| (name == "RUNS_TABLE").then(|| "jobs".to_owned()));
        assert_eq!((names.lock.as_str(), names.metrics.as_str()), ("files", "files-metrics"));
        assert_eq!(names.runs, "jobs");
        assert_eq!(TableNames::named("files", |_| Some(String::new())).runs, "files-runs");
    }
}
