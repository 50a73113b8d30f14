//! Executor's side of a connection.

use crate::messages::Nothing;
use crate::secret::{Role, hex, random, unhex};
use crate::service::stubs::entrance_client::EntranceClient;
use crate::service::stubs::executors_client::ExecutorsClient;
use crate::service::{OF_EXECUTOR, OF_SCHEDULER, PROOF};
use crate::{Access, Address, Link, MAX_MESSAGE_BYTES, SILENCE, SchedulerLink, WAITING_MESSAGES};
use futures::{StreamExt, TryStreamExt};
use hyper_util::rt::TokioIo;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::Uri;
use tonic::metadata::MetadataMap;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Time limit for connecting and registering with a scheduler.
const CONNECT: Duration = Duration::from_secs(2);

/// Connects to a scheduler, which must prove that it has the secret.
pub async fn connect(address: &Address, access: &Access) -> io::Result<SchedulerLink> {
    connect_at(address, None, access).await
}

/// Connects to one of the addresses of a scheduler's name; its certificate has to be for the name.
pub async fn connect_at(address: &Address, at: Option<SocketAddr>, access: &Access) -> io::Result<SchedulerLink> {
    timeout(CONNECT, connect_in_time(address, at, access)).await.map_err(|_| {
        io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} seconds", CONNECT.as_secs()))
    })?
}

async fn connect_in_time(address: &Address, at: Option<SocketAddr>, access: &Access) -> io::Result<SchedulerLink> {
    let channel = open(address, at, access).await?;
    let of_executor: [u8; 32] = random()?;
    let mut challenge = Request::new(Nothing {});
    put(challenge.metadata_mut(), OF_EXECUTOR, &of_executor)?;
    let answer = EntranceClient::new(channel.clone()).challenge(challenge).await.map_err(refused)?;
    let get = |name| answer.metadata().get(name).and_then(|value| value.to_str().ok()).and_then(unhex::<32>);
    let (Some(of_scheduler), Some(proof)) = (get(OF_SCHEDULER), get(PROOF)) else {
        return Err(io::Error::other("what answers is no scheduler of this kind"));
    };
    if !access.secret.is_proof(&proof, Role::Scheduler, &of_executor, &of_scheduler) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the scheduler does not have this executor's secret: give both the same with --executor-secret-file or \
             MILLWORK_EXECUTOR_SECRET",
        ));
    }
    let (outbound, messages) = mpsc::channel(WAITING_MESSAGES);
    let mut work = Request::new(ReceiverStream::new(messages));
    put(work.metadata_mut(), OF_EXECUTOR, &of_executor)?;
    put(work.metadata_mut(), OF_SCHEDULER, &of_scheduler)?;
    put(work.metadata_mut(), PROOF, &access.secret.proof(Role::Executor, &of_executor, &of_scheduler))?;
    let inbound = executors(channel).work(work).await.map_err(refused)?.into_inner();
    Ok(Link {
        peer: address.to_string(),
        patience: SILENCE,
        outbound,
        inbound: inbound.map_err(io::Error::other).boxed(),
    })
}

/// Opens a channel, with TLS if there are certificates. The URL scheme is always `http`: with `https`, the library
/// would add TLS of its own.
async fn open(address: &Address, at: Option<SocketAddr>, access: &Access) -> io::Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(io::Error::other)?;
    let (address, access) = (address.clone(), access.clone());
    let connector = tower::service_fn(move |_: Uri| {
        let (address, access) = (address.clone(), access.clone());
        async move {
            let host = address.host.trim_matches(['[', ']']);
            let stream = match at {
                Some(at) => TcpStream::connect(at).await?,
                None => TcpStream::connect((host, address.port)).await?,
            };
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(TokioIo::new(access.open(stream, host).await?))
        }
    });
    endpoint.connect_with_connector(connector).await.map_err(cause)
}

fn executors(channel: Channel) -> ExecutorsClient<Channel> {
    ExecutorsClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

fn put(metadata: &mut MetadataMap, name: &'static str, value: &[u8]) -> io::Result<()> {
    metadata.insert(name, hex(value).parse().map_err(io::Error::other)?);
    Ok(())
}

/// Cause of a failed connection, which tonic hides below "transport error".
fn cause(error: tonic::transport::Error) -> io::Error {
    let mut at: &dyn std::error::Error = &error;
    while let Some(below) = at.source() {
        at = below;
    }
    match at.downcast_ref::<io::Error>() {
        Some(io) => io::Error::new(io.kind(), io.to_string()),
        None => io::Error::other(at.to_string()),
    }
}

fn refused(status: Status) -> io::Error {
    let kind = match status.code() {
        tonic::Code::Unauthenticated => io::ErrorKind::PermissionDenied,
        _ => io::ErrorKind::Other,
    };
    io::Error::new(kind, status.message().to_owned())
}
