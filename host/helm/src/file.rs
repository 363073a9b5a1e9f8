//! Where the engine's module comes from: what the flag `--helm-engine` takes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// The module's name in a folder of guests, and in the image.
pub const ENGINE_FILE: &str = "helm-engine.wasm";

const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// A file with the engine's module. Parsed from a path: of the file, or of a folder that holds
/// [`ENGINE_FILE`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFile(PathBuf);

/// Why there is no module.
#[derive(Debug, thiserror::Error)]
pub enum EngineFileError {
    /// It cannot be read.
    #[error(
        "cannot read Helm's engine from {path}: give --helm-engine the file helm-engine.wasm or its folder"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// It is larger than any engine.
    #[error("{path} has more than {MAX_BYTES} bytes: it is no helm-engine.wasm")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
}

impl EngineFile {
    /// In this folder, if it is there.
    pub fn beside(folder: &Path) -> Option<Self> {
        let path = folder.join(ENGINE_FILE);
        path.is_file().then_some(Self(path))
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Its bytes. Blocks.
    ///
    /// # Errors
    /// It is not there, cannot be read, or is too large.
    pub fn read(&self) -> Result<Vec<u8>, EngineFileError> {
        let path = match self.0.is_dir() {
            true => self.0.join(ENGINE_FILE),
            false => self.0.clone(),
        };
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| {
            file.take(MAX_BYTES.saturating_add(1))
                .read_to_end(&mut bytes)
        });
        match read {
            Ok(read) if u64::try_from(read).is_ok_and(|read| read <= MAX_BYTES) => Ok(bytes),
            Ok(_) => Err(EngineFileError::TooLarge { path }),
            Err(source) => Err(EngineFileError::Read { path, source }),
        }
    }
}

impl FromStr for EngineFile {
    type Err = std::convert::Infallible;

    fn from_str(path: &str) -> Result<Self, Self::Err> {
        Ok(Self(path.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_its_folder_and_what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let of = |path: &Path| EngineFile::from_str(path.to_str().unwrap()).unwrap();
        let file = folder.path().join(ENGINE_FILE);
        assert_eq!(EngineFile::beside(folder.path()), None);
        let error = of(folder.path()).read().unwrap_err().to_string();
        assert!(
            error.contains(file.to_str().unwrap()) && error.contains("--helm-engine"),
            "{error}"
        );
        std::fs::write(&file, b"module").unwrap();
        for path in [folder.path(), &file] {
            assert_eq!(of(path).read().unwrap(), b"module");
        }
        assert_eq!(EngineFile::beside(folder.path()), Some(of(&file)));
    }

    #[test]
    fn no_more_is_read_than_an_engine_has() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        let error = EngineFile(path).read().unwrap_err();
        assert!(matches!(error, EngineFileError::TooLarge { .. }), "{error}");
    }
}
