//! HTTP/1.1 server that no client can exhaust.
//!
//! The server tracks all connections with their phases. Beyond the limit, in total or per address, the connection that
//! has been silent for longest is closed for a new one: a client that opens thousands of silent connections mostly
//! closes its own. Connections with a request in progress are never closed for this; their number is limited by the
//! routes ([`Slots`]), to fewer than there are connections.

mod connections;
mod limits;
mod refusal;
mod server;
mod slots;

pub use limits::{ConnectionLimits, network};
pub use server::{Endless, HttpServer, Peer, hold};
pub use slots::{Slot, Slots};
