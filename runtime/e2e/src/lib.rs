//! Holds nothing: this crate is its tests, which start the real binaries and look at the repository as a whole. It must
//! never be a dependency.
