//! Directories of running control planes, removed on drop or by the next start.
//!
//! # Why
//! A test process that is killed, or whose control plane lies in a static,
//! drops nothing. Each directory therefore holds a locked file; who can take
//! the lock knows that the owner is gone.

use anyhow::{Context, Result};
use std::fs::File;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

const PREFIX: &str = "kybern-cluster-";
const LOCK: &str = "owner.lock";

/// A directory that lives as long as its owner.
#[derive(Debug)]
pub(crate) struct Scratch {
    directory: TempDir,
    _lock: File,
}

impl Scratch {
    pub(crate) fn create() -> Result<Self> {
        sweep();
        let directory = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .context("create a temporary directory")?;
        let lock = File::create(directory.path().join(LOCK)).context("create the lock file")?;
        lock.try_lock().context("lock the directory")?;
        Ok(Self {
            directory,
            _lock: lock,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }
}

/// Removes the directories of control planes whose owner is gone; returns how many there were.
pub fn sweep() -> usize {
    let Ok(entries) = std::fs::read_dir(std::env::temp_dir()) else {
        return 0;
    };
    entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX))
        .filter(|entry| remove_if_left(&entry.path()))
        .count()
}

fn remove_if_left(directory: &PathBuf) -> bool {
    // Without the file the directory is being created or being removed.
    let Ok(lock) = File::open(directory.join(LOCK)) else {
        return false;
    };
    lock.try_lock().is_ok() && std::fs::remove_dir_all(directory).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_left_directory_is_swept_and_a_used_one_is_not() {
        let used = Scratch::create().unwrap();
        let left = tempfile::Builder::new()
            .prefix(PREFIX)
            .tempdir()
            .unwrap()
            .keep();
        File::create(left.join(LOCK)).unwrap();
        std::fs::create_dir(left.join("etcd")).unwrap();
        sweep();
        assert!(!left.exists());
        assert!(used.path().join(LOCK).exists());
        let path = used.path().to_owned();
        drop(used);
        assert!(!path.exists());
    }
}
