//! An HTTP/1.1 server that no client can exhaust.
//!
//! All connections are known, with what each is doing. Beyond the limit, in all or of one address, the connection that has
//! been silent for longest makes room for the new one: a stranger who opens thousands and says nothing only ever closes his
//! own. Those that are in the middle of a request are left alone; how many these can be is the business of the routes
//! ([`Slots`]), which are given fewer places than there are connections.

mod connections;
mod limits;
mod refusal;
mod server;
mod slots;

pub use limits::{ConnectionLimits, network};
pub use server::{Endless, HttpServer, Peer, hold};
pub use slots::{Slot, Slots};
