//! Appending bytes without a call where there are few of them. In a guest a copy of unknown length leaves the sandbox, which
//! costs more than a short value's bytes. Must never do anything else than `extend_from_slice`.

/// Longest run of bytes that is copied in line.
const INLINE: usize = 256;

/// Appends `bytes` to `out`.
#[inline]
pub fn append(out: &mut Vec<u8>, bytes: &[u8]) {
    match *bytes {
        [] => {}
        [a] => out.push(a),
        [a, b] => out.extend_from_slice(&[a, b]),
        [a, b, c] => out.extend_from_slice(&[a, b, c]),
        _ => match bytes.len() {
            ..8 => ends::<4>(out, bytes),
            ..16 => ends::<8>(out, bytes),
            ..32 => ends::<16>(out, bytes),
            ..=INLINE => chunks(out, bytes),
            _ => out.extend_from_slice(bytes),
        },
    }
}

/// At least `N` bytes and at most twice that many: the first `N`, and over their end the last `N`.
#[inline]
fn ends<const N: usize>(out: &mut Vec<u8>, bytes: &[u8]) {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<N>(), bytes.last_chunk::<N>()) {
        let end = out.len() + bytes.len();
        out.reserve(2 * N);
        out.extend_from_slice(first);
        out.truncate(end - N);
        out.extend_from_slice(last);
    }
}

#[inline]
fn chunks(out: &mut Vec<u8>, bytes: &[u8]) {
    const CHUNK: usize = 32;
    let end = out.len() + bytes.len();
    out.reserve(bytes.len() + CHUNK);
    let (whole, rest) = bytes.as_chunks::<CHUNK>();
    for chunk in whole {
        out.extend_from_slice(chunk);
    }
    if let (false, Some(last)) = (rest.is_empty(), bytes.last_chunk::<CHUNK>()) {
        out.truncate(end - CHUNK);
        out.extend_from_slice(last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_length_is_appended_whole() {
        let bytes: Vec<u8> = (0..600usize).map(|n| (n * 7 % 251) as u8).collect();
        for length in 0..bytes.len() {
            // Full to the last byte, so that room has to be made, and with room left.
            for mut out in [vec![1, 2, 3], Vec::with_capacity(1000)] {
                let mut expected = out.clone();
                append(&mut out, &bytes[..length]);
                expected.extend_from_slice(&bytes[..length]);
                assert_eq!(out, expected, "{length} bytes");
            }
        }
    }
}
