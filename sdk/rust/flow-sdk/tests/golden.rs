//! The golden frames of `wit/operator-0.1.0/golden`: bytes that every SDK must read alike, and malformed ones that every
//! reader must refuse. `FLOW_WRITE_GOLDEN=1` writes them anew; a released package's never change.

use std::path::{Path, PathBuf};

use flow_frame::layout::{PRESENT, Type, UNCHANGED};
use flow_frame::{BytesBuilder, Frame, FrameWriter, Parts, assemble, headers, id};
use serde_json::{Value, json};

fn dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../wit/operator-0.1.0/golden")
}

fn column(rows: &[Option<&[u8]>]) -> BytesBuilder {
    let mut column = BytesBuilder::default();
    rows.iter().for_each(|row| column.push(*row));
    column
}

fn fixed<'a>(id: u16, ty: Type, data: &'a [u8], nulls: Option<&'a [u8]>) -> Parts<'a> {
    Parts { id, ty, flags: 0, data, offsets: None, nulls }
}

fn frame(rows: usize, parts: &[Parts<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    assemble(rows, parts, &mut out);
    out
}

fn words(numbers: &[i64]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn numbers(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

/// Every column of a record, with nulls, an empty value and headers.
fn records() -> Vec<u8> {
    let mut blobs = BytesBuilder::default();
    let all: [(&[u8], Option<&[u8]>); 3] = [(b"trace", Some(b"7")), (b"trace", None), (b"", Some(b""))];
    headers::encode(all.into_iter(), &mut blobs.data);
    blobs.end_row();
    blobs.end_row();
    blobs.end_row();
    let key = column(&[Some(b"k1"), None, Some("ключ".as_bytes())]);
    let value = column(&[Some(br#"{"a":1}"#), Some(b""), None]);
    let times = words(&[1_700_000_000_000, 0, -1]);
    let (splits, positions) = (numbers(&[0, 1, u32::MAX]), words(&[0, 41, i64::MAX]));
    let all = [
        key.parts(id::KEY),
        value.parts(id::VALUE),
        fixed(id::TIMESTAMP, Type::I64, &times, Some(&[1, 0, 1])),
        blobs.parts(id::HEADERS),
        fixed(id::SPLIT, Type::U32, &splits, None),
        fixed(id::POSITION, Type::I64, &positions, None),
    ];
    frame(3, &all)
}

fn good() -> Vec<(&'static str, Vec<u8>)> {
    let keys = column(&[Some(b"a"), Some(b"b")]);
    let stored = column(&[Some(&5u64.to_le_bytes()), None]);
    let counts = numbers(&[2, 1]);
    let mut changed = BytesBuilder::default();
    changed.push(Some(&6u64.to_le_bytes()));
    changed.push_null();
    changed.push_marked(UNCHANGED);
    let mut written = FrameWriter::with_capacity(0, 0);
    written.value().push(Some(b"one"));
    written.value().push(Some(b"two"));
    let rows = numbers(&[0, 0]);
    vec![
        ("records", records()),
        ("no-columns", frame(5, &[])),
        ("no-rows", frame(0, &[column(&[]).parts(id::VALUE)])),
        ("mask", frame(4, &[fixed(id::MASK, Type::U8, &[1, 0, 0, 1], None)])),
        ("flat-map-answer", written.finish(&[fixed(id::INPUT_ROW, Type::U32, &rows, None)])),
        (
            "keys",
            frame(
                2,
                &[keys.parts(id::KEY), fixed(id::GROUP_ROWS, Type::U32, &counts, None), stored.parts(id::DECLARED)],
            ),
        ),
        ("states", frame(3, &[changed.parts(id::DECLARED)])),
        (
            "destinations",
            frame(
                3,
                &[
                    column(&[Some(b"orders.eu"), None, Some(b"")]).parts(id::TO_TOPIC),
                    fixed(id::TO_PARTITION, Type::U32, &numbers(&[3, 0, 0]), Some(&[1, 0, 1])),
                ],
            ),
        ),
    ]
}

/// Frames that are wrong in one place each, made of the values `ab` and `c`.
fn bad() -> Vec<(&'static str, Vec<u8>)> {
    let whole = frame(2, &[column(&[Some(b"ab"), Some(b"c")]).parts(id::VALUE)]);
    let wrong = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut frame = whole.clone();
        change(&mut frame);
        frame
    };
    let end = whole.len();
    vec![
        ("bad-version", wrong(&|f| f[3] = 2)),
        ("bad-cut-off", wrong(&|f| f.truncate(end - 1))),
        ("bad-role", wrong(&|f| f[18] = 7)),
        ("bad-type", wrong(&|f| f[19] = 9)),
        ("bad-two-of-a-role", wrong(&|f| f[34] = 0)),
        ("bad-alignment", wrong(&|f| f[24] += 1)),
        ("bad-range", wrong(&|f| f[28..32].copy_from_slice(&[255; 4]))),
        ("bad-rows", wrong(&|f| f[4] = 9)),
        ("bad-offsets-fall", wrong(&|f| f[end - 8] = 4)),
        ("bad-offsets-outside", wrong(&|f| f[end - 4] = 99)),
        ("bad-must-understand", frame(1, &[Parts { flags: 1, ..fixed(15, Type::U8, &[1], None) }])),
    ]
}

fn describe(frame: &[u8]) -> Value {
    let checked = Frame::parse(frame).and_then(|f| f.columns().iter().try_for_each(|c| c.check()).map(|()| f));
    let f = match checked {
        Ok(f) => f,
        Err(e) => return json!({"error": e.to_string()}),
    };
    let columns = f.columns().iter().map(|c| {
        let rows = (0..f.rows()).map(|row| {
            match c.nulls().map_or(PRESENT, |n| n[row]) {
                UNCHANGED => return json!("unchanged"),
                PRESENT => {}
                _ => return Value::Null,
            }
            match c.ty {
                Type::Bytes => json!({"hex": hex(c.as_bytes().expect("of that type").raw(row))}),
                Type::U8 => json!(c.data()[row]),
                Type::U32 => json!(u32::from_le_bytes(c.data().as_chunks::<4>().0[row])),
                Type::I64 => json!(i64::from_le_bytes(c.data().as_chunks::<8>().0[row])),
            }
        });
        json!({"id": c.id, "type": format!("{:?}", c.ty).to_lowercase(), "flags": c.flags, "rows": rows.collect::<Vec<_>>()})
    });
    json!({"rows": f.rows(), "columns": columns.collect::<Vec<_>>()})
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn check(name: &str, frame: &[u8]) {
    let lines: Vec<String> = frame.chunks(32).map(|line| hex(line) + "\n").collect();
    let (bytes, meaning) = (lines.concat(), serde_json::to_string_pretty(&describe(frame)).expect("JSON") + "\n");
    for (ending, content) in [("hex", bytes), ("json", meaning)] {
        let path = dir().join(name).with_extension(ending);
        if std::env::var_os("FLOW_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &content).expect("the golden file can be written");
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        // Compared as values, since the order of an object's fields depends on features of serde_json.
        if ending == "json" {
            let parse = |text: &str| serde_json::from_str::<Value>(text).expect("JSON");
            assert_eq!(parse(&golden), parse(&content), "{name}: what is in it");
        } else {
            assert_eq!(golden, content, "{name}: its bytes");
        }
    }
}

#[test]
fn writers_write_and_readers_read_the_golden_frames() {
    good().iter().for_each(|(name, frame)| check(name, frame));
    assert!(good().iter().all(|(_, frame)| describe(frame).get("error").is_none()));
}

#[test]
fn readers_refuse_the_malformed_ones() {
    bad().iter().for_each(|(name, frame)| check(name, frame));
    assert!(bad().iter().all(|(_, frame)| describe(frame).get("error").is_some()));
}

#[test]
fn every_golden_file_is_checked() {
    let known: Vec<&str> = good().iter().chain(&bad()).map(|(name, _)| *name).collect();
    for file in std::fs::read_dir(dir()).expect("the golden files") {
        let path = file.expect("a golden file").path();
        let name = path.file_stem().and_then(|n| n.to_str()).expect("a name");
        assert!(known.contains(&name), "{} belongs to no test", path.display());
    }
}
