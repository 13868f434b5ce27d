//! The lines of one file, within a bounded buffer.

use std::fs::File;
use std::io::{self, ErrorKind, Read};

/// What is read at once; the buffer is larger only while a longer line is in it.
const READ: usize = 256 << 10;

/// What comes next in a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    /// A line without its end: `\n`, or `\r\n`. The last one may lack it.
    Line(&'a [u8]),
    /// A line of more bytes than allowed.
    TooLong,
    /// Nothing.
    End,
}

#[derive(Clone, Copy)]
enum Found {
    /// Where the line stops, and where the next one begins.
    Line(usize, usize),
    TooLong,
    End,
}

pub(super) struct LineReader<R = File> {
    input: R,
    max: usize,
    buffer: Vec<u8>,
    /// What of the buffer is read from the file and not taken yet.
    start: usize,
    end: usize,
    /// What [`LineReader::peek`] has found behind `start`.
    found: Option<Found>,
    ended: bool,
    /// Bytes of the input in front of what is in the buffer.
    before: u64,
}

impl LineReader<File> {
    /// Whether the file is now shorter than when it was opened: its rest was cut off while it was read.
    pub(super) fn shrank(&self, length_when_opened: u64) -> io::Result<bool> {
        Ok(self.input.metadata()?.len() < length_when_opened)
    }
}

impl<R: Read> LineReader<R> {
    /// `max` is the length of the longest line allowed, without its end.
    pub(super) fn new(input: R, max: usize) -> LineReader<R> {
        LineReader { input, max, buffer: vec![0; READ], start: 0, end: 0, found: None, ended: false, before: 0 }
    }

    /// The same over what follows the first `before` bytes.
    pub(super) fn behind(self, before: u64) -> LineReader<R> {
        LineReader { before, ..self }
    }

    /// The byte at which the next line begins.
    pub(super) fn at(&self) -> u64 {
        self.before + self.start as u64
    }

    /// The next line, which stays the next one until it is taken.
    #[inline]
    pub(super) fn peek(&mut self) -> io::Result<Next<'_>> {
        let found = match self.found {
            Some(found) => found,
            None => {
                let found = self.find()?;
                self.found = Some(found);
                found
            }
        };
        Ok(match found {
            Found::Line(stop, _) => Next::Line(&self.buffer[self.start..stop]),
            Found::TooLong => Next::TooLong,
            Found::End => Next::End,
        })
    }

    /// Goes on behind the line that was peeked.
    #[inline]
    pub(super) fn take(&mut self) {
        if let Some(Found::Line(_, next)) = self.found {
            self.start = next;
            self.found = None;
        }
    }

    #[inline]
    fn find(&mut self) -> io::Result<Found> {
        let mut searched = self.start;
        loop {
            if let Some(at) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let at = searched + at;
                let stop = if at > self.start && self.buffer[at - 1] == b'\r' { at - 1 } else { at };
                return Ok(self.checked(stop, at + 1));
            }
            // One byte more may be the `\r` of the line's end.
            if self.end - self.start > self.max + 1 {
                return Ok(Found::TooLong);
            }
            if self.ended {
                return Ok(if self.start == self.end { Found::End } else { self.checked(self.end, self.end) });
            }
            self.make_room();
            searched = self.end;
            self.fill()?;
        }
    }

    fn checked(&self, stop: usize, next: usize) -> Found {
        if stop - self.start > self.max { Found::TooLong } else { Found::Line(stop, next) }
    }

    /// Moves what is left to the front; grows the buffer where that is a line that fills it, and gives back what a long
    /// line had needed.
    fn make_room(&mut self) {
        self.buffer.copy_within(self.start..self.end, 0);
        self.before += self.start as u64;
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            let most = self.max.saturating_add(2);
            let wanted = (self.buffer.len() * 2).min(most).max(READ);
            self.buffer.reserve_exact(wanted - self.buffer.len());
            self.buffer.resize(wanted, 0);
        } else if self.buffer.len() > READ && self.end < READ / 2 {
            self.buffer.truncate(READ);
            self.buffer.shrink_to_fit();
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        loop {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(n) => {
                    self.end += n;
                    self.ended = n == 0;
                    return Ok(());
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a few bytes at a time.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let n = self.1.min(self.0.len()).min(buffer.len());
            buffer[..n].copy_from_slice(&self.0[..n]);
            self.0 = &self.0[n..];
            Ok(n)
        }
    }

    fn lines(input: impl Read, max: usize) -> Vec<Option<Vec<u8>>> {
        let mut reader = LineReader::new(input, max);
        let mut lines = Vec::new();
        loop {
            match reader.peek().expect("memory reads") {
                Next::Line(line) => lines.push(Some(line.to_vec())),
                Next::TooLong => {
                    lines.push(None);
                    return lines;
                }
                Next::End => return lines,
            }
            reader.take();
        }
    }

    #[test]
    fn splits() {
        let check = |text: &str, max: usize, expect: &[Option<&str>]| {
            let expect: Vec<_> = expect.iter().map(|line| line.map(|l| l.as_bytes().to_vec())).collect();
            for at_once in [1, 2, 3, 1000] {
                assert_eq!(lines(Slow(text.as_bytes(), at_once), max), expect, "{text:?} by {at_once}");
            }
        };
        check("", 9, &[]);
        check("\n", 9, &[Some("")]);
        check("a\nb\n", 9, &[Some("a"), Some("b")]);
        check("a\n\nb", 9, &[Some("a"), Some(""), Some("b")]);
        check("a\r\nb\r\n\r\n", 9, &[Some("a"), Some("b"), Some("")]);
        check("a\rb\n\r", 9, &[Some("a\rb"), Some("\r")]);
        check("abc\nabcd\nx", 3, &[Some("abc"), None]);
        check("abc\r\nabcd", 3, &[Some("abc"), None]);
        check("abc\r", 3, &[None]);
        check("abc", 3, &[Some("abc")]);
    }

    #[test]
    fn long_lines_pass_and_their_memory_goes() {
        let long = vec![b'x'; 20 << 20];
        let text = [b"first\n", &long[..], b"\n", &b"short\n".repeat(100_000)].concat();
        let mut reader = LineReader::new(&text[..], 32 << 20);
        let mut lengths = Vec::new();
        while let Next::Line(line) = reader.peek().expect("memory reads") {
            lengths.push(line.len());
            reader.take();
        }
        assert_eq!(lengths[..3], [5, 20 << 20, 5]);
        assert_eq!(lengths.len(), 100_002);
        assert_eq!(reader.buffer.capacity(), READ);
    }

    #[test]
    fn a_line_without_end_needs_no_more_than_its_limit() {
        let mut reader = LineReader::new(io::repeat(b'x'), 1 << 20);
        assert_eq!(reader.peek().expect("it reads"), Next::TooLong);
        assert!(reader.buffer.capacity() <= (1 << 20) + 2);
    }

    #[test]
    fn a_failed_read_is_told_and_loses_nothing() {
        struct Once(bool);
        impl Read for Once {
            fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
                if std::mem::replace(&mut self.0, true) {
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                buffer[..2].copy_from_slice(b"a\n");
                Ok(2)
            }
        }
        let mut reader = LineReader::new(Once(false), 9);
        assert_eq!(reader.peek().expect("the first read works"), Next::Line(b"a"));
        reader.take();
        assert_eq!(reader.peek().expect_err("the second does not").raw_os_error(), Some(libc::EIO));
    }
}
