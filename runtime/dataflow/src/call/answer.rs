//! Checking and applying what a map, filter or flat-map returned. Everything that a guest says is doubted: numbers of rows,
//! columns that it may not set, order.

use std::collections::BTreeSet;

use flow_frame::headers;
use flow_frame::layout::{Type, id};

use super::{destination, kept};
use crate::function::{CallError, Rejection};
use crate::{Batch, Column};

/// Columns of the input that an output row inherits when the function did not set them.
const INHERITED: [u16; 8] =
    [id::KEY, id::TIMESTAMP, id::HEADERS, id::SPLIT, id::POSITION, id::CHANGE, id::TO_TOPIC, id::TO_PARTITION];

fn bad<T>(what: impl Into<String>) -> Result<T, CallError> {
    Err(CallError::Answer(what.into()))
}

/// The rejections, if each names a row of the batch and none is named twice.
pub(super) fn checked(rejected: Vec<Rejection>, rows: usize) -> Result<Vec<Rejection>, CallError> {
    let mut last = None;
    for r in &rejected {
        if r.row as usize >= rows || last.is_some_and(|last| last >= r.row) {
            return bad(format!("rejected row {} of a batch of {rows} rows is out of range or out of order", r.row));
        }
        last = Some(r.row);
    }
    Ok(rejected)
}

/// Checks that an output column is one that functions may set, of its type.
fn check_column(column: &Column) -> Result<(), CallError> {
    let want = match column.id {
        id::KEY | id::VALUE | id::HEADERS | id::TO_TOPIC => Type::Bytes,
        id::TIMESTAMP => Type::I64,
        id::TO_PARTITION => Type::U32,
        id::CHANGE | id::TARGET => Type::U8,
        other => return bad(format!("column {other} is not one that an operator may set")),
    };
    if column.ty != want {
        return bad(format!("column {} has the wrong type", column.id));
    }
    if column.id == id::TARGET && column.data.iter().any(|port| *port != 0) {
        return bad("a row for an output port that nothing reads");
    }
    if column.id == id::HEADERS
        && let Some(blobs) = column.as_bytes()
    {
        let rows = column.offsets.as_ref().map_or(0, |o| o.len() / 4 - 1);
        if let Some(row) = (0..rows).find(|row| !headers::is_valid(blobs.raw(*row))) {
            return bad(format!("the headers of output row {row} are malformed"));
        }
    }
    Ok(())
}

fn set_checked(out: &mut Batch, columns: Batch) -> Result<(), CallError> {
    for column in columns.columns() {
        check_column(column)?;
        if column.id != id::TARGET {
            out.set(column.clone());
        }
    }
    Ok(())
}

/// The batch with the columns that a map changed, without the rejected rows.
pub(super) fn map(batch: &Batch, answer: Batch, rejected: &[Rejection]) -> Result<Batch, CallError> {
    let mut out = batch.clone();
    if !answer.columns().is_empty() {
        if answer.rows() != batch.rows() {
            return bad(format!("{} rows came back for {}; a map gives one for each", answer.rows(), batch.rows()));
        }
        set_checked(&mut out, answer)?;
        destination::keep(&mut out, |id| batch.column(id).cloned());
    }
    Ok(match kept(batch.rows(), rejected) {
        Some(rows) => out.select(&rows),
        None => out,
    })
}

/// The rows that a filter keeps.
pub(super) fn filter(batch: &Batch, answer: &Batch, rejected: &[Rejection]) -> Result<Batch, CallError> {
    if answer.columns().is_empty() {
        return Ok(match kept(batch.rows(), rejected) {
            Some(rows) => batch.select(&rows),
            None => batch.clone(),
        });
    }
    let Some(mask) = answer.u8s(id::MASK).filter(|mask| mask.len() == batch.rows()) else {
        return bad(format!("{} rows came back for {}, or no mask", answer.rows(), batch.rows()));
    };
    if mask.iter().any(|m| *m > 1) {
        return bad("a mask holds 0 and 1, nothing else");
    }
    let out: BTreeSet<u32> = rejected.iter().map(|r| r.row).collect();
    let rows: Vec<u32> =
        (0..batch.rows() as u32).filter(|row| mask[*row as usize] == 1 && !out.contains(row)).collect();
    Ok(if rows.len() == batch.rows() { batch.clone() } else { batch.select(&rows) })
}

/// The rows that a flat-map returned, completed from their input rows.
pub(super) fn flat_map(batch: &Batch, answer: Batch, rejected: &[Rejection]) -> Result<Batch, CallError> {
    if answer.is_empty() {
        return Ok(Batch::default());
    }
    let inputs = input_rows(&answer, batch.rows())?;
    if inputs.windows(2).any(|w| w[0] > w[1]) {
        return bad("input rows of the output fall");
    }
    complete(batch, answer, inputs, rejected)
}

/// For each output row the input row that it names.
pub(super) fn input_rows(answer: &Batch, rows: usize) -> Result<Vec<u32>, CallError> {
    let Some(named) = answer.u32s(id::INPUT_ROW) else {
        return bad("output without the column input-row");
    };
    let inputs: Vec<u32> = named.iter().map(|b| u32::from_le_bytes(*b)).collect();
    match inputs.iter().find(|row| **row as usize >= rows) {
        Some(row) => bad(format!("output for input row {row}, of a batch of {rows}")),
        None => Ok(inputs),
    }
}

/// Output rows with the columns that the function left out, each taken from its input row; rows for rejected inputs are an
/// error, since a rejected record leaves nothing of itself.
pub(super) fn complete(
    batch: &Batch,
    mut answer: Batch,
    inputs: Vec<u32>,
    rejected: &[Rejection],
) -> Result<Batch, CallError> {
    if !rejected.is_empty() {
        let out: BTreeSet<u32> = rejected.iter().map(|r| r.row).collect();
        if let Some(row) = inputs.iter().find(|row| out.contains(row)) {
            return bad(format!("output for input row {row}, which is rejected"));
        }
    }
    answer.remove(id::INPUT_ROW);
    if answer.column(id::VALUE).is_none() {
        return bad("output rows without values");
    }
    let absent: Vec<u16> = INHERITED.into_iter().filter(|id| answer.column(*id).is_none()).collect();
    let one_to_one = inputs.len() == batch.rows() && inputs.iter().enumerate().all(|(i, row)| i == *row as usize);
    let inherited = batch.project(&absent);
    let mut out = if one_to_one { inherited } else { inherited.select(&inputs) };
    set_checked(&mut out, answer)?;
    destination::keep(&mut out, |id| batch.project(&[id]).select(&inputs).remove(id));
    Ok(out)
}

/// Rows that belong to no input: what `before-barrier` and `end-of-input` emit.
pub(super) fn unasked(mut answer: Batch) -> Result<Batch, CallError> {
    answer.remove(id::INPUT_ROW);
    let mut out = Batch::new(answer.rows());
    set_checked(&mut out, answer)?;
    if !out.is_empty() && out.column(id::VALUE).is_none() {
        return bad("output rows without values");
    }
    Ok(out)
}
