//! What the runner of keyed operators asks of states. Authors don't meet this: [`state!`](crate::state!) writes it.

use flow_frame::{BytesColumn, Frame, Parts, id};

use crate::error::{Failure, Result};
use crate::operator::StateDescriptor;
use crate::record::bad_frame;

/// The states of an operator, one cell each. Implemented by [`state!`](crate::state!), and by `()` for none.
pub trait State: 'static {
    /// The states' names, kinds and encodings; the place of each is its id.
    fn describe() -> Vec<StateDescriptor>;

    /// Empty cells.
    fn open() -> Self;

    /// A call begins.
    fn begin_call(&mut self);

    /// A key's rows are about to say what they want to be read.
    fn announce(&mut self, key_row: u32);

    /// All rows have said so: reads it.
    fn fetch(&mut self);

    /// A key's rows begin.
    fn begin_key(&mut self, key_row: u32, keys: &Keys<'_>);

    /// A record is done: what it did counts, or is taken back.
    fn end_row(&mut self, keep: bool);

    /// A key's rows are done.
    fn end_key(&mut self) -> Result<(), Failure>;

    /// The call succeeded: hands over what it wrote to maps and lists.
    fn end_call(&mut self);

    /// New contents of the value states that changed.
    fn columns<'a>(&'a self, out: &mut Vec<Parts<'a>>);
}

