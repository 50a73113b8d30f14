//! Web UI of the scheduler: functions that render types of the API as HTML pages.
//!
//! [`frame`] surrounds every page; [`parts`] and [`charts`] are the building blocks. Templates escape all dynamic text
//! and show control characters as visible symbols ([`text`]). Charts are SVG with geometry in attributes and colours in
//! CSS classes, which needs neither inline style nor script. This crate depends on no HTTP server and no store, so
//! tests can render every page.

pub mod assets;
pub mod charts;
pub mod format;
pub mod frame;
pub mod pages;
pub mod parts;
pub mod text;
mod viewer;

pub use frame::{Frame, Notice};
pub use maud::Markup;
