//! Reader of pages, and what that reader may do.

/// Rights of a user. Each includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// Read pages.
    Read,
    /// Retry, cancel, force and prioritise runs.
    Operate,
    /// All rights.
    Admin,
}

impl Right {
    /// Name of the right.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// User that a page is rendered for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Viewer {
    /// Id of the token used to sign in.
    pub name: String,
    /// Right of that token.
    pub right: Right,
}
