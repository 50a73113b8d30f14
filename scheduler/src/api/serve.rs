//! The HTTP API of a process, from its first request to its last.

use super::auth::{Access, Tokens};
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
use tokio_util::sync::CancellationToken;

/// The API, as it is served.
pub struct ApiServer {
    stop: CancellationToken,
    server: HttpServer,
    owner: Option<OwnerToken>,
    access: Access,
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
        let presence = Presence::new(listener.local_addr()?);
        let base = PagePaths::new(options.http_base_path, access.clone());
        let routes =
            super::router(service, access.clone(), Places::new(limits), stop.clone(), (presence, prices), &base)?;
        let routes = base.wrap(routes);
        Ok(Self { stop, server: HttpServer::start(listener, routes, limits, tls), owner, access })
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
    }
}

/// A file beside a store that is one.
fn beside(service: &Service) -> Option<PathBuf> {
    service.store().file().map(|path| path.with_extension("token"))
}
