//! What the nodes of a cluster say to each other: the proto files, the code that is made of them, and conversions from and to the
//! nouns of `flow-model`. Nothing else: no connection is made here, nothing is decided, and no other crate of Flow is known.
//!
//! The code is generated and checked in, so that building Flow needs neither `protoc` nor its likes; `tests/generated.rs` holds it
//! to the files in `proto/`.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

mod convert;
#[rustfmt::skip]
mod generated;
pub mod json;

pub use convert::Error;

/// The exchange between workers.
pub mod exchange {
    pub use crate::generated::exchange::*;

    /// The version of the protocol in `exchange.proto`.
    pub const PROTOCOL: u32 = 1;
}

/// Coordinators and workers.
pub mod control {
    pub use crate::generated::control::*;

    /// The version of the protocol in `control.proto`.
    pub const PROTOCOL: u32 = 1;
}
