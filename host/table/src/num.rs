//! Number conversions that cannot go wrong silently.

/// A count of rows or bytes as 32 bits; saturates, callers keep below by bounds.
pub(crate) fn narrow(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// A 32-bit count as a `usize`.
pub(crate) fn wide(n: u32) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}
