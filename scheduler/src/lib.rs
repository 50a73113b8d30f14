//! Runs: one per manifest, from the queue to published output.
//!
//! [`Engine`] embeds Ballista, to which executors connect. [`Lease`] selects the one process that runs the manifests of
//! a store, and [`Scheduler`] runs them: [`run`] decides on actions, the shell carries them out. [`Intake`] submits
//! manifests from a queue or a directory. This crate does not know how NDJSON is parsed.

mod access;
mod accounts;
mod adopt;
mod api;
mod audit;
mod base_path;
mod changes;
mod commit;
mod cost;
mod doctor;
mod documents;
mod engine;
mod forecast;
mod intake;
mod lease;
mod loss;
mod mended;
mod operations;
mod options;
mod places;
mod plans;
mod program;
mod read_places;
mod recorder;
mod refresh;
pub mod run;
mod scaling;
mod select;
mod server;
mod service;
mod settings;
mod shell;
mod sizes;
mod ui;
mod why;

pub use access::{
    Caller, NewToken, OwnerToken, Role, TokenId, TokenRecord, TokenSetError, check_token_file, find_owner_token,
    keep_private, owner_address,
};
pub use adopt::{Adopted, claim_output};
pub use api::show::file as shown_file;
pub use api::{HttpDoor, HttpOptions, read_token};
pub use audit::{Operator, note as audit_note};
pub use base_path::BasePath;
pub use changes::{Change, EndedRun};
pub use commit::RunResult;
pub use cost::{PricesError, parse_prices, read_prices};
pub use doctor::judge_certificate;
pub use engine::{Engine, ExecutorInfo, ExecutorNow, GoneExecutor};
pub use intake::{Intake, IntakeOptions, Submit};
pub use lease::{Lease, OutputLock};
pub use millwork_conversion::plan_format;
pub use operations::{
    Applied, ChangeMade, Consistency, DateStats, FileQuery, FileReport, FileStats, Finding, INVARIANTS, MAX_CHANGES,
    MAX_FILES_READ, MAX_FINDINGS, Mended, Mending, Operations, Orphan, OrphanKind, Orphans, Outcome, PlannedChange,
    Requested, ResetQuery, Scope, StateMark, Story, StoryStep, check_reason,
};
pub use options::{OutputLayout, RunOptions};
pub use places::PlaceOptions;
pub use plans::PlanError;
pub use program::Program;
pub use read_places::ReadPlaces;
pub use scaling::{FleetSize, ScalerDoor, ScalerServer, ScalingOptions};
pub use server::ApiServer;
pub use service::{Service, SubmitError};
pub use settings::settings_in_force;
pub use shell::Scheduler;
pub use why::{About, Attention, Inspector, nearest};
