//! A connection that only shows whether a scheduler is there.
//!
//! Ballista's heartbeats take five failures, and each up to twenty seconds, to say that it is not. Here, the end of its
//! process ends the connection at once, and one that is stopped, or cut off, leaves pings without an answer.

use crate::Address;
use h2::{Ping, PingPong};
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// How long a scheduler has to show that it is there.
const CONNECT: Duration = Duration::from_secs(2);
/// How often it is pinged.
const PING: Duration = Duration::from_secs(2);
/// How long it may be silent. As long as it takes another scheduler to be the one that runs manifests.
const SILENCE: Duration = Duration::from_secs(8);

/// A connection to a scheduler that was there when it was made.
pub(crate) struct Link(JoinHandle<()>);

impl Link {
    pub(crate) async fn connect(address: &Address) -> io::Result<Self> {
        timeout(CONNECT, Self::connect_in_time(address)).await?
    }

    async fn connect_in_time(address: &Address) -> io::Result<Self> {
        let host = address.host.trim_matches(['[', ']']);
        let stream = TcpStream::connect((host, address.port)).await?;
        // Held as long as the connection is to be.
        let (requests, mut connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        let mut pings = connection.ping_pong().ok_or_else(|| io::Error::other("no pings"))?;
        tokio::select! {
            ended = &mut connection => {
                ended.map_err(io::Error::other)?;
                return Err(io::ErrorKind::ConnectionReset.into());
            }
            pong = pings.ping(Ping::opaque()) => pong.map_err(io::Error::other)?,
        };
        Ok(Self(tokio::spawn(async move {
            let _requests = requests;
            tokio::select! {
                _ = connection => {}
                () = until_silent(pings) => {}
            }
        })))
    }

    /// Waits until the scheduler is gone.
    pub(crate) async fn lost(&mut self) {
        // It has no result.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn until_silent(mut pings: PingPong) {
    while let Ok(Ok(_)) = timeout(SILENCE, pings.ping(Ping::opaque())).await {
        sleep(PING).await;
    }
}
