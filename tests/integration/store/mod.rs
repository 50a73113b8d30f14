//! What every tracking store does, and a wrapper that lets it fail.

mod audits;
mod conformance;
mod deaths;
pub(crate) mod faults;
mod files;
mod forces;
mod manifests;
mod queues;
mod runs;
mod supersedes;
mod support;
mod totals;
mod unreadable;
