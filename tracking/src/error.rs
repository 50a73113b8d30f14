//! Errors of the store.

use millwork_manifest::FileState;

/// The result of an operation on the store.
pub type TrackingResult<T> = Result<T, TrackingError>;

/// Error of the store.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TrackingError {
    /// The store did not answer, or not in time. The operation may have had its effect.
    #[error("state `{store}`: {message}")]
    Unavailable {
        /// The database file or table.
        store: String,
        /// Cause of the failure, as text.
        message: String,
    },
    /// The store refuses the request permanently.
    #[error("state `{store}` refuses: {message}")]
    Refused {
        /// The database file or table.
        store: String,
        /// Cause of the failure, as text.
        message: String,
    },
    /// A cursor that is not from any listing.
    #[error("`{0}` is no cursor of this listing: take `next_cursor` of the page before")]
    BadCursor(String),
    /// The store cannot be opened.
    #[error("cannot open state `{store}`: {message}")]
    Open {
        /// The database file or table.
        store: String,
        /// Cause of the failure, as text.
        message: String,
    },
    /// A URL that names no kind of store.
    #[error("cannot open state `{0}`: a state is sqlite:PATH or dynamodb:TABLE")]
    Url(String),
    /// Another process runs manifests on this store.
    #[error("state `{0}` is in use by another millwork process: wait for it to end, or use another --state")]
    InUse(String),
    /// A format that this version cannot read.
    #[error(
        "state `{store}` has format {found}, this version reads {known}: use the millwork that wrote it, or begin a new state"
    )]
    Format {
        /// The database file.
        store: String,
        /// Format of the database file.
        found: i64,
        /// Format that this version reads.
        known: i64,
    },
    /// A file of another program. It was not changed.
    #[error("state `{store}` is {what}: it stays as it is; name another with --state")]
    Foreign {
        /// Path of the file.
        store: String,
        /// Kind of content in the file.
        what: String,
    },
    /// A lock that another process has taken over.
    #[error("the lock `{name}` with token {token} has passed to another holder")]
    LockLost {
        /// Name of the lock.
        name: String,
        /// Token of the former holder.
        token: u64,
    },
    /// A file that belongs to another manifest, or is in another state, by now.
    #[error("file `{uri}` is {state}{holder}: it cannot be put in manifest `{manifest_id}`")]
    Taken {
        /// URI of the file.
        uri: String,
        /// Present state of the file or run.
        state: FileState,
        /// Manifest that contains the file, as ` in …`.
        holder: String,
        /// Id of the manifest that was to contain the file.
        manifest_id: String,
    },
    /// A run whose state does not allow the request.
    #[error("run `{manifest_id}` is {found}; {wanted}")]
    Conflict {
        /// Id of the run's manifest.
        manifest_id: String,
        /// Present state of the file or run.
        found: String,
        /// Rule that the request breaks, or advice to the caller.
        wanted: &'static str,
    },
    /// An invalid value in the store, which no version of Millwork writes.
    #[error("state holds {what} `{value}`, which is not valid")]
    Corrupt {
        /// Kind of the value.
        what: &'static str,
        /// The invalid value.
        value: String,
    },
}

impl TrackingError {
    /// Tells whether a retry of the same operation may succeed.
    pub fn can_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }
}
