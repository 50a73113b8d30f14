//! Places that a scheduler reads.

use millwork_storage::Places;

/// The places that are read.
#[derive(Clone, Debug)]
pub struct ReadPlaces {
    /// Places in which input files may be.
    pub input: Places,
    /// Places in which manifests may be.
    pub manifests: Places,
}
