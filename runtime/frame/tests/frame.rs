//! The frame from outside: what is written is read, and nothing that is read can panic.

use flow_frame::layout::{ENTRY, HEADER, NULL, PRESENT, Type, UNCHANGED, id};
use flow_frame::{BytesBuilder, Error, Frame, FrameWriter, Parts, assemble};
use proptest::prelude::*;

type Row = Option<Vec<u8>>;

fn rows() -> impl Strategy<Value = Vec<(Row, Row, i64)>> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20));
    proptest::collection::vec((bytes(), bytes(), any::<i64>()), 0..40)
}

fn check_rows(frame: &[u8], rows: &[(Row, Row, i64)]) {
    let f = Frame::parse(frame).expect("a frame that was just written");
    assert_eq!(f.rows(), rows.len());
    f.columns().iter().for_each(|c| c.check().expect("well-formed column"));
    let (key, value, (time, _)) =
        (f.bytes(id::KEY).unwrap(), f.bytes(id::VALUE).unwrap(), f.i64s(id::TIMESTAMP).unwrap());
    for (i, (k, v, t)) in rows.iter().enumerate() {
        assert_eq!(key.get(i), k.as_deref());
        assert_eq!(value.get(i), v.as_deref());
        assert_eq!(i64::from_le_bytes(time[i]), *t);
    }
}

proptest! {
    #[test]
    fn both_writers_give_back_what_they_took(rows in rows()) {
        let mut writer = FrameWriter::with_capacity(rows.len(), 0);
        let (mut keys, mut values, mut times) = (BytesBuilder::default(), BytesBuilder::default(), Vec::new());
        for (k, v, t) in &rows {
            keys.push(k.as_deref());
            values.push(v.as_deref());
            writer.value().push(v.as_deref());
            times.extend(t.to_le_bytes());
        }
        let time = Parts { id: id::TIMESTAMP, ty: Type::I64, flags: 0, data: &times, offsets: None, nulls: None };
        let mut frame = Vec::new();
        assemble(rows.len(), &[keys.parts(id::KEY), values.parts(id::VALUE), time], &mut frame);
        check_rows(&frame, &rows);
        check_rows(&writer.finish(&[keys.parts(id::KEY), time]), &rows);
    }

    #[test]
    fn truncate_takes_rows_back(rows in rows(), keep in 0usize..40) {
        let keep = keep.min(rows.len());
        let mut writer = FrameWriter::with_capacity(0, 0);
        rows.iter().for_each(|r| writer.value().push(r.1.as_deref()));
        writer.value().data.extend(b"half a row");
        writer.value().truncate(keep);
        let frame = writer.finish(&[]);
        let f = Frame::parse(&frame).unwrap();
        prop_assert_eq!(f.rows(), keep);
        for (i, r) in rows[..keep].iter().enumerate() {
            prop_assert_eq!(f.bytes(id::VALUE).unwrap().get(i), r.1.as_deref());
        }
    }

    #[test]
    fn changed_bytes_never_panic(rows in rows(), at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut writer = FrameWriter::with_capacity(0, 0);
        rows.iter().for_each(|r| writer.value().push(r.1.as_deref()));
        let mut frame = writer.finish(&[]);
        let at = at.index(frame.len());
        frame[at] = to;
        read_all(&frame);
        read_all(&frame[..cut.index(frame.len())]);
    }

    #[test]
    fn any_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..200), rows in 0u32..5, entries in 0u32..8) {
        read_all(&bytes);
        if bytes.len() >= HEADER {
            let length = bytes.len() as u32;
            bytes[..4].copy_from_slice(b"FLW\x01");
            bytes[4..8].copy_from_slice(&rows.to_le_bytes());
            bytes[8..12].copy_from_slice(&entries.to_le_bytes());
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            read_all(&bytes);
        }
    }
}

fn read_all(frame: &[u8]) {
    let Ok(f) = Frame::parse(frame) else { return };
    for c in f.columns() {
        let _ = c.check();
        if let Some(bytes) = c.as_bytes() {
            (0..f.rows().min(100) + 1).for_each(|row| assert!(bytes.get(row).is_none_or(|b| b.len() <= frame.len())));
        }
    }
    let _ = (f.u8s(id::MASK), f.u32s(id::INPUT_ROW), f.i64s(id::TIMESTAMP));
}

#[test]
fn errors_name_the_column_and_the_cause() {
    let mut writer = FrameWriter::with_capacity(0, 0);
    writer.value().push(Some(b"ab"));
    writer.value().push(Some(b"c"));
    let good = writer.finish(&[]);
    let check = |change: &dyn Fn(&mut Vec<u8>), expect: &str| {
        let mut frame = good.clone();
        change(&mut frame);
        let found = Frame::parse(&frame).and_then(|f| f.columns().iter().try_for_each(|c| c.check()));
        assert_eq!(found.expect_err(expect).to_string(), expect);
    };
    let offsets = HEADER + ENTRY;
    check(&|f| f[3] = 2, "not a frame of version 1: it begins with [46, 4c, 57, 02]");
    check(&|f| f.truncate(9), "frame is cut off: 16 bytes needed, 9 there");
    check(&|f| f.push(0), &format!("frame is cut off: {} bytes needed, {} there", good.len(), good.len() + 1));
    check(
        &|f| f[8..12].copy_from_slice(&999u32.to_le_bytes()),
        "frame with 999 directory entries; at most 256 are allowed",
    );
    check(&|f| f[HEADER + 2] = 7, "directory of column 2: unknown role");
    check(&|f| f[HEADER + 3] = 9, "directory of column 2: unknown type");
    check(&|f| f[offsets + 2] = 0, "directory of column 2: two buffers of one role");
    check(&|f| f[HEADER + 8] += 1, "column 2: a buffer is not aligned to 8");
    check(
        &|f| f[HEADER + 12..HEADER + 16].copy_from_slice(&u32::MAX.to_le_bytes()),
        "column 2: a buffer ends outside of the frame",
    );
    check(&|f| f[4] = 9, "column 2: a buffer's length does not fit the number of rows");
    check(
        &|f| {
            let n = f.len();
            f[n - 4..].copy_from_slice(&99u32.to_le_bytes())
        },
        "column 2: row ends fall or lie outside of the data",
    );
    check(
        &|f| {
            let n = f.len();
            f[n - 8..n - 4].copy_from_slice(&4u32.to_le_bytes())
        },
        "column 2: row ends fall or lie outside of the data",
    );
    assert_eq!(Frame::parse(&good).unwrap().u8s(id::MASK), Err(Error::Missing(id::MASK)));
}

#[test]
fn only_states_stay_unchanged() {
    let check = |column: u16, mark: u8, expect: Result<(), Error>| {
        let times = Parts { id: column, ty: Type::I64, flags: 0, data: &[0; 8], offsets: None, nulls: Some(&[mark]) };
        let mut frame = Vec::new();
        assemble(1, &[times], &mut frame);
        assert_eq!(Frame::parse(&frame).expect("a frame").columns()[0].check(), expect, "{column}: {mark}");
    };
    for column in [id::TIMESTAMP, id::DECLARED] {
        check(column, NULL, Ok(()));
        check(column, PRESENT, Ok(()));
        let unknown = Error::Buffer { column, cause: "unknown number in the nulls" };
        check(column, 3, Err(unknown));
    }
    check(id::DECLARED, UNCHANGED, Ok(()));
    let wrong = Error::Buffer { column: id::TIMESTAMP, cause: "a row is unchanged; only the states of keys can be" };
    check(id::TIMESTAMP, UNCHANGED, Err(wrong));
}
