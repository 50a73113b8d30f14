//! Runs: one for each manifest, taken from the queue to published output.
//!
//! [`Engine`] is Ballista, to which executors connect; [`Scheduler`] admits manifests, runs attempts on the engine,
//! judges and commits them; [`Intake`] brings it manifests from a queue or a directory. This crate knows nothing of how NDJSON is parsed.

mod commit;
mod engine;
mod http;
mod intake;
mod options;
mod run;
mod service;
mod state;

pub use commit::{OutputFile, RunResult};
pub use engine::{Engine, ExecutorInfo, HEARTBEAT_SECONDS};
pub use http::{check_listen, router};
pub use intake::{Intake, IntakeOptions, Submit};
pub use options::{OutputLayout, RunOptions};
pub use service::{EndedRun, Scheduler};
pub use state::State;
