//! Health and metrics over HTTP.

use super::tally;
use anyhow::Context;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use millwork_net::{ConnectionLimits, HttpServer, raise_descriptor_limit};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tokio::net::TcpListener;

/// How long ago the last success may be, in seconds, for the service to count as ready.
const READY_SECONDS: i64 = 120;

/// Connections at once, if the process may open enough files: probes, and a few that ask for metrics.
const MAX_CONNECTIONS: usize = 128;

/// What is known of the service's health.
#[derive(Clone)]
pub(crate) struct Health {
    last_success: Arc<AtomicI64>,
}

#[derive(Clone)]
struct Shared {
    health: Health,
    metrics: PrometheusHandle,
}

impl Health {
    /// Starts serving `/healthz`, `/readyz` and `/metrics`, if there is an address for it.
    pub(crate) async fn start(address: Option<SocketAddr>) -> anyhow::Result<Self> {
        let health = Self { last_success: Arc::default() };
        let Some(address) = address else { return Ok(health) };
        let metrics = PrometheusBuilder::new().install_recorder()?;
        tally::describe();
        let listener =
            TcpListener::bind(address).await.map_err(|e| anyhow::anyhow!("cannot listen on {address}: {e}"))?;
        let descriptors = raise_descriptor_limit().context("cannot raise the limit of open files")?;
        tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
        let routes = Router::new()
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/readyz", get(ready))
            .route("/metrics", get(|State(shared): State<Shared>| async move { shared.metrics.render() }))
            .with_state(Shared { health: health.clone(), metrics });
        // It serves as long as the process lives.
        drop(HttpServer::start(listener, routes, ConnectionLimits::within(MAX_CONNECTIONS, descriptors), None));
        Ok(health)
    }

    /// Notes a success.
    pub(crate) fn beat(&self) {
        self.last_success.store(chrono::Utc::now().timestamp(), Ordering::Relaxed);
    }
}

async fn ready(State(shared): State<Shared>) -> (StatusCode, String) {
    let last = shared.health.last_success.load(Ordering::Relaxed);
    let age = chrono::Utc::now().timestamp() - last;
    if age <= READY_SECONDS {
        return (StatusCode::OK, "ready\n".to_owned());
    }
    let since =
        if last == 0 { "nothing has succeeded yet".to_owned() } else { format!("{age} s since the last success") };
    (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {since}\n"))
}
