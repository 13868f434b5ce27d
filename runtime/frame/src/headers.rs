//! A record's headers as one blob: u32 count, then for each header u32 length, key, i32 length (-1: null), value, all
//! little endian. An empty blob is a record without headers. Order and repeated keys are kept, as Kafka keeps them.

/// Appends the blob of these headers to `out`; nothing when there are none.
pub fn encode<'a>(headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>, out: &mut Vec<u8>) {
    if headers.len() == 0 {
        return;
    }
    out.extend((headers.len() as u32).to_le_bytes());
    for (key, value) in headers {
        out.extend((key.len() as u32).to_le_bytes());
        out.extend(key);
        out.extend(value.map_or(-1, |v| v.len() as i32).to_le_bytes());
        out.extend(value.unwrap_or_default());
    }
}

/// The headers of a blob. A blob that is cut off ends early, with [`Headers::broken`] set.
pub fn decode(blob: &[u8]) -> Headers<'_> {
    let mut headers = Headers { rest: blob, left: 0, broken: false };
    if !blob.is_empty() {
        headers.left = headers.take4().map_or(0, u32::from_le_bytes);
    }
    headers
}

/// Whether a blob is well formed: every header whole, and nothing after the last.
pub fn is_valid(blob: &[u8]) -> bool {
    let mut headers = decode(blob);
    while headers.next().is_some() {}
    !headers.broken && headers.rest.is_empty()
}

/// Iterates over key and value of each header.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    rest: &'a [u8],
    left: u32,
    broken: bool,
}

impl<'a> Headers<'a> {
    /// Whether the iteration met bytes that are no header.
    pub fn broken(&self) -> bool {
        self.broken
    }

    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let Some((head, rest)) = self.rest.split_at_checked(n) else {
            self.broken = true;
            self.left = 0;
            return None;
        };
        self.rest = rest;
        Some(head)
    }

    fn take4(&mut self) -> Option<[u8; 4]> {
        self.take(4).and_then(|b| b.first_chunk().copied())
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let n = u32::from_le_bytes(self.take4()?);
        let key = self.take(n as usize)?;
        let n = i32::from_le_bytes(self.take4()?);
        let value = if n < 0 { None } else { Some(self.take(n as usize)?) };
        Some((key, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trip_keeps_order_duplicates_and_nulls() {
        let headers: Vec<(&[u8], Option<&[u8]>)> = vec![(b"a", Some(b"1")), (b"a", None), (b"", Some(b""))];
        let mut blob = Vec::new();
        encode(headers.iter().copied(), &mut blob);
        assert!(is_valid(&blob));
        assert_eq!(decode(&blob).collect::<Vec<_>>(), headers);
        for cut in 1..blob.len() {
            assert!(!is_valid(&blob[..cut]), "cut at {cut}");
        }
        assert!(is_valid(b""));
    }
}
