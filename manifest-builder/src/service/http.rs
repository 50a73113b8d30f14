//! Health and metrics over HTTP.

use super::tally;
use anyhow::Context;
use millwork_net::{CertificatesInUse, cannot_listen, raise_descriptor_limit};
use millwork_process::{HealthServer, Metrics};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Age of the last success, in seconds, up to which the service counts as ready: 120.
const READY_SECONDS: i64 = 120;

/// Health of the service: the time of its last success.
#[derive(Clone)]
pub(crate) struct Health {
    last_success: Arc<AtomicI64>,
}

impl Health {
    /// Starts serving `/healthz`, `/readyz` and `/metrics`, if an address is given.
    pub(crate) async fn start(address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let health = Self { last_success: Arc::default() };
        let Some(address) = address else { return Ok(health) };
        let metrics = Metrics::install(env!("CARGO_PKG_VERSION"), &[], CertificatesInUse::default())?;
        tally::describe();
        let descriptors = raise_descriptor_limit().context("cannot raise the limit of open files")?;
        let ready = {
            let health = health.clone();
            Arc::new(move || health.ready())
        };
        let served = HealthServer::start(address, metrics, Arc::new(|| Ok("ok".to_owned())), ready, descriptors).await;
        // The server runs until the process ends.
        drop(served.map_err(|error| anyhow::Error::msg(cannot_listen(address, &error)))?);
        Ok(health)
    }

    /// Records a success.
    pub(crate) fn beat(&self) {
        let now = chrono::Utc::now().timestamp();
        self.last_success.store(now, Ordering::Relaxed);
        metrics::gauge!("millwork_receive_last_success_timestamp_seconds").set(now as f64);
    }

    fn ready(&self) -> Result<String, String> {
        let last = self.last_success.load(Ordering::Relaxed);
        let age = chrono::Utc::now().timestamp() - last;
        match (last, age <= READY_SECONDS) {
            (_, true) => Ok("ready".to_owned()),
            (0, false) => Err("not ready: nothing has succeeded yet".to_owned()),
            (_, false) => Err(format!("not ready: {age} s since the last success")),
        }
    }
}
