//! How long what failed waits.

use std::time::Duration;

/// Exponential backoff with jitter: `base * 2^failures`, at most `cap`, times 0.5 to 1.
pub fn backoff(base: Duration, cap: Duration, failures: u32, unit: f64) -> Duration {
    let factor = 2u32.saturating_pow(failures.min(30));
    let full = base.saturating_mul(factor).min(cap);
    full.mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_up_to_its_cap() {
        let base = Duration::from_millis(5);
        let cap = Duration::from_secs(300);
        assert_eq!(backoff(base, cap, 0, 1.0), base);
        assert_eq!(backoff(base, cap, 3, 1.0), base * 8);
        assert_eq!(backoff(base, cap, 3, 0.0), base * 4);
        assert_eq!(backoff(base, cap, 90, 1.0), cap);
    }
}
