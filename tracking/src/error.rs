//! Errors of the store.

use millwork_manifest::FileState;

/// The result of an operation on the store.
pub type TrackingResult<T> = Result<T, TrackingError>;

/// Error of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrackingError {
    /// The store did not answer, or not in time. The operation may have happened all the same.
    #[error("state `{store}`: {message}")]
    Unavailable {
        /// The database file or table.
        store: String,
        /// The cause.
        message: String,
    },
    /// The store does not do what is asked, however often it is.
    #[error("state `{store}` refuses: {message}")]
    Refused {
        /// The database file or table.
        store: String,
        /// The cause.
        message: String,
    },
    /// A cursor that no listing gave.
    #[error("`{0}` is no cursor of this listing: take `next_cursor` of the page before")]
    BadCursor(String),
    /// The store cannot be opened.
    #[error("cannot open state `{store}`: {message}")]
    Open {
        /// The database file or table.
        store: String,
        /// The cause.
        message: String,
    },
    /// A name that is of no kind of store.
    #[error("cannot open state `{0}`: a state is sqlite:PATH or dynamodb:TABLE")]
    Url(String),
    /// Another process has the store open to run things.
    #[error("state `{0}` is in use by another millwork process: wait for it to end, or use another --state")]
    InUse(String),
    /// A format that this version does not read.
    #[error(
        "state `{store}` has format {found}, this version reads {known}: use the millwork that wrote it, or begin a new state"
    )]
    Format {
        /// The database file.
        store: String,
        /// Format of the database file.
        found: i64,
        /// The format that is known.
        known: i64,
    },
    /// A file that is not Millwork's. Nothing was changed in it.
    #[error("state `{store}` is {what}: it stays as it is; name another with --state")]
    Foreign {
        /// The file.
        store: String,
        /// Kind of content that was found in the file.
        what: String,
    },
    /// A lock that somebody else has taken meanwhile.
    #[error("the lock `{name}` with token {token} has passed to another holder")]
    LockLost {
        /// The lock.
        name: String,
        /// The token that was shown.
        token: u64,
    },
    /// A file that something else happened to meanwhile.
    #[error("file `{uri}` is {state}{holder}: it cannot be put in manifest `{manifest_id}`")]
    Taken {
        /// The file.
        uri: String,
        /// The state it is in.
        state: FileState,
        /// The manifest it is in, as ` in …`.
        holder: String,
        /// The manifest it was wanted for.
        manifest_id: String,
    },
    /// A run that is not as it should be for what was asked.
    #[error("run `{manifest_id}` is {found}; {wanted}")]
    Conflict {
        /// The run.
        manifest_id: String,
        /// The state it is in.
        found: String,
        /// Rule that the request breaks, or advice for whoever asked.
        wanted: &'static str,
    },
    /// Something in the store that no version of Millwork writes.
    #[error("state holds {what} `{value}`, which is not valid")]
    Corrupt {
        /// Kind of the value, in words.
        what: &'static str,
        /// The thing.
        value: String,
    },
}

impl TrackingError {
    /// Tells whether the same operation may succeed later.
    pub fn can_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
