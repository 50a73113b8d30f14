//! The HTTP API of a process, from its first request to its last.

use super::auth::Access;
use crate::service::Service;
use axum::serve::ListenerExt;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long requests that are being answered hold up the end.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// The API, as it is served.
pub struct ApiServer {
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
}

impl ApiServer {
    /// Answers from now on. To be called once in a process, in a runtime: this becomes the place where metrics go, and
    /// numbers are kept current as long as the process lives.
    pub fn start(listener: TcpListener, service: Service, access: Access) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let routes = super::router(service, access, stop.clone())?;
        // An event of a stream does not wait for the acknowledgement of the one before.
        let listener = listener.tap_io(|connection| {
            if let Err(error) = connection.set_nodelay(true) {
                tracing::debug!(%error, "a connection waits for acknowledgements");
            }
        });
        let serving = axum::serve(listener, routes).with_graceful_shutdown(stop.clone().cancelled_owned());
        Ok(Self { stop, serving: tokio::spawn(serving.into_future()) })
    }

    /// Takes no more requests, and ends when those that came are answered. Streams of events end at once.
    pub async fn shut_down(self) {
        self.stop.cancel();
        if tokio::time::timeout(LAST_ANSWERS, self.serving).await.is_err() {
            tracing::warn!("requests are not answered after {} s; they are given up", LAST_ANSWERS.as_secs());
        }
    }
}
