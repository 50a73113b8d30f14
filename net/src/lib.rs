//! Connections: TLS whose certificates are read again when they change, an HTTP server that no client can exhaust, and the
//! file descriptors that both need.
//!
//! The crate is independent of the content of connections, and of access rights.

mod certificates;
mod crowd;
mod descriptors;
mod http;
mod listen;
mod seldom;
mod tls;
mod watched;

pub use certificates::{CertificateEnd, CertificatesInUse};
pub use crowd::{Crowd, Place, network};
pub use descriptors::raise_descriptor_limit;
pub use http::{ConnectionLimits, Endless, HttpServer, Peer, Slot, Slots, hold};
pub use listen::cannot_listen;
pub use seldom::Seldom;
pub use tls::{ClientTls, ClientTrust, Identity, ServerTls, TlsError, certificate_names};
pub use tokio_rustls::{self, rustls};
pub use watched::Watched;
