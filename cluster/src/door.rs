//! The scheduler's port for executors.

use crate::guard::{Guarded, STRANGER_TIME, Strangers};
use crate::service::Services;
use crate::{Access, ExecutorLink};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::Server;

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
pub fn listen(listener: TcpListener, access: Access) -> io::Result<Door> {
    let (links, executors) = mpsc::channel(16);
    let (accepted, connections) = mpsc::channel(16);
    let services = Services::new(access, links)?;
    let closed = CancellationToken::new();
    tokio::spawn(accept(listener, accepted, closed.clone()));
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

/// Accepts connections until the door is closed.
async fn accept(listener: TcpListener, accepted: mpsc::Sender<Guarded<TcpStream>>, closed: CancellationToken) {
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
                if accepted.send(guarded).await.is_err() {
                    return;
                }
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

fn guard(strangers: &Strangers, stream: TcpStream, peer: SocketAddr) -> Guarded<TcpStream> {
    // Else an answer waits up to 40 ms for the acknowledgement of its own first half.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "messages to an executor wait for acknowledgements");
    }
    strangers.guard(stream, peer)
}
