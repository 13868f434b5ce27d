//! Typed state of keyed operators. Declared once by [`state!`](crate::state!), it always stands for the key at hand.
//!
//! - [`Value`]: one value a key, which the host passes in with the call
//! - [`MapState`]: an ordered map a key; [`ListState`]: a list a key. Both read by batched imports, and write once a call
//! - [`Stored`]: how values are encoded, [`StateKey`]: how keys of maps are
//!
//! Must leave nothing of a refused record: every cell keeps what the record at hand does apart until the record is done.

mod cell;
mod key;
mod list;
mod map;
mod stored;
mod value;

pub use cell::State;
#[doc(hidden)]
pub use cell::{Cell, Keys};
#[doc(hidden)]
pub use flow_frame::Parts;
pub use key::{KeyBytes, StateKey};
pub use list::ListState;
pub use map::MapState;
pub use stored::Stored;
pub use value::Value;
