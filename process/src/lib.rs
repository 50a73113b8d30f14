//! Common functions of all binaries for their operators: environment variables for all options, presets, logs, traces,
//! process metrics, health checks and metrics over HTTP, and exit handling.
//!
//! Independent of the purpose of the process.

mod certificates;
mod end;
mod health;
mod logs;
mod metrics;
mod options;
mod profile;
mod runtime;
mod traces;
mod usage;

pub use end::ended;
pub use health::{Check, HealthOptions, HealthServer};
pub use logs::start_logs;
pub use metrics::{COMMIT, Metrics};
pub use options::{Parsed, parse, read, try_parse_from, unnamed, with_variables};
pub use profile::Profile;
pub use runtime::{block_on, report_large_files, report_missing_threads};
pub use traces::{link, put_below, trace_id, traceparent};
