//! A process as its operators see it, the same for every binary: variables for all of its options, presets of them, logs, traces, metrics of the
//! process itself, health and metrics over HTTP, its end.
//!
//! Nothing here knows what the process is for.

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
pub use runtime::{block_on, report_large_files};
pub use traces::{link, put_below, trace_id, traceparent};
