//! HTTP/1.1 server that no client can exhaust.
//!
//! The server tracks all connections with their phases. Beyond the limit, in total or per network, one without a request
//! in progress is closed for a new one: of the network that has the most of these, the one that has been quiet for
//! longest. A client that opens thousands of connections mostly closes its own. Connections with a request in progress
//! are never closed for this; their number is limited by the routes ([`Slots`]), to fewer than there are connections.

mod connections;
mod limits;
mod refusal;
mod server;
mod slots;

pub use limits::ConnectionLimits;
pub use server::{Endless, HttpServer, Peer, hold};
pub use slots::{Slot, Slots};
