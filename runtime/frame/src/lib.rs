//! The byte layout of a batch (`wit/operator-0.1.0/FRAME.md`), for both sides of the component boundary.
//!
//! Must never depend on another crate, and must never panic on any input: the host reads what guests wrote.
//!
//! - [`layout`]: column ids, types and roles
//! - [`read`]: [`Frame`], a view of a frame without copies
//! - [`write`]: [`assemble`] for columns at hand, [`FrameWriter`] for rows that come one by one
//! - [`headers`]: the blob of a record's headers
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod headers;
pub mod layout;
pub mod read;
pub mod write;

pub use layout::{Type, id};
pub use read::{BytesColumn, Column, Error, Frame};
pub use write::{BytesBuilder, FrameWriter, Parts, assemble};
