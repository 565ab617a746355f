//! A logarithm that is the same on every machine.

/// log2 of a positive number from its bits: the exponent, and of the fraction the series of
/// 2 artanh((m−1)/(m+1)) / ln 2 to the eleventh power, with m between √½ and √2. Off by 1e-9 at most.
pub fn log2(x: f64) -> f64 {
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) as i64 - 1023) as f64;
    let mut fraction = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0x3ff0_0000_0000_0000);
    if fraction > std::f64::consts::SQRT_2 {
        fraction *= 0.5;
        exponent += 1.0;
    }
    let t = (fraction - 1.0) / (fraction + 1.0);
    let s = t * t;
    let series = 1.0 + s * (1.0 / 3.0 + s * (0.2 + s * (1.0 / 7.0 + s * (1.0 / 9.0 + s / 11.0))));
    exponent + 2.0 * std::f64::consts::LOG2_E * t * series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_that_of_the_library_to_nine_places() {
        for x in [1e-300, 1e-9, 0.1, 7.0 / 9.0, 0.999_999, 1.0, 1.414, 1.415, 3.0, 10.0, 1e12, 1e300] {
            assert!((log2(x) - x.log2()).abs() < 1e-9 * x.log2().abs().max(1.0), "{x}");
        }
    }
}
