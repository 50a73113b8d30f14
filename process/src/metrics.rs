//! The place where the metrics of the process go, and the form in which they are shown.

use crate::{certificates, usage};
use anyhow::Context;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// The commit that the program was built from: that in `MILLWORK_COMMIT` when it was built, else `unknown`.
pub const COMMIT: &str = match option_env!("MILLWORK_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// The metrics of the process, for Prometheus.
#[derive(Clone)]
pub struct Metrics(PrometheusHandle);

impl Metrics {
    /// Makes this the place where metrics go; once in a process. `buckets` are those of histograms, by the whole name or by its end;
    /// the first that fits counts. `version` is that of the program.
    pub fn install(version: &'static str, buckets: &[(Matcher, &[f64])]) -> anyhow::Result<Self> {
        let set = |builder: PrometheusBuilder, (matcher, bounds): &(Matcher, &[f64])| {
            builder.set_buckets_for_metric(matcher.clone(), bounds)
        };
        let builder = buckets.iter().try_fold(PrometheusBuilder::new(), set)?;
        let handle = builder.install_recorder().context("metrics of this process go somewhere else already")?;
        describe_gauge!("millwork_build_info", "1, with the version and the commit that the program was built from");
        gauge!("millwork_build_info", "version" => version, "commit" => COMMIT).set(1.0);
        Ok(Self(handle))
    }

    /// All metrics in the text format of Prometheus, those of the process itself included.
    pub fn render(&self) -> String {
        let mut text = self.0.render();
        text.push_str(&certificates::render());
        text.push_str(&usage::render());
        text
    }

    /// Makes room for what comes; to be called now and then, as the numbers of histograms wait for it.
    pub fn keep_small(&self) {
        self.0.run_upkeep();
    }
}
