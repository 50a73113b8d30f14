//! Places that a scheduler reads from.

use millwork_storage::{Location, Places};

/// Places that are read.
#[derive(Clone, Debug)]
pub struct ReadPlaces {
    /// Places in which input files may be.
    pub input: Places,
    /// Place of mended lines, which the scheduler writes itself; `None` if there is no output.
    pub mended: Option<Location>,
    /// Places in which manifests may be.
    pub manifests: Places,
}

impl ReadPlaces {
    /// Places of input and manifests, and that of mended lines, which is private to the output.
    pub fn new(input: Places, manifests: Places, output: Option<&Location>) -> Self {
        Self { input, manifests, mended: output.map(|output| output.join("_millwork").join("mended")) }
    }

    /// Places of files that may be converted: input and mended lines.
    pub fn convertible(&self) -> Places {
        let mended = self.mended.as_ref().map_or_else(Places::none, Places::of);
        self.input.clone().and(mended)
    }
}
