//! Health checks and metrics over HTTP, for services without another HTTP API.

use crate::Metrics;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use millwork_net::{ConnectionLimits, HttpServer};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// Limit of the connections, if the process may open enough files: for health checks, and a few scrapes of metrics.
const MAX_CONNECTIONS: usize = 128;
/// Interval at which histogram samples are aggregated.
const KEEP_SMALL: Duration = Duration::from_secs(5);

/// Address, and permission to expose it.
#[derive(Clone, Copy, Debug)]
pub struct HealthOptions {
    /// Listening address.
    pub address: SocketAddr,
    /// True if the address may be reachable from other hosts, although no token is needed.
    pub insecure: bool,
}

/// Result of a health check: success, or a short reason that reveals nothing about conversions.
pub type Check = Arc<dyn Fn() -> Result<String, String> + Send + Sync>;

/// State that the handlers share.
#[derive(Clone)]
struct Shared {
    alive: Check,
    ready: Check,
    metrics: Metrics,
}

/// A running server for health checks and metrics.
pub struct HealthServer {
    address: SocketAddr,
    server: HttpServer,
}

impl HealthOptions {
    /// Refuses an address that other hosts can reach, unless that is allowed.
    pub fn check(self) -> anyhow::Result<Self> {
        anyhow::ensure!(
            self.address.ip().is_loopback() || self.insecure,
            "refusing to listen on {}, which others can reach: health and metrics need no token; say --insecure-http if \
             that is as it should be",
            self.address
        );
        Ok(self)
    }
}

impl HealthServer {
    /// Starts serving `/healthz`, `/livez`, `/readyz` and `/metrics`. `descriptors` is the number of files that the
    /// process may open. Errors concern the address.
    pub async fn start(
        address: SocketAddr,
        metrics: Metrics,
        alive: Check,
        ready: Check,
        descriptors: u64,
    ) -> std::io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        tracing::info!(%address, "serving health and metrics");
        tokio::spawn({
            let metrics = metrics.clone();
            async move {
                loop {
                    tokio::time::sleep(KEEP_SMALL).await;
                    metrics.keep_small();
                }
            }
        });
        let routes = routes(Shared { alive, ready, metrics });
        let limits = ConnectionLimits::within(MAX_CONNECTIONS, descriptors);
        Ok(Self { address, server: HttpServer::start(listener, routes, limits, None) })
    }

    /// Starts likewise; `None` if the address is the default one and another process uses it, since several services
    /// may run on one machine.
    pub async fn start_if_free(
        (address, is_given): (SocketAddr, bool),
        metrics: Metrics,
        alive: Check,
        ready: Check,
        descriptors: u64,
    ) -> anyhow::Result<Option<Self>> {
        match Self::start(address, metrics, alive, ready, descriptors).await {
            Ok(server) => Ok(Some(server)),
            Err(error) if error.kind() == ErrorKind::AddrInUse && !is_given => {
                tracing::warn!(%address, "another process has this address: no health or metrics are served; give this one an address of its own with --http");
                Ok(None)
            }
            Err(error) => anyhow::bail!(millwork_net::cannot_listen(address, &error)),
        }
    }

    /// Listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops once requests in progress are answered.
    pub async fn shut_down(self) {
        self.server.shut_down().await;
    }
}

fn routes(shared: Shared) -> Router {
    let alive = |State(shared): State<Shared>| async move { answer((shared.alive)()) };
    Router::new()
        .route("/healthz", get(alive))
        .route("/livez", get(alive))
        .route("/readyz", get(|State(shared): State<Shared>| async move { answer((shared.ready)()) }))
        .route("/metrics", get(show))
        .with_state(shared)
}

fn answer(check: Result<String, String>) -> Response {
    match check {
        Ok(text) => (StatusCode::OK, format!("{text}\n")).into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn show(State(shared): State<Shared>) -> Response {
    let content = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([content], shared.metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower::ServiceExt;

    #[tokio::test]
    async fn probes_are_answered_by_the_service_and_metrics_by_the_process() {
        let metrics = Metrics::install("1.2.3", &[], millwork_net::CertificatesInUse::default()).unwrap();
        let shared =
            Shared { alive: Arc::new(|| Ok("ok".into())), ready: Arc::new(|| Err("no scheduler".into())), metrics };
        let get = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = routes(shared.clone()).oneshot(request).await.unwrap();
            let status = response.status().as_u16();
            (status, String::from_utf8(to_bytes(response.into_body(), usize::MAX).await.unwrap().to_vec()).unwrap())
        };
        assert_eq!(get("/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get("/livez").await.0, 200);
        assert_eq!(get("/readyz").await, (503, "no scheduler\n".to_owned()));
        let (status, text) = get("/metrics").await;
        assert!(status == 200 && text.contains("millwork_build_info{version=\"1.2.3\""), "{text}");
        assert!(text.contains("process_start_time_seconds "));
    }

    #[test]
    fn others_are_listened_to_only_if_that_is_said() {
        let options = |address: &str, insecure| HealthOptions { address: address.parse().unwrap(), insecure };
        assert!(options("127.0.0.1:0", false).check().is_ok() && options("0.0.0.0:0", true).check().is_ok());
        assert!(options("0.0.0.0:0", false).check().unwrap_err().to_string().contains("--insecure-http"));
    }
}
