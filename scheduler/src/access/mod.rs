//! Access over HTTP: tokens, what each may do, and where they are kept.
//!
//! A scheduler knows only hashes of the tokens that an operator made. Without any, it makes one for the user who started it
//! ([`OwnerToken`]), which nobody else can read. Secrets are never written to a log.

mod below;
mod file;
mod owner;
mod session;
mod set;
mod token;
mod tries;

pub(crate) use below::Below;
pub(crate) use file::read_token_set;
pub use owner::{OwnerToken, find_owner_token, keep_private, owner_address};
pub(crate) use session::{Begun, Sessions};
pub use set::TokenSetError;
pub(crate) use set::{TokenSet, Wrong};
pub use token::{NewToken, Role, TokenId, TokenRecord};
pub(crate) use tries::WrongTries;

use std::sync::Arc;

/// Sender of a request, as its token says; in the extensions of each request that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Id of the token: what logs and audits tell.
    pub id: Arc<str>,
    /// Role of the token, which says what the caller may do.
    pub role: Role,
}

/// Checks that a file of tokens with another line is one that a scheduler takes.
pub fn check_token_file(text: &str) -> Result<(), TokenSetError> {
    TokenSet::parse(text).map(drop)
}
