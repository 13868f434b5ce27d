//! The code that is generated of the files in `proto/`, one module each.

pub(crate) mod control;
pub(crate) mod exchange;
