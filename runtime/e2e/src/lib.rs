//! What end-to-end tests are made of: the real `flowd` and `flowctl`, a real Kafka, a real S3 store. For tests only: no crate may
//! depend on it other than for its own tests.

pub mod authority;
pub mod broker;
pub mod chaos;
pub mod chromium;
pub mod cluster;
pub mod counting;
pub mod flowd;
mod keeper;
pub mod minio;
pub mod names;
pub mod node;
pub mod probe;
pub mod rest;
pub mod secure;
pub mod shifted;
pub mod topic;
pub mod toxic;
pub mod transactions;
pub mod ways;

/// The code in Rust that the book's pages show, each block as a documentation test.
#[cfg(doctest)]
mod book {
    #[doc = include_str!("../../../docs/src/guide/operators.md")]
    mod operators {}
}
