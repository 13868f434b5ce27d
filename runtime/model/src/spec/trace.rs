//! What the reader of a pipeline file looks for, recorded while it reads one. The schema is made of it, so that there is
//! no second list of fields beside the reader itself.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use crate::diagnostic::Position;
use crate::quantity::ByteSize;

/// What a value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shape {
    /// Text that is not empty.
    Text,
    /// One text or a list of texts.
    Texts,
    /// A whole number.
    Number(RangeInclusive<u64>),
    /// A byte size.
    Bytes(RangeInclusive<ByteSize>),
    /// A duration of more than nothing.
    Duration,
    /// One of these words.
    Words(Vec<String>),
    /// A map from names that the user chooses to maps of one form.
    Named,
    /// A map from any names to scalars.
    Scalars,
    /// Whatever there is in YAML.
    Any,
}

/// Everything that was looked for. Maps are named by where they stand in the file.
#[derive(Debug, Default)]
pub(crate) struct Trace {
    /// The fields that a map may have, in the order in which people are told.
    pub maps: BTreeMap<Position, Vec<String>>,
    /// What was read of a field.
    pub shapes: BTreeMap<(Position, String), Vec<Shape>>,
    /// The fields that have to be there.
    pub required: Vec<(Position, String)>,
    /// The fields of which a map has exactly one.
    pub one_of: BTreeMap<Position, Vec<String>>,
}
