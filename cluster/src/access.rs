//! Who may be at the other end.

use crate::Secret;

/// The means by which both ends of a connection know each other.
#[derive(Clone, Debug)]
pub struct Access {
    /// The secret that both share.
    pub secret: Secret,
}
