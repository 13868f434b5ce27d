//! Between a test's records and the frames of calls. Does what the engine does around a call, so an operator can't tell
//! the difference; must refuse answers that the engine would refuse.

use std::collections::BTreeMap;

use flow_frame::layout::{NULL, PRESENT, Type};
use flow_frame::{BytesBuilder, Frame, Parts, assemble, headers, id};

use super::{Emitted, Input};
use crate::error::Failure;
use crate::operator::Kind;

fn bad(message: impl Into<String>) -> Failure {
    Failure { code: "bad-answer".into(), message: message.into(), retryable: false }
}

/// The frame of these records, with the columns that the operator reads.
pub(super) fn frame(inputs: &[&Input], columns: &[u16]) -> Vec<u8> {
    let (mut keys, mut values, mut blobs) = (BytesBuilder::default(), BytesBuilder::default(), BytesBuilder::default());
    let (mut times, mut nulls, mut splits, mut positions) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (row, input) in inputs.iter().enumerate() {
        keys.push(input.key.as_deref());
        values.push(input.value.as_deref());
        times.extend(input.timestamp.unwrap_or(0).to_le_bytes());
        nulls.push(if input.timestamp.is_some() { PRESENT } else { NULL });
        splits.extend(0u32.to_le_bytes());
        positions.extend((row as i64).to_le_bytes());
        let all: Vec<_> = input.headers.iter().map(|(k, v)| (k.as_bytes(), v.as_deref())).collect();
        headers::encode(all.into_iter(), &mut blobs.data);
        blobs.end_row();
    }
    let fixed = |id, ty, data, nulls| Parts { id, ty, flags: 0, data, offsets: None, nulls };
    let mut all = vec![
        keys.parts(id::KEY),
        values.parts(id::VALUE),
        fixed(id::TIMESTAMP, Type::I64, &times, Some(&nulls[..])),
        blobs.parts(id::HEADERS),
        fixed(id::SPLIT, Type::U32, &splits, None),
        fixed(id::POSITION, Type::I64, &positions, None),
    ];
    all.retain(|c| columns.contains(&c.id));
    let mut out = Vec::new();
    assemble(inputs.len(), &all, &mut out);
    out
}

