//! What every tracking store does, and a wrapper that lets it fail.

mod conformance;
pub(crate) mod faults;
