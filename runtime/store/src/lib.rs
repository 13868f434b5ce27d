//! Objects in S3 or in a directory: named bytes that are written once and deleted once, and a few that change by
//! compare-and-swap. Must never know what the bytes mean, which objects are garbage, or who leads: that is the protocol's.
//!
//! - [`Location`], [`Settings`]: where objects lie and how to get there, as a user says it
//! - [`Store`]: the handle that everybody holds: cheap to clone, for tasks of tokio and for plain threads
//! - [`Objects`]: what a kind of store has to be able to do; `tests/contract` holds every kind to it
//! - [`Swap`], [`Version`]: compare-and-swap and what may come of it
//! - [`Error`]: what goes wrong, whether trying again helps, and what a person can do about it
//!
//! A name is a path of parts, `a/b/c`, below the location. Parts are not empty and do not begin with a dot.

#![warn(missing_docs)]

mod content;
mod directory;
mod error;
mod location;
mod name;
mod objects;
mod pieces;
mod place;
mod probe;
mod s3;
mod store;

pub use content::Content;
pub use error::Error;
pub use location::{Encryption, Keys, Location, Settings};
pub use objects::{Listed, Objects, Origin, Page, Swap, Version};
pub use place::{Key, Place};
pub use s3::Address;
pub use store::Store;