/// One state.
pub trait Cell {
    /// The cell of the state with this id.
    fn open(id: u32, name: &'static str) -> Self
    where
        Self: Sized;

    /// How the state is declared.
    fn descriptor(name: &'static str, version: u32) -> StateDescriptor
    where
        Self: Sized;

    /// A call begins: forgets everything of the last one.
    fn begin_call(&mut self);

    /// A key's rows begin.
    fn begin_key(&mut self, key_row: u32, keys: &Keys<'_>);

    /// A record is done: what it did counts, or is taken back.
    fn end_row(&mut self, keep: bool);

    /// A key's rows are done.
    fn end_key(&mut self) -> Result<(), Failure>;

    /// A key's rows are about to say what they want to be read.
    fn announce(&mut self, key_row: u32);

    /// All rows have said so: reads it, at once.
    fn fetch(&mut self);

    /// The call succeeded: hands over what it wrote to maps and lists, at once.
    fn end_call(&mut self);

    /// New contents of a value state, if any changed.
    fn column(&self) -> Option<Parts<'_>>;
}

/// The keys of a call with their value states.
#[derive(Debug)]
pub struct Keys<'a> {
    pub(crate) keys: BytesColumn<'a>,
    pub(crate) count: usize,
    pub(crate) group_rows: &'a [[u8; 4]],
    values: Vec<Option<BytesColumn<'a>>>,
}

impl<'a> Keys<'a> {
    pub(crate) fn parse(frame: &'a [u8], states: usize) -> Result<Self, Failure> {
        let f = Frame::parse(frame).map_err(bad_frame)?;
        let values = (0..states).map(|state| f.bytes(id::DECLARED + state as u16).ok()).collect();
        Ok(Keys {
            keys: f.bytes(id::KEY).map_err(bad_frame)?,
            count: f.rows(),
            group_rows: f.u32s(id::GROUP_ROWS).map_err(bad_frame)?,
            values,
        })
    }

    /// The stored contents of a value state.
    pub(crate) fn stored(&self, state: u32, key_row: u32) -> Option<&'a [u8]> {
        self.values.get(state as usize).and_then(|c| c.as_ref()?.get(key_row as usize))
    }
}

impl State for () {
    fn describe() -> Vec<StateDescriptor> {
        Vec::new()
    }
    fn open() -> Self {}
    fn begin_call(&mut self) {}
    fn announce(&mut self, _: u32) {}
    fn fetch(&mut self) {}
    fn begin_key(&mut self, _: u32, _: &Keys<'_>) {}
    fn end_row(&mut self, _: bool) {}
    fn end_key(&mut self) -> Result<(), Failure> {
        Ok(())
    }
    fn end_call(&mut self) {}
    fn columns<'a>(&'a self, _: &mut Vec<Parts<'a>>) {}
}

/// Declares the states of a keyed operator: a struct of [`Value`], [`MapState`] and [`ListState`] fields, usable as
/// [`Process::State`](crate::Process::State).
///
/// A field's name is the state's stable name: what is stored is found by it when a job is restored. `= version N` says
/// that the encoding of a state has changed; the version is 1 without it.
///
/// ```
/// use flow_sdk::prelude::*;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Default, Serialize, Deserialize)]
/// struct Profile {
///     visits: u64,
///     last: String,
/// }
/// impl Stored for Profile {}
///
/// flow_sdk::state! {
///     /// What is kept of each customer.
///     pub struct Customer {
///         /// How often the customer came.
///         profile: Value<Profile> = version 2,
///         spent: Value<f64>,
///         by_shop: MapState<String, u64>,
///         history: ListState<Profile>,
///     }
/// }
/// let names: Vec<_> = Customer::describe().iter().map(|s| (s.name, s.version, s.encoding.clone())).collect();
/// assert_eq!(names[0], ("profile", 2, "json".to_string()));
/// assert_eq!(names[2], ("by_shop", 1, "utf8 -> u64-le".to_string()));
/// ```
///
/// [`Value`]: crate::state::Value
/// [`MapState`]: crate::state::MapState
/// [`ListState`]: crate::state::ListState
#[macro_export]
macro_rules! state {
    (
        $(#[$meta:meta])*
        $vis:vis struct $name:ident {
            $( $(#[$field_meta:meta])* $field_vis:vis $field:ident : $cell:ty $(= version $version:literal)? ),* $(,)?
        }
    ) => {
        $(#[$meta])*
        $vis struct $name {
            $( $(#[$field_meta])* $field_vis $field: $cell, )*
        }

        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                f.debug_struct(::std::stringify!($name)).finish_non_exhaustive()
            }
        }

        impl $crate::state::State for $name {
            fn describe() -> ::std::vec::Vec<$crate::StateDescriptor> {
                ::std::vec![$({
                    #[allow(unused_mut, unused_assignments)]
                    let mut version = 1;
                    $( version = $version; )?
                    <$cell as $crate::state::Cell>::descriptor(::std::stringify!($field), version)
                }),*]
            }

            #[allow(unused_assignments)]
            fn open() -> Self {
                let mut id = 0;
                $name {
                    $( $field: {
                        let cell = <$cell as $crate::state::Cell>::open(id, ::std::stringify!($field));
                        id += 1;
                        cell
                    }, )*
                }
            }

            fn begin_call(&mut self) {
                $( $crate::state::Cell::begin_call(&mut self.$field); )*
            }

            #[inline]
            fn announce(&mut self, key_row: u32) {
                $( $crate::state::Cell::announce(&mut self.$field, key_row); )*
            }

            fn fetch(&mut self) {
                $( $crate::state::Cell::fetch(&mut self.$field); )*
            }

            #[inline]
            fn begin_key(&mut self, key_row: u32, keys: &$crate::state::Keys<'_>) {
                $( $crate::state::Cell::begin_key(&mut self.$field, key_row, keys); )*
            }

            #[inline]
            fn end_row(&mut self, keep: bool) {
                $( $crate::state::Cell::end_row(&mut self.$field, keep); )*
            }

            #[inline]
            fn end_key(&mut self) -> $crate::Result<(), $crate::Failure> {
                $( $crate::state::Cell::end_key(&mut self.$field)?; )*
                ::std::result::Result::Ok(())
            }

            fn end_call(&mut self) {
                $( $crate::state::Cell::end_call(&mut self.$field); )*
            }

            fn columns<'a>(&'a self, out: &mut ::std::vec::Vec<$crate::state::Parts<'a>>) {
                $( out.extend($crate::state::Cell::column(&self.$field)); )*
            }
        }
    };
}
