//! Places that a scheduler reads.

use millwork_storage::{Location, Places};

/// The places that are read.
#[derive(Clone, Debug)]
pub struct ReadPlaces {
    /// Places in which input files may be.
    pub input: Places,
    /// Place of mended lines, where the scheduler itself puts them; none if it has no output.
    pub mended: Option<Location>,
    /// Places in which manifests may be.
    pub manifests: Places,
}

impl ReadPlaces {
    /// Places of input and manifests, and of mended lines, which are private to an output.
    pub fn new(input: Places, manifests: Places, output: Option<&Location>) -> Self {
        Self { input, manifests, mended: output.map(|output| output.join("_millwork").join("mended")) }
    }

    /// Places of files that may be converted: of input and of mended lines.
    pub fn convertible(&self) -> Places {
        let mended = self.mended.as_ref().map_or_else(Places::none, Places::of);
        self.input.clone().and(mended)
    }
}
