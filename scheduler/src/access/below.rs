//! Paths below which pages are shown to whoever has a token.
//!
//! A browser sends a cookie to every port of a host, and only below its path. Another user of the host can listen on another port: so
//! a session's cookie has a path that nobody knows without the token, or a page below it.

use super::session::hex;
use super::token::SecretHash;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::Arc;

/// Bytes of a path's name: 128 bits, which nobody guesses.
const NAME_BYTES: usize = 16;

/// Place of the pages of one token: changes with the token, and not with the process.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    pub(super) token: SecretHash,
    name: Arc<str>,
}

impl Below {
    pub(super) fn of(token: SecretHash) -> Self {
        // An HMAC takes a key of any length.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&token.0).map(|mac| mac.chain_update(b"ui path v1"));
        let mac = mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
        Self { token, name: hex(mac.get(..NAME_BYTES).unwrap_or_default()).into() }
    }

    /// Name of the path, which stands first.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether a name could be one of such a path, of whichever token.
    pub(crate) fn is_name(name: &str) -> bool {
        name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}
