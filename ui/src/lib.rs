//! The scheduler's web UI: pages, as functions from what the API tells to HTML.
//!
//! [`frame`] is around every page, [`parts`] and [`charts`] are what pages are made of. Everything dynamic is escaped by the
//! templates; control characters are shown as signs ([`text`]). Charts are SVG whose geometry stands in attributes and whose
//! colours are classes, so that neither style nor script is ever inline. This crate knows no HTTP server and no store: a page
//! can be made, and looked at, in a test.

pub mod assets;
pub mod charts;
pub mod format;
pub mod frame;
pub mod pages;
pub mod parts;
pub mod text;

pub use frame::{Frame, Notice};
pub use maud::Markup;
