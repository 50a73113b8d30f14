//! Secret path prefixes for the web pages of a token's holder.
//!
//! Browsers send a cookie to every port of a host, restricted only by path. Another user of the host may listen on
//! another port. A session's cookie is therefore bound to a path that nobody can know without the token, or a page
//! below that path.

use super::token::{SecretHash, hex};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use std::sync::Arc;

/// Length of the path's name, in bytes: 128 bits, which cannot be guessed.
const NAME_BYTES: usize = 16;

/// Path prefix for the pages of one token, derived from the token alone, so that it survives restarts.
#[derive(Clone, Debug)]
pub(crate) struct Below {
    pub(super) token: SecretHash,
    name: Arc<str>,
}

impl Below {
    pub(super) fn of(token: SecretHash) -> Self {
        // HMAC accepts keys of any length, so that this cannot fail.
        let mac = <Hmac<Sha256> as KeyInit>::new_from_slice(&token.0).map(|mac| mac.chain_update(b"ui path v1"));
        let mac = mac.map(|mac| mac.finalize().into_bytes().to_vec()).unwrap_or_default();
        Self { token, name: hex(mac.get(..NAME_BYTES).unwrap_or_default()).into() }
    }

    /// Name of the prefix, which is the first part of the path.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Tells whether a name has the form of a path prefix of any token.
    pub(crate) fn is_name(name: &str) -> bool {
        name.len() == 2 * NAME_BYTES && name.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    }
}
