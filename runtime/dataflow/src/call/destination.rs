//! Where a sink is to send a row: the last operator that said so decides, row by row.

use bytes::Bytes;
use flow_frame::layout::{PRESENT, id};

use crate::build::{bytes_column, fixed_column};
use crate::{Batch, Column};

/// Gives rows whose destination is null that of their input. `input` has the column of that id, row by row.
pub(super) fn keep(out: &mut Batch, input: impl Fn(u16) -> Option<Column>) {
    for id in [id::TO_TOPIC, id::TO_PARTITION] {
        let Some(set) = out.column(id).filter(|column| column.nulls.is_some()) else { continue };
        let Some(before) = input(id) else { continue };
        let merged = merged(set, &before);
        out.set(merged);
    }
}

/// The rows of `set`, where they are not null, else those of `before`.
fn merged(set: &Column, before: &Column) -> Column {
    let is = |column: &Column, row: usize| column.nulls.as_ref().is_none_or(|nulls| nulls.get(row) == Some(&PRESENT));
    if let (Some(own), Some(old)) = (set.as_bytes(), before.as_bytes()) {
        let mut rows = flow_frame::BytesBuilder::default();
        for row in 0..set.nulls.as_ref().map_or(0, Bytes::len) {
            rows.push(own.get(row).or_else(|| old.get(row)));
        }
        return bytes_column(set.id, rows);
    }
    let (own, old) = (set.data.as_chunks::<4>().0, before.data.as_chunks::<4>().0);
    let (mut data, mut nulls) = (Vec::with_capacity(set.data.len()), Vec::with_capacity(own.len()));
    for (row, (own, old)) in own.iter().zip(old).enumerate() {
        data.extend_from_slice(if is(set, row) { own } else { old });
        nulls.push((is(set, row) || is(before, row)).into());
    }
    fixed_column(set.id, set.ty, data, Some(nulls))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flow_frame::BytesBuilder;
    use flow_frame::layout::Type;

    fn topics(of: &[Option<&str>]) -> Column {
        let mut rows = BytesBuilder::default();
        of.iter().for_each(|topic| rows.push(topic.map(str::as_bytes)));
        bytes_column(id::TO_TOPIC, rows)
    }

    fn partitions(of: &[Option<u32>]) -> Column {
        let data = of.iter().flat_map(|p| p.unwrap_or(0).to_le_bytes()).collect();
        fixed_column(id::TO_PARTITION, Type::U32, data, Some(of.iter().map(|p| p.is_some().into()).collect()))
    }

    #[test]
    fn what_is_null_stays_as_it_was() {
        let before = [topics(&[Some("a"), Some("b"), None]), partitions(&[Some(1), None, Some(3)])];
        let mut out: Batch =
            [topics(&[None, Some("c"), None]), partitions(&[None, None, Some(4)])].into_iter().collect();
        keep(&mut out, |id| before.iter().find(|column| column.id == id).cloned());
        let topic = out.bytes(id::TO_TOPIC).expect("it is there");
        assert_eq!([0, 1, 2].map(|row| topic.get(row)), [Some(&b"a"[..]), Some(b"c"), None]);
        let (partition, expect) =
            (out.column(id::TO_PARTITION).expect("it is there"), partitions(&[Some(1), None, Some(4)]));
        assert_eq!((&partition.data, &partition.nulls), (&expect.data, &expect.nulls));
    }
}
