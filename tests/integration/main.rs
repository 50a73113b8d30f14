//! Real processes on real files, judged by an oracle that shares no code with them.

// A test that meets what it did not expect is to fail right there.
#![allow(clippy::unwrap_used, clippy::panic)]

mod api;
mod aws;
mod bad_input;
mod bombs;
mod builder;
mod changed_input;
mod chaos;
mod cluster;
mod cost;
mod crash;
mod doors;
mod doors_http;
mod doors_load;
mod fleet;
mod formats;
mod hostile_day;
mod intake;
mod json;
mod limits;
mod messages;
mod metrics;
mod odd_files;
mod ops;
mod place;
mod places;
mod proxy;
mod query;
mod queues;
mod random;
mod readers;
mod rogue;
mod rows;
mod runs;
mod servers;
mod simulation;
mod sizes;
mod staging;
mod store;
mod sweep;
mod taken_back;
mod traces;
mod unprivileged;
