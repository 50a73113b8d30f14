//! Plain words for an address that cannot be listened on.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

/// Ports below this are for root, on systems as they come: 1,024.
const FIRST_FREE_PORT: u16 = 1024;

/// Says why nobody can listen on an address, and what to do.
pub fn cannot_listen(address: SocketAddr, error: &io::Error) -> String {
    let why = match error.kind() {
        ErrorKind::AddrInUse => "another process listens there: stop it, or choose another address".to_owned(),
        ErrorKind::PermissionDenied if address.port() < FIRST_FREE_PORT => {
            format!("this user may not listen on ports below {FIRST_FREE_PORT}: choose a higher one")
        }
        ErrorKind::AddrNotAvailable => "this machine has no such address: choose one that it has".to_owned(),
        _ => error.to_string(),
    };
    format!("cannot listen on {address}: {why}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_and_the_remedy_are_told() {
        let address: SocketAddr = "127.0.0.1:80".parse().unwrap();
        for (kind, told) in [
            (ErrorKind::AddrInUse, "another process listens there"),
            (ErrorKind::PermissionDenied, "below 1024"),
            (ErrorKind::AddrNotAvailable, "no such address"),
        ] {
            let text = cannot_listen(address, &kind.into());
            assert!(text.contains("127.0.0.1:80") && text.contains(told), "{text}");
        }
    }
}
