//! A packed bundle: a tar, with or without gzip around it.

use crate::{Bundle, BundleError, MAX_BYTES, tar};
use flate2::read::MultiGzDecoder;
use std::io::Read;

/// What headers and padding of as many files as there may be take.
const MOST: usize = MAX_BYTES + crate::MAX_FILES * 4 * 1_024;

impl Bundle {
    /// The bundle in an archive: a `.tgz` or a tar.
    ///
    /// # Errors
    /// It is none, or has more or other files than a bundle may have.
    pub fn of_archive(bytes: &[u8]) -> Result<Self, BundleError> {
        if !bytes.starts_with(b"\x1f\x8b") {
            return tar::read(bytes)?.filled();
        }
        let mut unpacked = Vec::new();
        let most = u64::try_from(MOST).unwrap_or(u64::MAX);
        MultiGzDecoder::new(bytes)
            .take(most.saturating_add(1))
            .read_to_end(&mut unpacked)
            .map_err(|error| BundleError::Archive(format!("it is no gzip: {error}")))?;
        if unpacked.len() > MOST {
            return Err(BundleError::TooLarge);
        }
        tar::read(&unpacked)?.filled()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut packer = GzEncoder::new(Vec::new(), Compression::best());
        packer.write_all(bytes).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn packed_or_not_it_is_the_same_bundle() {
        let mut bundle = Bundle::default();
        bundle.insert("a/b", b"text".to_vec()).unwrap();
        let tar = bundle.to_bytes();
        assert_eq!(Bundle::of_archive(&tar).unwrap(), bundle);
        assert_eq!(Bundle::of_archive(&packed(&tar)).unwrap(), bundle);
        let empty = Bundle::default().to_bytes();
        assert!(matches!(
            Bundle::of_archive(&empty),
            Err(BundleError::Empty)
        ));
    }

    #[test]
    fn a_bomb_is_not_unpacked() {
        let bomb = packed(&vec![0; MOST + 4_096]);
        assert!(bomb.len() < 100_000);
        assert!(matches!(
            Bundle::of_archive(&bomb),
            Err(BundleError::TooLarge)
        ));
        let cut = &packed(&Bundle::default().to_bytes())[..12];
        assert!(matches!(
            Bundle::of_archive(cut),
            Err(BundleError::Archive(_))
        ));
    }
}
