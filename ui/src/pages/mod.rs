//! Pages, one per module. Each module has a type for the content, and a function that renders it as HTML.

pub mod activity;
pub mod cluster;
pub mod confirm;
pub mod cost;
pub mod dates;
pub mod doctor;
pub mod error;
pub mod file;
pub mod files;
pub mod find;
pub mod flow;
pub mod help;
pub mod mend;
pub mod overview;
pub mod preview;
pub mod quarantine;
pub mod queues;
pub mod rejected;
pub mod run;
pub mod run_page;
pub mod run_parts;
pub mod run_tasks;
pub mod runs;
pub mod sign_in;
