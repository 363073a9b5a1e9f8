//! A bundle: the files that a plugin interprets, as one custom section of its component.
//!
//! # Contract
//! A bundle has one form as bytes, whatever it was made from: a tar (ustar) of regular files, sorted
//! by path, without times, owners and folders. Equal files give an equal digest, and a component with
//! a bundle is a component like any other, with a digest of its own.
//!
//! # Limits
//! [`MAX_BYTES`] of all files together, [`MAX_FILES`], [`MAX_PATH`]; no absolute path, no `..`, no
//! link that leads out, nothing but regular files.
//!
//! | room | what is in it |
//! |---|---|
//! | tar | the form as bytes, and tars that others wrote |
//! | folder, archive, keys | what bundles are made from |
//! | compose | a component with its bundle, and without what is never run |
//! | chart, ignore | a Helm chart among the files |

mod archive;
mod chart;
mod compose;
mod folder;
mod ignore;
mod keys;
mod tar;

pub use chart::{chart, has_charts};
pub use compose::{compose, section, without_sections};

use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Bytes of all files together.
pub const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Files.
pub const MAX_FILES: usize = 4_096;
/// Bytes of a path.
pub const MAX_PATH: usize = 255;

/// Why there is no bundle. A retry helps only where a file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// Its files are too large together.
    #[error("the bundle has more than {MAX_BYTES} bytes; leave out what no operator file names")]
    TooLarge,
    /// It has too many files.
    #[error("the bundle has more than {MAX_FILES} files; leave out what no operator file names")]
    TooMany,
    /// A file has a name that no bundle has.
    #[error("the bundle's file `{path}`: {reason}")]
    Path {
        /// The name, as far as it can be shown.
        path: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There are no files.
    #[error("the bundle has no files")]
    Empty,
    /// The bytes are no archive.
    #[error("no bundle: {0}")]
    Archive(String),
    /// A file cannot be read.
    #[error("{}: cannot be read", .path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The bytes are no component.
    #[error("not a WebAssembly component: {0}")]
    Component(String),
}

/// The files of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    files: BTreeMap<String, Vec<u8>>,
    bytes: usize,
}

impl Bundle {
    /// The bundle in these bytes, which are as [`Bundle::to_bytes`] writes them.
    ///
    /// # Errors
    /// Somebody else wrote them.
    pub fn parse(bytes: &[u8]) -> Result<Self, BundleError> {
        let bundle = tar::read(bytes)?;
        if bundle.to_bytes() == bytes {
            return Ok(bundle);
        }
        Err(BundleError::Archive(
            "its section is not as `kybern plugin build --bundle` writes it".to_owned(),
        ))
    }

    /// One more file.
    ///
    /// # Errors
    /// It has no name for a bundle, there is one of its name, or it is too much.
    pub fn insert(&mut self, path: &str, content: Vec<u8>) -> Result<(), BundleError> {
        check(path)?;
        let bytes = self.bytes.saturating_add(content.len());
        if bytes > MAX_BYTES {
            return Err(BundleError::TooLarge);
        }
        if self.files.len() >= MAX_FILES {
            return Err(BundleError::TooMany);
        }
        if self.files.contains_key(path) {
            return Err(wrong(path, "there are two of this name"));
        }
        self.bytes = bytes;
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// Its paths, sorted.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }

    /// What is in a file.
    pub fn read(&self, path: &str) -> Option<&[u8]> {
        self.files.get(path).map(Vec::as_slice)
    }

    /// The files and what is in them, sorted.
    pub fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let files = self.files.iter();
        files.map(|(path, content)| (path.as_str(), content.as_slice()))
    }

    /// Bytes of all files together.
    pub fn size(&self) -> usize {
        self.bytes
    }

    /// Its one form as bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        tar::write(self)
    }

    /// `sha256:` and the hex digest of those.
    pub fn digest(&self) -> String {
        format!("sha256:{:x}", Sha256::digest(self.to_bytes()))
    }

    fn filled(self) -> Result<Self, BundleError> {
        match self.files.is_empty() {
            true => Err(BundleError::Empty),
            false => Ok(self),
        }
    }
}

/// Whether a file of a bundle can have this name.
fn check(path: &str) -> Result<(), BundleError> {
    let plain = |part: &str| !matches!(part, "" | "." | "..");
    if path.len() > MAX_PATH || tar::split(path).is_none() {
        return Err(wrong(
            path,
            "its path is too long; use at most 100 characters",
        ));
    }
    if path.starts_with('/') {
        return Err(wrong(
            path,
            "its path is absolute; use one relative to the bundle",
        ));
    }
    if !path.split('/').all(plain) {
        return Err(wrong(path, "its path leads out of the bundle, or is none"));
    }
    if path.chars().any(|c| c.is_control() || c == '\\') {
        return Err(wrong(
            path,
            "its path has control characters or backslashes",
        ));
    }
    Ok(())
}

fn wrong(path: &str, reason: &'static str) -> BundleError {
    BundleError::Path {
        path: path.escape_debug().take(MAX_PATH).collect(),
        reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_out_of_a_bundle_is_no_path() {
        for path in [
            "",
            "/a",
            "a//b",
            "../a",
            "a/../b",
            "./a",
            "a/",
            "a\\b",
            "a\nb",
            &"a".repeat(256),
        ] {
            assert!(Bundle::default().insert(path, vec![]).is_err(), "{path}");
        }
        let mut bundle = Bundle::default();
        bundle.insert("a..b/.helmignore", vec![]).unwrap();
        assert!(bundle.insert("a..b/.helmignore", vec![]).is_err());
    }

    #[test]
    fn a_bundle_is_bounded() {
        let mut bundle = Bundle::default();
        bundle.insert("a", vec![0; MAX_BYTES]).unwrap();
        assert!(matches!(
            bundle.insert("b", vec![0]),
            Err(BundleError::TooLarge)
        ));
        let mut bundle = Bundle::default();
        for number in 0..MAX_FILES {
            bundle.insert(&number.to_string(), vec![]).unwrap();
        }
        assert!(matches!(
            bundle.insert("b", vec![]),
            Err(BundleError::TooMany)
        ));
    }
}
