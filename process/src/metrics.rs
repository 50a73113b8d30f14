//! Metrics recorder of the process, and its output.

use crate::{certificates, usage};
use anyhow::Context;
use metrics::{describe_gauge, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use millwork_net::CertificatesInUse;

/// Commit that the program was built from: `MILLWORK_COMMIT` at build time, else `unknown`.
pub const COMMIT: &str = match option_env!("MILLWORK_COMMIT") {
    Some(commit) if !commit.is_empty() => commit,
    _ => "unknown",
};

/// Metrics of the process, for Prometheus.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
    certificates: CertificatesInUse,
}

impl Metrics {
    /// Makes this the place where metrics go; once in a process. `buckets` are those of histograms, by the whole name or by its end;
    /// the first that fits counts. `version` is that of the program, `certificates` those that it uses.
    pub fn install(
        version: &'static str,
        buckets: &[(Matcher, &[f64])],
        certificates: CertificatesInUse,
    ) -> anyhow::Result<Self> {
        let set = |builder: PrometheusBuilder, (matcher, bounds): &(Matcher, &[f64])| {
            builder.set_buckets_for_metric(matcher.clone(), bounds)
        };
        let builder = buckets.iter().try_fold(PrometheusBuilder::new(), set)?;
        let handle = builder.install_recorder().context("metrics of this process go somewhere else already")?;
        describe_gauge!("millwork_build_info", "1, with the version and the commit that the program was built from");
        gauge!("millwork_build_info", "version" => version, "commit" => COMMIT).set(1.0);
        Ok(Self { handle, certificates })
    }

    /// All metrics in Prometheus text format, including those of the process itself.
    pub fn render(&self) -> String {
        let mut text = self.handle.render();
        text.push_str(&certificates::render(&self.certificates));
        text.push_str(&usage::render());
        text
    }

    /// Aggregates pending histogram samples, which take memory; must be called regularly.
    pub fn keep_small(&self) {
        self.handle.run_upkeep();
    }
}
