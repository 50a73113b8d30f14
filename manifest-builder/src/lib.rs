//! From files to manifests: events and listings in, manifests of one date each out.
//!
//! ```text
//! event, listing ─▶ judge ─▶ track ─▶ (quarantine) ─▶ backlog of the date ─▶ cut ─▶ draft ─▶ claim ─▶ write ─▶ queue
//! ```
//!
//! [`Builder`] does it, on any [`TrackingStore`](millwork_tracking::TrackingStore) and any
//! [`Objects`](millwork_storage::Objects). What happens when the process dies:
//!
//! | the process dies | what is left | who goes on |
//! |---|---|---|
//! | before a file is tracked | the message, or the file in the listing | the message comes again, or the next listing |
//! | after a file is refused, before it is moved | it stands where it was | the message comes again, or the next listing |
//! | after files are tracked, before a manifest is cut | they are pending | the next file of the date, or the sweep |
//! | after a draft is begun, or some of its files claimed | the draft, which names them | the sweep, with those claimed |
//! | after the manifest is written, before its run is queued | the same | the sweep; it writes the same document |
//!
//! A holder that comes back after its lock has passed on can claim nothing more: the store refuses its token. What it
//! claimed before stays in its draft, which the sweep finishes with the same name and content, whoever is first.
//!
//! This crate must stay light: no DataFusion in its tree.

mod backfill;
mod batches;
mod builder;
mod cut;
pub mod once;
mod outlook;
pub mod program;
mod quarantine;
mod redrive;
mod service;
mod settings;
mod sweep;
mod wishes;

pub use backfill::{Backfilled, ForeignFile, QuarantinedFile, UnmovedFile};
pub use builder::{Arrived, Builder, BuilderError, Clock};
pub use cut::Cut;
pub use outlook::{BackfillOutlook, CutOutlook, DateToCut, SweepOutlook};
pub use redrive::{RedriveFilter, Redriven, RefusedFile};
pub use service::lambda::run_lambda;
pub use service::{ServiceOptions, Signs, serve, watch};
pub use settings::{Rules, Settings};
pub use sweep::Swept;
pub use wishes::{TakenWishes, WISH_INTERVAL};