/// Numbers of the inputs by key, in order of each key's first; and the keys.
pub(super) fn group(inputs: &[&Input]) -> (Vec<usize>, Vec<(Vec<u8>, usize)>) {
    let mut places: BTreeMap<&[u8], usize> = BTreeMap::new();
    let mut groups: Vec<(Vec<u8>, Vec<usize>)> = Vec::new();
    for (number, input) in inputs.iter().enumerate() {
        let key = input.key.as_deref().unwrap_or_default();
        let place = *places.entry(key).or_insert_with(|| {
            groups.push((key.to_vec(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(number);
    }
    let order = groups.iter().flat_map(|(_, rows)| rows.iter().copied()).collect();
    (order, groups.into_iter().map(|(key, rows)| (key, rows.len())).collect())
}

/// The frame of the keys with the contents of value states, by state.
pub(super) fn keys_frame(keys: &[(Vec<u8>, usize)], values: &[(u32, Vec<Option<Vec<u8>>>)]) -> Vec<u8> {
    let (mut names, mut counts) = (BytesBuilder::default(), Vec::new());
    for (key, rows) in keys {
        names.push(Some(key));
        counts.extend((*rows as u32).to_le_bytes());
    }
    let states: Vec<(u16, BytesBuilder)> = values
        .iter()
        .map(|(state, rows)| {
            let mut column = BytesBuilder::default();
            rows.iter().for_each(|v| column.push(v.as_deref()));
            (id::DECLARED + *state as u16, column)
        })
        .collect();
    let counts = Parts { id: id::GROUP_ROWS, ty: Type::U32, flags: 0, data: &counts, offsets: None, nulls: None };
    let mut parts = vec![names.parts(id::KEY), counts];
    parts.extend(states.iter().map(|(id, column)| column.parts(*id)));
    let mut out = Vec::new();
    assemble(keys.len(), &parts, &mut out);
    out
}

/// A frame of an answer, checked throughout.
pub(super) fn parse(frame: &[u8]) -> Result<Frame<'_>, Failure> {
    let f = Frame::parse(frame).map_err(|e| bad(e.to_string()))?;
    f.columns().iter().try_for_each(|c| c.check()).map_err(|e| bad(e.to_string()))?;
    Ok(f)
}

/// What comes out of a call: the answer's rows over the inputs'. `refused` holds row numbers.
pub(super) fn merge(
    kind: Kind,
    inputs: &[&Input],
    answer: &[u8],
    refused: &[usize],
    ports: &[&str],
    hook: bool,
) -> Result<Vec<Emitted>, Failure> {
    let f = parse(answer)?;
    let kept = |row: usize| !refused.contains(&row);
    match kind {
        Kind::Filter if !answer.is_empty() && !hook => {
            let mask = f.u8s(id::MASK).map_err(|e| bad(e.to_string()))?;
            if mask.len() != inputs.len() {
                return Err(bad(format!("a mask of {} rows for {}", mask.len(), inputs.len())));
            }
            let rows = (0..inputs.len()).filter(|row| mask[*row] == 1 && kept(*row));
            Ok(rows.map(|row| emitted(Some((row, inputs[row])), None, 0, ports)).collect())
        }
        Kind::Map | Kind::Filter if !hook => {
            if !answer.is_empty() && f.rows() != inputs.len() {
                return Err(bad(format!("{} rows for {}", f.rows(), inputs.len())));
            }
            let changed = (!answer.is_empty()).then_some(&f);
            let rows = (0..inputs.len()).filter(|row| kept(*row));
            Ok(rows.map(|row| emitted(Some((row, inputs[row])), changed, row, ports)).collect())
        }
        _ => (0..f.rows())
            .map(|row| {
                if hook {
                    return Ok(emitted(None, Some(&f), row, ports));
                }
                let input_rows = f.u32s(id::INPUT_ROW).map_err(|e| bad(e.to_string()))?;
                let at = u32::from_le_bytes(input_rows[row]) as usize;
                match inputs.get(at) {
                    Some(input) if kept(at) => Ok(emitted(Some((at, input)), Some(&f), row, ports)),
                    _ => Err(bad(format!("an output row belongs to input row {at}, which is refused or not there"))),
                }
            })
            .collect(),
    }
}

/// Row `row` of an answer over its input.
fn emitted(input: Option<(usize, &Input)>, answer: Option<&Frame<'_>>, row: usize, ports: &[&str]) -> Emitted {
    let bytes = |id| answer.and_then(|f| f.bytes(id).ok());
    let own = input.map(|(_, i)| i);
    let owned = |b: Option<&[u8]>| b.map(<[u8]>::to_vec);
    let target = answer.and_then(|f| f.u8s(id::TARGET).ok()).map_or(0, |t| t[row]);
    let headers = bytes(id::HEADERS).map(|c| {
        let all = headers::decode(c.raw(row));
        all.map(|(k, v)| (String::from_utf8_lossy(k).into_owned(), owned(v))).collect()
    });
    let timestamp = answer.and_then(|f| f.i64s(id::TIMESTAMP).ok()).map(|(data, nulls)| {
        let present = nulls.is_none_or(|n| n[row] == PRESENT);
        present.then(|| i64::from_le_bytes(data[row]))
    });
    let topic = bytes(id::TO_TOPIC).and_then(|c| c.get(row)).map(|topic| String::from_utf8_lossy(topic).into_owned());
    let partition =
        answer.and_then(|f| f.column(id::TO_PARTITION)).filter(|c| c.nulls().is_none_or(|n| n[row] == PRESENT));
    let partition = partition.map(|c| u32::from_le_bytes(c.data().as_chunks::<4>().0[row]));
    Emitted {
        topic,
        partition,
        port: ports[usize::from(target)].into(),
        input: input.map(|(at, _)| at),
        key: bytes(id::KEY).map_or_else(|| own.and_then(|i| i.key.clone()), |c| owned(c.get(row))),
        value: bytes(id::VALUE).map_or_else(|| own.and_then(|i| i.value.clone()), |c| owned(c.get(row))),
        timestamp: timestamp.unwrap_or_else(|| own.and_then(|i| i.timestamp)),
        headers: headers.unwrap_or_else(|| own.map(|i| i.headers.clone()).unwrap_or_default()),
    }
}
