//! Which partition a key belongs to, as Kafka's Java client decides it, so that records of one key meet whatever wrote them.
//! Source of the hash: MurmurHash2 (32 bits, Austin Appleby, public domain) with Kafka's seed.

const SEED: u32 = 0x9747_b28c;
const M: u32 = 0x5bd1_e995;

/// MurmurHash2 of the bytes, with Kafka's seed.
pub fn hash(bytes: &[u8]) -> u32 {
    let (words, tail) = bytes.as_chunks::<4>();
    let mut h = SEED ^ bytes.len() as u32;
    for word in words {
        let k = u32::from_le_bytes(*word).wrapping_mul(M);
        let k = (k ^ (k >> 24)).wrapping_mul(M);
        h = h.wrapping_mul(M) ^ k;
    }
    if !tail.is_empty() {
        let mut word = [0; 4];
        word[..tail.len()].copy_from_slice(tail);
        h = (h ^ u32::from_le_bytes(word)).wrapping_mul(M);
    }
    h = (h ^ (h >> 13)).wrapping_mul(M);
    h ^ (h >> 15)
}

/// The partition of a key among `partitions` (at least 1).
pub fn partition(key: &[u8], partitions: u32) -> u32 {
    (hash(key) & 0x7fff_ffff) % partitions
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values that Apache Kafka's own test of its Java client expects.
    #[test]
    fn hashes_as_the_java_client() {
        let check = |text: &str, expect: i32| assert_eq!(hash(text.as_bytes()) as i32, expect, "{text}");
        check("21", -973_932_308);
        check("foobar", -790_332_482);
        check("a-little-bit-long-string", -985_981_536);
        check("a-little-bit-longer-string", -1_486_304_829);
        check("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971);
        check("abc", 479_470_107);
    }
}
