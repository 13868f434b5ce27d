//! What comes out of files, good and bad.

use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;

use flow_dataflow::report::{Level, Place, Report};
use flow_frame::layout::id;
use flow_model::diagnostic::{Located, Position};

use super::*;

struct Files(tempfile::TempDir);

impl Files {
    fn of(files: &[(&str, &[u8])]) -> Files {
        let dir = tempfile::tempdir().expect("a directory");
        for (name, content) in files {
            fs::write(dir.path().join(name), content).expect("written");
        }
        Files(dir)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn source(&self, format: LineFormat, max_line: ByteSize, subtask: u32, parallelism: u32) -> FilesSource {
        let path = Located { value: self.0.path().to_owned(), position: Position { line: 1, column: 1 } };
        let list = Arc::new(FileList::find(&path.value).expect("files"));
        FilesSource::new(&spec::FilesSource { path, format, max_line }, list, subtask, parallelism)
    }

    fn lines(&self) -> FilesSource {
        self.source(LineFormat::Lines, ByteSize::mebibytes(32), 0, 1)
    }
}

const ROWS: usize = 1024;
const BYTES: usize = 1 << 20;

/// Place and value of each.
type Rows = Vec<(String, Vec<u8>)>;

/// All rows, and how it ended.
fn drain(source: &mut FilesSource) -> (Rows, Result<(), Error>) {
    let locate = source.locator();
    let mut rows = Vec::new();
    loop {
        match source.poll(ROWS, BYTES) {
            Ok(Polled::Batch(batch)) => {
                assert!((1..=ROWS).contains(&batch.rows()));
                let values = batch.bytes(id::VALUE).expect("values");
                assert!(batch.column(id::KEY).is_none() && batch.column(id::TIMESTAMP).is_none());
                for row in 0..batch.rows() {
                    let (split, position) = batch.origin(row).expect("an origin");
                    rows.push((locate(split, position).text, values.get(row).expect("not null").to_vec()));
                }
            }
            Ok(Polled::Idle) => {}
            Ok(Polled::End) => return (rows, Ok(())),
            Err(error) => return (rows, Err(error)),
        }
    }
}

#[test]
fn every_line_is_a_record() {
    let check = |content: &[u8], expect: &[&[u8]]| {
        let files = Files::of(&[("in.txt", content)]);
        let (rows, ended) = drain(&mut files.lines());
        ended.expect("nothing is wrong");
        let expect: Vec<_> = expect.iter().zip(1..).map(|(line, n)| (format!("in.txt:{n}"), line.to_vec())).collect();
        assert_eq!(rows, expect);
    };
    check(b"", &[]);
    check(b"\n", &[b""]);
    check(b"one\ntwo\n", &[b"one", b"two"]);
    check(b"one\nlast without end", &[b"one", b"last without end"]);
    check(b"dos\r\nmixed\n\r\n", &[b"dos", b"mixed", b""]);
    check(b"not utf-8 \xff\xfe\n\xc3\n", &[b"not utf-8 \xff\xfe", b"\xc3"]);
    check(b"zero \0 byte\n", &[b"zero \0 byte"]);
    check(b"{not json\n", &[b"{not json"]);
}

#[test]
fn files_are_shared_out_and_none_is_read_twice() {
    let contents: Vec<(String, Vec<u8>)> = (0..7).map(|n| (format!("{n}.txt"), format!("{n}\n{n}\n").into())).collect();
    let files = Files::of(&contents.iter().map(|(n, c)| (n.as_str(), &c[..])).collect::<Vec<_>>());
    let mut seen = Vec::new();
    for subtask in 0..3 {
        let mut source = files.source(LineFormat::Lines, ByteSize(100), subtask, 3);
        let (rows, ended) = drain(&mut source);
        ended.expect("nothing is wrong");
        let expect = (subtask..7).step_by(3).map(|split| (split, 3)).collect::<Vec<_>>();
        assert_eq!(source.positions(), expect);
        seen.extend(rows.into_iter().map(|(place, _)| place));
    }
    seen.sort_unstable();
    let all: Vec<_> = (0..7).flat_map(|n| [format!("{n}.txt:1"), format!("{n}.txt:2")]).collect();
    assert_eq!(seen, all);
    // More subtasks than files: the rest has nothing to do.
    assert!(drain(&mut files.source(LineFormat::Lines, ByteSize(100), 9, 10)).0.is_empty());
}

#[test]
fn positions_say_where_to_go_on() {
    let files = Files::of(&[("a", b"1\n2\n3\n"), ("b", b"1\n")]);
    let mut source = files.lines();
    assert_eq!(source.positions(), [(0, 1), (1, 1)]);
    assert!(matches!(source.poll(2, BYTES), Ok(Polled::Batch(b)) if b.rows() == 2));
    assert_eq!(source.positions(), [(0, 3), (1, 1)]);
    drain(&mut source).1.expect("nothing is wrong");
    assert_eq!(source.positions(), [(0, 4), (1, 2)]);
}

#[test]
fn batches_keep_to_their_limits() {
    let files = Files::of(&[("a", &b"0123456789\n".repeat(10)), ("b", b"x\n"), ("c", &[b'y'; 500])]);
    let mut source = files.lines();
    let mut sizes = Vec::new();
    while let Polled::Batch(batch) = source.poll(6, 45).expect("nothing is wrong") {
        sizes.push(batch.rows());
    }
    // By bytes, then across files, then a longer row alone.
    assert_eq!(sizes, [4, 4, 3, 1]);
}

#[test]
fn a_long_line_passes_alone() {
    let long = [&b"before\n"[..], &[b'x'; 20 << 20], b"\nafter\n"].concat();
    let files = Files::of(&[("big.txt", &long)]);
    let mut source = files.lines();
    let mut sizes = Vec::new();
    while let Polled::Batch(batch) = source.poll(ROWS, BYTES).expect("nothing is wrong") {
        sizes.push((batch.rows(), batch.bytes(id::VALUE).expect("values").raw(0).len()));
    }
    assert_eq!(sizes, [(1, 6), (1, 20 << 20), (1, 5)]);
}

#[test]
fn many_empty_files_do_not_hold_up_a_slot() {
    let names: Vec<String> = (0..200).map(|n| format!("{n:03}")).collect();
    let mut contents: Vec<(&str, &[u8])> = names.iter().map(|n| (n.as_str(), &b""[..])).collect();
    contents[150].1 = b"found\n";
    let files = Files::of(&contents);
    assert!(matches!(files.lines().poll(ROWS, BYTES), Ok(Polled::Idle)));
    assert_eq!(drain(&mut files.lines()).0, [("150:1".to_string(), b"found".to_vec())]);
}

#[test]
fn bad_lines_are_left_out_if_on_error_says_so() {
    struct Told(Mutex<Vec<String>>);
    impl Report for Told {
        fn log(&self, _: Level, _: &str) {}
        fn locate(&self, split: u32, position: i64) -> Place {
            format!("{split}:{position}").into()
        }
        fn rejected(&self, record: &Rejected) {
            let (split, line) = record.origin.expect("a place");
            self.0.lock().expect("no test panics with it").push(format!("{split}:{line} {}", record.code));
        }
    }
    let files = Files::of(&[("a", b"1\n{\n\n2\n]\n"), ("b", b"x"), ("c", b"3")]);
    let told = Arc::new(Told(Mutex::default()));
    let blame = Blame { on_error: OnError::Skip, report: told.clone() };
    let mut source = files.source(LineFormat::Json, ByteSize(99), 0, 1).refusing(blame, 5 << 24);
    let (rows, ended) = drain(&mut source);
    ended.expect("it goes on");
    let values: Vec<Vec<u8>> = rows.into_iter().map(|(_, value)| value).collect();
    assert_eq!(values, [b"1", b"2", b"3"]);
    let wanted = [(0, 2), (0, 5), (1, 1)].map(|(split, line)| format!("{}:{line} no-json", 5 << 24 | split));
    assert_eq!(*told.0.lock().expect("no test panics with it"), wanted);
}

#[test]
fn bad_lines_end_the_source_after_the_good_ones() {
    let check = |format, max_line: u64, content: &[u8], good: usize, expect: &str| {
        let files = Files::of(&[("in.json", content)]);
        let (rows, ended) = drain(&mut files.source(format, ByteSize(max_line), 0, 1));
        assert_eq!(rows.len(), good);
        let error = ended.expect_err("a bad line");
        assert!(matches!(error, Error::Plugin(_)), "{error}");
        assert_eq!(error.to_string(), format!("{}:{expect}", files.path("in.json").display()));
    };
    let lines = LineFormat::Lines;
    check(lines, 3, b"abc\nabcd\n", 1, "2: the line is longer than `max-line: 3`; raise that");
    check(lines, 1 << 20, &[b'x'; 2 << 20], 0, "1: the line is longer than `max-line: 1Mi`; raise that");
    let check = |format, max_line: u64, content: &[u8], good, expect: &str| {
        let next = "mend it, or set `on-error: skip` or `on-error: dead-letter`";
        check(format, max_line, content, good, &format!("{expect}; {next}"));
    };
    let json = LineFormat::Json;
    check(json, 99, b"{\"a\": 1}\n{\"a\": }\n", 1, "2: column 7: the line is no JSON: expected value");
    check(json, 99, b"{\"a\": 1} x\n", 0, "1: column 10: the line is no JSON: trailing characters");
    check(json, 99, b"1\n\n2\n[1,", 2, "4: column 3: the line is no JSON: EOF while parsing a value");
    check(json, 99, b"\"\xff\"\n", 0, "1: column 2: the line is no JSON: it is not UTF-8");
    check(json, 99, &[b'['; 50], 0, "1: column 50: the line is no JSON: EOF while parsing a list");
}

#[test]
fn json_passes_as_it_is_written() {
    let files = Files::of(&[("in.json", b" {\"a\":  1.0} \n\n \t\r\nnull\n\"\xc3\xa4\"")]);
    let (rows, ended) = drain(&mut files.source(LineFormat::Json, ByteSize(99), 0, 1));
    ended.expect("nothing is wrong");
    let row = |n: u32, line: &[u8]| (format!("in.json:{n}"), line.to_vec());
    assert_eq!(rows, [row(1, b" {\"a\":  1.0} "), row(4, b"null"), row(5, b"\"\xc3\xa4\"")]);
}

#[test]
fn a_file_that_vanishes_is_named() {
    let files = Files::of(&[("a", b"1\n"), ("b", b"2\n")]);
    let mut source = files.lines();
    fs::remove_file(files.path("b")).expect("removed");
    let (rows, ended) = drain(&mut source);
    assert_eq!(rows.len(), 1);
    let error = ended.expect_err("b is gone");
    assert!(matches!(error, Error::Retryable(_)));
    assert_eq!(error.to_string(), format!("{} is gone since the job started", files.path("b").display()));
}

#[test]
fn a_file_that_is_cut_off_while_it_is_read_is_named() {
    let files = Files::of(&[("a.txt", &b"some words\n".repeat(100_000))]);
    let mut source = files.lines();
    assert!(matches!(source.poll(ROWS, BYTES), Ok(Polled::Batch(_))));
    let file = fs::OpenOptions::new().write(true).open(files.path("a.txt")).expect("there");
    file.set_len(400_000).expect("cut");
    let (_, ended) = drain(&mut source);
    let error = ended.expect_err("most of its lines are gone").to_string();
    assert!(error.contains("a.txt:") && error.contains("cut off while it was read"), "{error}");
}

#[test]
fn a_file_that_can_not_be_read_is_named() {
    // A regular file whose first page nobody can read.
    let path = Located { value: PathBuf::from("/proc/self/mem"), position: Position { line: 1, column: 1 } };
    let list = Arc::new(FileList::find(&path.value).expect("it is a file"));
    let spec = spec::FilesSource { path, format: LineFormat::Lines, max_line: ByteSize(9) };
    let error = drain(&mut FilesSource::new(&spec, list, 0, 1)).1.expect_err("it can't be read");
    assert_eq!(error.to_string(), "reading /proc/self/mem: Input/output error (os error 5)");
}

#[test]
fn files_are_known_by_whatever_path_they_were_read() {
    let files = Files::of(&[("a.txt", b"1\n2\n"), ("b.txt", b"3\n")]);
    let mut source = files.lines();
    drain(&mut source).1.expect("they are read");
    let elsewhere = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(files.0.path(), elsewhere.path().join("link")).expect("linked");
    let check = |other: &str| {
        let named = |name: &str| elsewhere.path().join(other).join(name).to_string_lossy().into_owned();
        let mut splits = source.splits();
        for (split, name) in splits.iter_mut().zip(["a.txt", "b.txt"]) {
            assert!(split.ended && split.split.ends_with(name), "{split:?}");
            split.split = named(name);
        }
        let mut again = files.lines().restored(&splits);
        assert_eq!(drain(&mut again).0, Rows::new(), "{other}");
        assert_eq!(again.splits(), source.splits(), "{other}: they are named as they are found");
    };
    check("link");
    check("gone/../link/.");
}
