//! A generator of random numbers with a fixed seed, and keys of which some are much more frequent than others.

/// SplitMix64 (Steele, Lea, Flood 2014).
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    #[expect(clippy::should_implement_trait, reason = "it has no end")]
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Keys by the quick zipf of Gray and others (SIGMOD 1994), the frequent ones scattered over all.
pub struct Zipf {
    keys: u64,
    theta: f64,
    zeta: f64,
    alpha: f64,
    eta: f64,
}

impl Zipf {
    /// Of so many keys; `theta` from 0 (uniform) to below 1.
    pub fn new(keys: u64, theta: f64) -> Zipf {
        let zeta = |n: u64| (1..=n).map(|i| (i as f64).powf(-theta)).sum::<f64>();
        let (two, all) = (zeta(2), zeta(keys));
        let eta = (1.0 - (2.0 / keys as f64).powf(1.0 - theta)) / (1.0 - two / all);
        Zipf { keys, theta, zeta: all, alpha: 1.0 / (1.0 - theta), eta }
    }

    /// The key that these 64 random bits choose, from 0.
    pub fn key(&self, random: u64) -> u64 {
        self.rank(random).wrapping_mul(0x9e37_79b9_7f4a_7c15) % self.keys
    }

    fn rank(&self, random: u64) -> u64 {
        let u = (random >> 11) as f64 / (1u64 << 53) as f64;
        let uz = u * self.zeta;
        if uz < 1.0 {
            0
        } else if uz < 1.0 + 0.5f64.powf(self.theta) {
            1
        } else {
            ((self.keys as f64 * (self.eta * u - self.eta + 1.0).powf(self.alpha)) as u64).min(self.keys - 1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_keys_are_much_more_frequent_than_others() {
        let (zipf, mut random, mut counts) = (Zipf::new(1000, 0.99), Random(7), vec![0u32; 1000]);
        (0..100_000).for_each(|_| counts[zipf.key(random.next()) as usize] += 1);
        counts.sort_unstable();
        assert!((10_000..16_000).contains(&counts[999]), "the most frequent: {}", counts[999]);
        assert!(counts[999 - 100..].iter().sum::<u32>() > 65_000, "the first tenth has two thirds");
    }
}
