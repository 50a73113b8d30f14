//! Building blocks of pages.

pub mod actions;
pub mod copy;
pub mod facts;
pub mod filters;
pub mod link;
pub mod pager;
pub mod state;
pub mod states;
pub mod time;
pub mod why;
