//! The nouns of a cluster: who works in it, who leads it, which job runs where, and the documents in the store by which a leader
//! knows what there is. Must never decide anything: who leads, what goes where, is the protocol's.
//!
//! Names below the cluster's root in the store:
//!
//! | name | what it is | how it changes |
//! |---|---|---|
//! | [`leader::NAME`] | [`Leader`]: who leads | compare-and-swap |
//! | [`deployment::name`] | [`Deployment`]: what a job was deployed with | written once, before the job's HEAD names it |
//! | [`deployment::component`] | a component, by its digest | written once |
//!
//! A job's HEAD and checkpoints lie where its deployment says.

pub mod assignment;
pub mod deployment;
pub mod leader;
pub mod session;
pub mod worker;

pub use assignment::{Assignment, Participant, Place};
pub use deployment::Deployment;
pub use leader::Leader;
pub use session::{Part, Session, Stage};
pub use worker::Worker;
