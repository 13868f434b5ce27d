//! What end-to-end tests are made of: the real `flowd` and `flowctl`, and a real Kafka. For tests only: no crate may depend
//! on it other than for its own tests.

pub mod broker;
pub mod flowd;
pub mod topic;
