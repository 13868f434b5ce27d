//! Where a record came from, packed into the pointer that librdkafka hands back with its report: no memory that somebody would
//! have to free. What does not fit is not known then.

use std::ffi::c_void;

/// Bits of the position: more than a trillion records of a partition.
const POSITION: u32 = 40;
/// Bits of the split; those of the source's number above it are the upper 8.
const SPLIT: u32 = 16;
const SOURCE_SHIFT: u32 = 24;

/// Split and position as a pointer that nobody follows; null for none.
pub(super) fn pointer(origin: Option<(u32, i64)>) -> *mut c_void {
    let packed = origin.and_then(|(split, position)| {
        let (source, split) = (u64::from(split >> SOURCE_SHIFT), u64::from(split & ((1 << SOURCE_SHIFT) - 1)));
        let position = u64::try_from(position).ok()?;
        let fits = split < 1 << SPLIT && position < (1 << POSITION) - 1 && usize::BITS == u64::BITS;
        fits.then_some((source << (SPLIT + POSITION)) | (split << POSITION) | (position + 1))
    });
    packed.unwrap_or(0) as usize as *mut c_void
}

/// What [`pointer`] packed.
pub(super) fn of(pointer: *mut c_void) -> Option<(u32, i64)> {
    let packed = pointer as usize as u64;
    let position = (packed & ((1 << POSITION) - 1)).checked_sub(1)?;
    let (source, split) = (packed >> (SPLIT + POSITION), packed >> POSITION & ((1 << SPLIT) - 1));
    Some(((source as u32) << SOURCE_SHIFT | split as u32, position as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_come_back() {
        for origin in [(0, 0), (65535, 7), (255 << SOURCE_SHIFT | 3, (1 << POSITION) - 2)] {
            assert_eq!(of(pointer(Some(origin))), Some(origin));
        }
        for none in [None, Some((1 << SPLIT, 0)), Some((0, 1 << POSITION)), Some((0, -1))] {
            assert_eq!(of(pointer(none)), None, "{none:?}");
        }
    }
}
