//! The scheduler's port for executors.

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

/// Streams that a connection may have: an executor needs one, after its challenge.
const MAX_STREAMS: u32 = 4;
/// Limit of a request's header fields, as hyper counts them.
const MAX_HEADER_BYTES: u32 = 8 << 10;
/// Bytes that a connection may send ahead of what is read, of one stream and in all: times the number of strangers, they
/// bound the memory that strangers can take.
const STREAM_WINDOW_BYTES: u32 = 256 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 512 << 10;
/// The pause after the system refused to accept a connection, such as for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// An open door. It closes when this is dropped, and breaks all connections.
pub struct Door {
    /// The executors that have come in, in order.
    pub executors: mpsc::Receiver<ExecutorLink>,
    _open: DropGuard,
}

/// Opens the door.
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

/// A connection that is open, with TLS or without.
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

/// Accepts connections until the door is closed.
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
                    tracing::warn!(%error, "cannot accept a connection of an executor; trying on");
                }
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Opens a connection and hands it on. A handshake takes its time, in which others come.
async fn open(access: DoorAccess, guarded: Guarded<TcpStream>, accepted: mpsc::Sender<Incoming>) {
    let visit = guarded.visit().clone();
    match access.open(guarded).await {
        // Fails when the door is closed.
        Ok(stream) => drop(accepted.send(Incoming { stream, visit }).await),
        Err(error) => tracing::debug!(peer = %visit.peer, %error, "refused a connection of an executor"),
    }
}

fn guard(strangers: &Strangers, stream: TcpStream, peer: SocketAddr) -> Guarded<TcpStream> {
    // Else an answer waits up to 40 ms for the acknowledgement of its own first half.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "messages to an executor wait for acknowledgements");
    }
    strangers.guard(stream, peer)
}
