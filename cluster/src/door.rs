//! Scheduler's port for executors.

use crate::ExecutorLink;
use crate::access::{DoorAccess, Stream};
use crate::guard::{Guarded, STRANGER_TIME, Strangers, Visit};
use crate::service::Services;
use futures::StreamExt;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;
use tonic::transport::server::Connected;

/// Limit of the HTTP/2 streams per connection: an executor needs one at a time, first for its challenge.
const MAX_STREAMS: u32 = 4;
/// Limit of a request's header fields in bytes, as counted by hyper.
const MAX_HEADER_BYTES: u32 = 8 << 10;
/// Flow-control windows: bytes that a connection may send ahead of reading, per stream and in total. Multiplied by the
/// limit of unauthenticated connections, they bound the memory of these.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// Pause after the system failed to accept a connection, for example because of missing descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listening port. Dropping it closes the port and breaks all connections.
pub struct Door {
    /// Authenticated executors, in order of arrival.
    pub executors: mpsc::Receiver<ExecutorLink>,
    _open: DropGuard,
}

/// Starts to accept connections.
pub fn listen(listener: TcpListener, access: DoorAccess) -> io::Result<Door> {
    let (links, executors) = mpsc::channel(16);
    let (accepted, connections) = mpsc::channel(16);
    let services = Services::new(access.secret.clone(), links)?;
    let closed = CancellationToken::new();
    tokio::spawn(accept(listener, access, accepted, closed.clone()));
    let server = Server::builder()
        .max_concurrent_streams(MAX_STREAMS)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keepalive_interval(Some(STRANGER_TIME))
        .http2_keepalive_timeout(Some(STRANGER_TIME))
        .add_service(services.entrance())
        .add_service(services.executors())
        .serve_with_incoming(ReceiverStream::new(connections).map(Ok::<_, io::Error>));
    let open = closed.clone().drop_guard();
    tokio::spawn(async move {
        tokio::select! {
            ended = server => tracing::error!(?ended, "executors are not served any more"),
            () = closed.cancelled() => {}
        }
    });
    Ok(Door { executors, _open: open })
}

/// An accepted connection, with or without TLS.
struct Incoming {
    stream: Stream<Guarded<TcpStream>>,
    visit: Arc<Visit>,
}

impl Connected for Incoming {
    type ConnectInfo = Arc<Visit>;

    fn connect_info(&self) -> Arc<Visit> {
        self.visit.clone()
    }
}

impl AsyncRead for Incoming {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Incoming {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// Accepts connections until the port is closed.
async fn accept(
    listener: TcpListener,
    access: DoorAccess,
    accepted: mpsc::Sender<Incoming>,
    closed: CancellationToken,
) {
    let strangers = Arc::new(Strangers::default());
    let mut is_told = false;
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = closed.cancelled() => return,
        };
        match connection {
            Ok((stream, peer)) => {
                is_told = false;
                let guarded = guard(&strangers, stream, peer);
                tokio::spawn(open(access.clone(), guarded, accepted.clone()));
            }
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!(%error, "cannot accept a connection of an executor; trying again");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Sets up a connection and passes it on. Runs as a task, since a handshake takes time in which others connect.
async fn open(access: DoorAccess, guarded: Guarded<TcpStream>, accepted: mpsc::Sender<Incoming>) {
    let visit = guarded.visit().clone();
    match access.open(guarded).await {
        // Fails when the port is closed.
        Ok(stream) => drop(accepted.send(Incoming { stream, visit }).await),
        Err(error) => tracing::debug!(peer = %visit.peer, %error, "refused a connection of an executor"),
    }
}

fn guard(strangers: &Strangers, stream: TcpStream, peer: SocketAddr) -> Guarded<TcpStream> {
    // Without TCP_NODELAY, an answer can be delayed by up to 40 ms, until its first half is acknowledged.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "messages to an executor wait for acknowledgements");
    }
    strangers.guard(stream, peer)
}
