//! The control side: which jobs there are, and the REST API through which people and programs see and change that.
//!
//! Must never touch a record: what a job does is the worker's, and is only told here.
//!
//! | module | what it holds |
//! |---|---|
//! | [`submission`] | a pipeline file and its components, as someone handed them in, and what is wrong with them |
//! | [`jobs`] | the registry: submit, list, describe, cancel |
//! | [`cluster`] | the workers of a cluster, and who leads them |
//! | [`handle`] | a job that was started, of either kind |
//! | [`keeper`] | keeps a job with checkpoints alive |
//! | [`rest`] | the HTTP paths over it; the types on the wire are `flow_model::api` |

#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod answer;
mod clock;
pub mod cluster;
pub mod handle;
pub mod jobs;
pub mod keeper;
#[cfg(test)]
mod led;
pub mod rest;
mod stores;
pub mod submission;
mod whole;
