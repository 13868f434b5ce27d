//! The REST API over real jobs, in this process, on a free port of the loopback address.

mod access;
mod bodies;
mod checkpoints;
mod jobs;
mod logs;
mod metrics;
mod page;
mod savepoints;
mod server;
mod slow;
mod submit;
