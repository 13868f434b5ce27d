//! What the host does for an operator: log lines, and the batched imports of map and list states. In a component these are
//! its imports, natively the test harness at work. Frames in and out are as `wit/kinds.wit` says.

#[cfg(target_arch = "wasm32")]
pub(crate) use crate::component::imports::{append_many, clear_many, get_many, log, put_many, scan};
#[cfg(not(target_arch = "wasm32"))]
pub(crate) use crate::testing::host::{append_many, clear_many, get_many, log, put_many, scan};
