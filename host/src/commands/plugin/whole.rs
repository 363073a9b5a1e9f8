//! Files that are written whole or not at all.

use anyhow::Context;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Whoever reads the file meanwhile has the old one or the new one; where it cannot be written, nothing
/// is left of it.
pub(super) fn write(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let partial = partial(path);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&partial)
        .and_then(|mut file| {
            let written = file.write_all(bytes);
            let moved = written.and_then(|()| fs::rename(&partial, path));
            moved.inspect_err(|_| {
                // It was made just now, for this.
                let _ = fs::remove_file(&partial);
            })
        });
    written.with_context(|| format!("{}: cannot be written", path.display()))
}

/// Beside the file, and nobody else's: hidden, with the process's number.
fn partial(path: &Path) -> PathBuf {
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".{}.partial", std::process::id()));
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap().map(Result::unwrap);
        let mut names: Vec<String> = files
            .map(|file| file.file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_cannot_be_written_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("x.wasm").join("full")).unwrap();
        let error = write(&at("x.wasm"), b"component").unwrap_err();
        assert!(error.to_string().contains("x.wasm: cannot be written"));
        assert_eq!(files(folder.path()), ["x.wasm"]);
        assert!(write(&at("none").join("x.wasm"), b"component").is_err());
        assert_eq!(files(folder.path()), ["x.wasm"]);
    }

    #[test]
    fn what_is_written_is_whole_and_takes_nothing_of_others() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::write(at("x.partial"), "theirs").unwrap();
        write(&at("x.wasm"), b"one").unwrap();
        write(&at("x.wasm"), b"other").unwrap();
        assert_eq!(fs::read(at("x.wasm")).unwrap(), b"other");
        assert_eq!(fs::read(at("x.partial")).unwrap(), b"theirs");
        assert_eq!(files(folder.path()), ["x.partial", "x.wasm"]);
    }
}
