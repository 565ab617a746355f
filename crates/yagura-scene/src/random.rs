//! Random numbers that are the same on every machine: integer arithmetic and exact sums only.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, every seed good.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// A stream of its own for each seed.
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A stream that depends on this seed and on `name` only: what one part of the scene draws
    /// does not move what another part gets.
    pub fn named(seed: u64, name: &str) -> Self {
        // FNV-1a, so that close names give distant seeds.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Random(Random(seed ^ hash).word())
    }

    /// 64 random bits.
    pub fn word(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A whole number in `0..limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        // The high half of the product: no division, and a bias under limit / 2^64.
        ((u128::from(self.word()) * u128::from(limit)) >> 64) as u64
    }

    /// A number of mean 0 and variance 1, near enough to a normal one: the sum of twelve uniform
    /// ones. Logarithm and cosine differ between machines in the last bit; sums do not.
    pub fn normal(&mut self) -> f64 {
        let mut sum = 0_u64;
        for _ in 0..3 {
            let word = self.word();
            for shift in [0, 16, 32, 48] {
                sum += (word >> shift) & 0xffff;
            }
        }
        (sum as f64 + 6.0) / 65_536.0 - 6.0
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn the_stream_is_splitmix64() {
        // The first outputs for seed 1234567 that the algorithm's reference implementations give.
        let mut random = Random::new(1_234_567);
        assert_eq!(random.word(), 6_457_827_717_110_365_317);
        assert_eq!(random.word(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut random = Random::new(7);
        let values: Vec<f64> = (0..100_000).map(|_| random.normal()).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.02, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    #[test]
    fn below_stays_below_and_reaches_everything() {
        let mut random = Random::new(3);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[random.below(7) as usize] = true;
        }
        assert_eq!(seen, [true; 7]);
        assert_eq!(random.below(0), 0);
    }
}
