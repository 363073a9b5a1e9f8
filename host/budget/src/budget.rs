//! How large the budget is.

/// The budget where nothing limits the process and nobody gave one: 4 GiB.
pub const UNLIMITED: u64 = 4 << 30;

/// Bytes of the budget: what was given, else three fifths of what the process may use, else
/// [`UNLIMITED`]. Two fifths are for the program, for what the allocator keeps beside what is
/// used, and for what is under way between two readings.
pub fn budget(given: Option<u64>, limit: Option<u64>) -> u64 {
    given
        .or(limit.map(|limit| limit / 5 * 3))
        .unwrap_or(UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_wins_over_the_limit_and_the_limit_over_the_default() {
        assert_eq!(budget(Some(7), Some(100)), 7);
        assert_eq!(budget(None, Some(100)), 60);
        assert_eq!(budget(None, None), UNLIMITED);
    }
}
