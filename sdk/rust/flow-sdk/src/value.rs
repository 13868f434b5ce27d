//! A value under construction, at the end of the frame that leaves the call.

use std::{fmt, io};

use serde::Serialize;

use crate::error::Result;

/// Takes the bytes of one value, in pieces: it is a [`fmt::Write`] and an [`io::Write`] that never fail.
#[derive(Debug)]
pub struct ValueWriter<'a> {
    data: &'a mut Vec<u8>,
}

impl<'a> ValueWriter<'a> {
    pub(crate) fn new(data: &'a mut Vec<u8>) -> Self {
        ValueWriter { data }
    }

    /// Appends bytes.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) {
        self.data.extend_from_slice(bytes);
    }

    /// Appends something as JSON.
    #[inline]
    pub fn json<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        Ok(serde_json::to_writer(&mut *self.data, value)?)
    }
}

impl Extend<u8> for ValueWriter<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.data.extend(bytes);
    }
}

impl io::Write for ValueWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.data.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Write for ValueWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.data.extend_from_slice(text.as_bytes());
        Ok(())
    }
}
