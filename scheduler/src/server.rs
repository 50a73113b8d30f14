//! The HTTP API of a process and its pages, from the first request to the last.

use crate::access::OwnerToken;
use crate::api::permits::Bounds;
use crate::api::{Access, HttpDoor, Places, Presence, Pulse, Tokens, leave, router};
use crate::service::Service;
use crate::ui::{PagePaths, routers};
use millwork_net::{ConnectionLimits, HttpServer};
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio_util::sync::CancellationToken;

/// Threads that answer requests: 2. A request computes for a few milliseconds at most; what takes longer has threads of its own.
const THREADS: usize = 2;

/// The running API.
pub struct ApiServer {
    stop: CancellationToken,
    server: HttpServer,
    owner: Option<OwnerToken>,
    access: Access,
    threads: Threads,
    service: Service,
}

/// The threads of the API, apart from those that plan and commit runs, so that a request does not wait for a run's plan to
/// be computed. With DynamoDB it may share a connection that the others serve.
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
    /// Starts to answer requests. Must be called once per process, within a runtime: installs the metrics recorder, and
    /// keeps totals current until the process ends. `descriptors` is the number of files that the process may open.
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
        if let Some(tls) = &tls {
            tls.note_in(service.certificates());
        }
        let access = Access::new(tokens, &options, listener.local_addr()?.port(), owner.is_some())?;
        let limits = ConnectionLimits::within(options.http_max_connections as usize, descriptors);
        let stop = CancellationToken::new();
        let (presence, pulse) = (Presence::new(listener.local_addr()?), Pulse::start());
        let base = PagePaths::new(options.http_base_path, access.clone());
        let bounds = Bounds::new(service.clone());
        let pages = routers(access.clone(), &base, bounds.clone());
        let (threads, listener) = (Threads::start()?, listener.into_std()?);
        let server = threads.host(|| {
            let told = (presence, pulse, prices);
            let routes =
                router(service.clone(), access.clone(), Places::new(limits), stop.clone(), told, bounds, pages)?;
            anyhow::Ok(HttpServer::start(TcpListener::from_std(listener)?, base.wrap(routes), limits, tls))
        })?;
        Ok(Self { stop, server, owner, access, threads, service })
    }

    /// Path of a one-time link, valid for a limited time, that signs in the user who started the process. `None` if
    /// tokens were configured.
    pub fn sign_in_path(&self, time: Duration) -> anyhow::Result<Option<String>> {
        self.owner.as_ref().map(|owner| self.access.owner_link(owner.text(), time)).transpose()
    }

    /// Accepts no further requests, and returns once those in progress are answered. Event streams end at once.
    pub async fn shut_down(self) {
        // Removed while this process still has the address: the next process there writes its own token file.
        drop(self.owner);
        self.stop.cancel();
        self.server.shut_down().await;
        leave(&self.service).await;
        drop(self.threads);
    }
}

/// Path for a token file next to the state, if the state is a file.
fn beside(service: &Service) -> Option<PathBuf> {
    service.store().file().map(|path| path.with_extension("token"))
}
