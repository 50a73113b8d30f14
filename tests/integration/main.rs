//! Real processes on real files, judged by an oracle that shares no code with them.

mod bad_input;
mod cluster;
mod crash;
mod json;
mod place;
mod query;
mod rows;
