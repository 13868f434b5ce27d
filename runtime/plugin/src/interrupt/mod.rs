//! Stopping a guest in the middle of its code. A component is rewritten before it is compiled: each of its modules gets a
//! page of memory of its own and writes a byte to it at each turn of a loop and at the start of each function that calls
//! others. While the page may be written this costs an instruction; when a call has used up its time, or its job is to stop,
//! the [`watch`] makes the page read-only, and the guest traps at the next such write. ADR 0003 has the figures.
//!
//! | file | what it holds |
//! |---|---|
//! | `component.rs`, `module.rs` | the rewriting |
//! | `page.rs` | the page's protection |
//! | `watch.rs`, `clock.rs` | who looks at running calls, and how much time they took |
//!
//! Must never let a module run that was not rewritten.

mod clock;
mod component;
mod module;
mod page;
mod watch;

pub use clock::ThreadClock;
pub use component::{PAGE, Refused, START, rewrite};
pub use module::PAGE_BYTES;
pub use page::Page;
pub use watch::{Call, Reason, Watch};
