//! The HTTP API of a process, from its first request to its last.

use super::auth::{Access, Tokens};
use super::health::Pulse;
use super::limits::Places;
use super::options::HttpDoor;
use super::schedulers::Presence;
use crate::access::OwnerToken;
use crate::service::Service;
use crate::ui::PagePaths;
use millwork_net::{ConnectionLimits, HttpServer};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Threads that answer requests: 2. A request computes for a few milliseconds at most; what takes longer has threads of its own.
const THREADS: usize = 2;

/// The API, as it is served.
pub struct ApiServer {
    stop: CancellationToken,
    server: HttpServer,
    owner: Option<OwnerToken>,
    access: Access,
    threads: Threads,
}

/// The threads of the API, beside those that plan and commit runs: a request never waits for a run's plan to be computed.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> std::io::Result<Self> {
        let mut runtime = Builder::new_multi_thread();
        runtime.worker_threads(THREADS).thread_name("millwork-http").enable_all();
        Ok(Self(Some(runtime.build()?)))
    }

    /// Runs what starts tasks, so that they run on these threads.
    fn host<T>(&self, start: impl FnOnce() -> T) -> T {
        let _entered = self.0.as_ref().map(Runtime::enter);
        start()
    }
}

impl Drop for Threads {
    /// Waits for nothing: a runtime may not wait inside another.
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl ApiServer {
    /// Answers from now on. To be called once in a process, in a runtime: this becomes the place where metrics go, and
    /// numbers are kept current as long as the process lives. `descriptors` is how many files the process may open.
    pub fn start(listener: TcpListener, service: Service, door: HttpDoor, descriptors: u64) -> anyhow::Result<Self> {
        let HttpDoor { options, tokens, tls, prices } = door;
        let (tokens, owner) = match tokens {
            Some(tokens) => (tokens, None),
            None => {
                let owner = OwnerToken::create(listener.local_addr()?, beside(&service).as_deref())?;
                tracing::info!(file = %owner.path().display(), "only the user who started this may ask over HTTP");
                (Tokens::of_owner(&owner), Some(owner))
            }
        };
        let access = Access::new(tokens, &options, listener.local_addr()?.port(), owner.is_some())?;
        let limits = ConnectionLimits::within(options.http_max_connections as usize, descriptors);
        let stop = CancellationToken::new();
        let (presence, pulse) = (Presence::new(listener.local_addr()?), Pulse::start());
        let base = PagePaths::new(options.http_base_path, access.clone());
        let (threads, listener) = (Threads::start()?, listener.into_std()?);
        let server = threads.host(|| {
            let routes = super::router(
                service,
                access.clone(),
                Places::new(limits),
                stop.clone(),
                (presence, pulse, prices),
                &base,
            )?;
            anyhow::Ok(HttpServer::start(TcpListener::from_std(listener)?, base.wrap(routes), limits, tls))
        })?;
        Ok(Self { stop, server, owner, access, threads })
    }

    /// The path of a link that signs the user in who started the process, once, within a time. None, if tokens were made.
    pub fn sign_in_path(&self, time: Duration) -> anyhow::Result<Option<String>> {
        self.owner.as_ref().map(|owner| self.access.owner_link(owner.text(), time)).transpose()
    }

    /// Takes no more requests, and ends when those that came are answered. Streams of events end at once.
    pub async fn shut_down(self) {
        // While the address is still this process's: the next one on it puts its own token there.
        drop(self.owner);
        self.stop.cancel();
        self.server.shut_down().await;
        drop(self.threads);
    }
}

/// A file beside a store that is one.
fn beside(service: &Service) -> Option<PathBuf> {
    service.store().file().map(|path| path.with_extension("token"))
}
