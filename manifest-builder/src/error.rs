//! Reasons why a builder cannot do something.

use millwork_manifest::{DatePrefix, InvalidManifestId, InvalidUri, ObjectUri};
use millwork_storage::StorageError;
use millwork_tracking::TrackingError;

/// Reason why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum BuilderError {
    /// Listing, moving or writing failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The store failed.
    #[error(transparent)]
    Tracking(#[from] TrackingError),
    /// An input that overlaps with a place written to.
    #[error("{inner} `{place}` {relation} the input `{input}`: what is written there is never input; keep them apart")]
    Overlap {
        /// Name of the place.
        inner: &'static str,
        /// Address of the place.
        place: String,
        /// `is inside`, or `holds`.
        relation: &'static str,
        /// Address of the input.
        input: String,
    },
    /// An invalid id for a manifest.
    #[error(transparent)]
    Id(#[from] InvalidManifestId),
    /// An invalid URI of an object.
    #[error(transparent)]
    Uri(#[from] InvalidUri),
    /// An object outside the input, which is never moved.
    #[error("`{0}` is in none of the input's places: it is left as it is")]
    NoInput(ObjectUri),
    /// A place outside the input.
    #[error(
        "`{0}` is in none of the input's places: name it in --input-places or INPUT_PLACES too, or list one of those"
    )]
    NoPlace(String),
    /// Another process is making manifests of the date, and continues.
    #[error("somebody else is making manifests of {0}: try again when that is done")]
    Busy(DatePrefix),
    /// The process is about to stop.
    #[error("told to stop: what is not done yet is done by the next process")]
    Stopped,
    /// The place of a manifest document holds an object of another origin.
    #[error("`{0}` is there already, and is not this manifest: move it away; the sweep then goes on")]
    Foreign(String),
}
