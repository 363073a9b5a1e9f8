//! A component in the host's file system.

use super::error::SourceError;
use bytes::Bytes;
use std::io::Read;
use std::path::Path;

/// Blocking file access stays off the I/O threads.
pub(super) async fn fetch(path: &str, most: usize) -> Result<Bytes, SourceError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || read(Path::new(&path), most))
        .await
        .map_err(|_| SourceError::Unavailable("reading was interrupted".to_owned()))?
}

fn read(path: &Path, most: usize) -> Result<Bytes, SourceError> {
    let unavailable = |error: std::io::Error| {
        SourceError::Unavailable(format!(
            "spec.source.file {}: {error}; put the component there, in the host's file system",
            path.display()
        ))
    };
    let file = std::fs::File::open(path).map_err(unavailable)?;
    let mut bytes = Vec::new();
    file.take(one_more(most))
        .read_to_end(&mut bytes)
        .map_err(unavailable)?;
    capped(bytes, most, &path.display().to_string())
}

/// How much is read to know that there is more.
pub(super) fn one_more(most: usize) -> u64 {
    u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1)
}

/// The bytes, if they are not too many.
pub(super) fn capped(bytes: Vec<u8>, most: usize, what: &str) -> Result<Bytes, SourceError> {
    if bytes.len() <= most {
        return Ok(Bytes::from(bytes));
    }
    Err(SourceError::TooLarge(format!(
        "{what} has more than {most} bytes; build the component with optimisation for size"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_file_is_named_with_the_cure() {
        let error = read(Path::new("/nowhere/x.wasm"), 10).unwrap_err();
        assert!(matches!(error, SourceError::Unavailable(_)));
        let told = error.to_string();
        assert!(told.contains("/nowhere/x.wasm"), "{told}");
    }

    #[test]
    fn a_file_that_is_too_large_is_not_taken() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.wasm");
        std::fs::write(&path, [0; 11]).unwrap();
        assert!(matches!(read(&path, 10), Err(SourceError::TooLarge(_))));
        assert!(read(&path, 11).is_ok());
    }
}
