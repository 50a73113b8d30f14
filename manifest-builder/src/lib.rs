//! Builder of manifests: turns events and listings of files into manifests of one date each.
//!
//! ```text
//! event, listing ─▶ judge ─▶ track ─▶ (quarantine) ─▶ backlog of the date ─▶ cut ─▶ draft ─▶ claim ─▶ write ─▶ queue
//! ```
//!
//! [`Builder`] works on any [`TrackingStore`](millwork_tracking::TrackingStore) and any
//! [`Objects`](millwork_storage::Objects). Recovery from a crash:
//!
//! | crash | what remains | recovered by |
//! |---|---|---|
//! | before a file is tracked | the message, or the file in the listing | redelivery of the message, or the next listing |
//! | after a file is refused, before it is moved | the file in its old place | redelivery of the message, or the next listing |
//! | after files are tracked, before a manifest is cut | they are pending | the next file of the date, or the sweep |
//! | after a draft is begun, or some of its files are claimed | the draft, which names them | the sweep, with the claimed files |
//! | after the manifest is written, before its run is queued | the same | the sweep; it writes the same document |
//!
//! A process that resumes after its lock was taken over can claim nothing more, since the store refuses its token. Its
//! earlier claims stay in its draft, which the sweep finishes with the same name and content, whichever process is
//! first.
//!
//! The crate must stay small: its dependency tree may not contain DataFusion.

mod backfill;
mod batches;
mod builder;
mod cut;
mod error;
pub mod once;
mod outlook;
pub mod program;
mod quarantine;
mod redrive;
mod rounds;
mod service;
mod settings;
mod sweep;
mod wishes;

pub use backfill::{Backfilled, ForeignFile, QuarantinedFile, UnmovedFile};
pub use builder::{Arrived, Builder, Clock};
pub use cut::Cut;
pub use error::BuilderError;
pub use outlook::{BackfillOutlook, CutOutlook, DateToCut, SweepOutlook};
pub use redrive::{RedriveFilter, Redriven, RefusedFile};
pub use service::lambda::run_lambda;
pub use service::{ServiceOptions, Signs, serve, watch};
pub use settings::{Rules, Settings};
pub use sweep::Swept;
pub use wishes::{TakenWishes, WISH_INTERVAL};
