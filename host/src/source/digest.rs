//! Digests: `sha256:` and 64 lower-case hex digits.

use super::error::SourceError;
use sha2::{Digest, Sha256};

/// `sha256:` and 64 hex digits.
pub(crate) fn digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .fold("sha256:".to_owned(), |text, byte| {
            format!("{text}{byte:02x}")
        })
}

/// `sha256:` and 64 lower-case hex digits.
pub(crate) fn is_digest(text: &str) -> bool {
    hex(text).is_some()
}

/// The hex digits alone.
pub(super) fn hex(digest: &str) -> Option<&str> {
    let is_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    digest
        .strip_prefix("sha256:")
        .filter(|hex| hex.len() == 64 && hex.bytes().all(is_hex))
}

/// Whether what was fetched from `place` is what `spec.digest` pins.
pub(super) fn pinned(wanted: Option<&str>, found: &str, place: &str) -> Result<(), SourceError> {
    match wanted {
        Some(wanted) if wanted != found => Err(SourceError::Digest(format!(
            "spec.digest is {wanted}, but {place} holds {found}; pin the digest that you reviewed, or restore the source"
        ))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_spelled_like_an_image_digest() {
        let empty = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(digest(b""), empty);
        assert!(is_digest(empty));
        for wrong in [
            "sha256:12",
            &empty[7..],
            &empty.to_uppercase(),
            &format!("{empty}0"),
        ] {
            assert!(!is_digest(wrong), "{wrong}");
        }
    }
}
