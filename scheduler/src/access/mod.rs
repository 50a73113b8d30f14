//! Access over HTTP: tokens, their roles, and their storage.
//!
//! A scheduler knows only hashes of the tokens that an operator created. If there are none, it creates one for the
//! user who started it ([`OwnerToken`]), which nobody else can read. Secrets are never logged.

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

/// Authenticated sender of a request; stored in the extensions of each request that was admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Id of the token, as shown in logs and audit records.
    pub id: Arc<str>,
    /// Role of the token, which determines the permitted actions.
    pub role: Role,
}

/// Checks that a token file, with a new line appended, is still accepted by a scheduler.
pub fn check_token_file(text: &str) -> Result<(), TokenSetError> {
    TokenSet::parse(text).map(drop)
}
