//! The REST API over real jobs, in this process, on a free port of the loopback address.

mod bodies;
mod jobs;
mod logs;
mod server;
mod submit;
