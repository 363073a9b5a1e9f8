//! Numbers that look random and are a function of what they are for.

/// A well mixed number for these (splitmix64 over each).
pub(crate) fn dice(parts: &[u64]) -> u64 {
    parts.iter().fold(0x9e37_79b9_7f4a_7c15, |state, part| {
        let mut mixed = (state ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    })
}

/// The suffix that generateName adds: letters that make no words.
pub(crate) fn suffix(number: u64) -> String {
    const LETTERS: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
    let mut left = number;
    let mut letter = |_| {
        let at = usize::try_from(left % 27).unwrap_or(0);
        left /= 27;
        char::from(LETTERS.get(at).copied().unwrap_or(b'x'))
    };
    (0..5).map(&mut letter).collect()
}

/// A random UUID of version 4.
pub(crate) fn uuid(parts: &[u64]) -> String {
    let high = dice(parts);
    let low = dice(&[high, 1]);
    format!(
        "{:08x}-{:04x}-4{:03x}-{:x}{:03x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        8 + (low >> 62),
        low >> 48 & 0xfff,
        low & 0xffff_ffff_ffff
    )
}

/// 256 bits as digits, as of a SHA-256.
pub(crate) fn digest(parts: &[u64]) -> String {
    let start = dice(parts);
    (0..4)
        .map(|word| format!("{:016x}", dice(&[start, word])))
        .collect()
}
