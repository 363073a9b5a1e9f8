//! What was fetched, on disk, by digest: a restart needs no registry.
//!
//! # Contract
//! Nothing on disk is trusted: the digest is computed again whenever a file is read, and one that
//! has another digest goes. Readers see all of a file or nothing.
//!
//! # Limits
//! All files together have a bounded number of bytes. What nobody says is in use goes first
//! ([`Keep::hold`]), so that what one server hands out cannot empty the disk of others; then the
//! least recently used. A file that cannot be written is fetched again when it is needed again.

use super::digest::{digest, hex};
use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{AtFlags, Mode, OFlags, Timespec, Timestamps, UTIME_NOW};
use std::collections::HashSet;
use std::fs::{DirBuilder, File};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Of files that are being written.
const PARTIAL: &str = ".partial";

/// What was fetched. Clones share one folder.
#[derive(Clone, Default)]
pub(crate) struct Keep {
    folder: Option<Arc<Folder>>,
}

struct Folder {
    directory: OwnedFd,
    most: u64,
    bytes: AtomicU64,
    partials: AtomicU64,
    /// How files begin that this process has not finished; no other has the same.
    own: String,
    /// Names of files that are in use.
    held: Mutex<HashSet<String>>,
}

impl Keep {
    /// In this folder, which is made if it is absent, at most this many bytes.
    pub(crate) fn open(path: &Path, most: u64) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())?;
        let folder = Folder {
            directory,
            most,
            bytes: AtomicU64::new(0),
            partials: AtomicU64::new(0),
            own: own(),
            held: Mutex::default(),
        };
        folder.sweep();
        Ok(Self {
            folder: Some(Arc::new(folder)),
        })
    }

    /// These are in use, and nothing else is: they go last.
    pub(super) fn hold<'a>(&self, digests: impl Iterator<Item = &'a str>) {
        if let Some(folder) = &self.folder {
            let names = digests.filter_map(hex).map(str::to_owned);
            *folder.held.lock() = names.collect();
        }
    }

    /// Bytes of all files.
    pub(crate) fn bytes(&self) -> u64 {
        let folder = self.folder.as_ref();
        folder.map_or(0, |folder| folder.bytes.load(Ordering::Relaxed))
    }

    /// Whether what has this digest is kept, as far as can be told without reading it.
    pub(super) fn has(&self, digest: &str) -> bool {
        let Some((folder, name)) = self.folder.as_ref().zip(hex(digest)) else {
            return false;
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::statat(&folder.directory, name, flags).is_ok()
    }

    /// What has this digest, if it is kept.
    pub(super) async fn get(&self, digest: &str) -> Option<Bytes> {
        let (folder, digest) = (self.folder.clone()?, digest.to_owned());
        let reading = tokio::task::spawn_blocking(move || folder.get(&digest));
        reading.await.ok().flatten()
    }

    /// Keeps what has this digest.
    pub(super) async fn put(&self, digest: &str, bytes: &Bytes) {
        let Some(folder) = self.folder.clone() else {
            return;
        };
        let (digest, bytes) = (digest.to_owned(), bytes.clone());
        let writing = tokio::task::spawn_blocking(move || folder.put(&digest, &bytes));
        if let Ok(Err(error)) = writing.await {
            tracing::warn!(%error, "a component could not be kept on disk; it is fetched again when it is needed");
        }
    }
}

impl Folder {
    fn get(&self, wanted: &str) -> Option<Bytes> {
        let name = hex(wanted)?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::openat(&self.directory, name, flags, Mode::empty()).ok()?;
        let mut bytes = Vec::new();
        let mut reader = File::from(file).take(self.most.saturating_add(1));
        let read = reader.read_to_end(&mut bytes);
        if read.is_err() || digest(&bytes) != wanted {
            self.remove(name);
            self.sweep();
            return None;
        }
        // The least recently used go first. It does no harm if this fails.
        let _ = rustix::fs::futimens(reader.get_ref(), &now());
        Some(Bytes::from(bytes))
    }

    fn put(&self, digest: &str, bytes: &[u8]) -> std::io::Result<()> {
        let Some(name) = hex(digest) else {
            return Ok(());
        };
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let there = rustix::fs::statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW);
        if size > self.most || there.is_ok_and(|stat| u64::try_from(stat.st_size) == Ok(size)) {
            return Ok(());
        }
        let number = self.partials.fetch_add(1, Ordering::Relaxed);
        let partial = format!("{}{number}{PARTIAL}", self.own);
        let written = self.write(&partial, bytes).and_then(|()| {
            rustix::fs::renameat(&self.directory, partial.as_str(), &self.directory, name)
                .map_err(std::io::Error::from)
        });
        if written.is_err() {
            self.remove(&partial);
        }
        self.sweep();
        written
    }

    fn write(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, name, flags, mode)?;
        File::from(file).write_all(bytes)
    }

    fn remove(&self, name: &str) {
        // What cannot be removed goes with a later sweep.
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// Removes what is over the size, and what processes that are gone left unfinished.
    fn sweep(&self) {
        let mut files = self.files();
        let held = self.held.lock().clone();
        files.sort_by_key(|file| std::cmp::Reverse((held.contains(&file.name), file.used)));
        let mut total = 0_u64;
        for file in files {
            if file.name.ends_with(PARTIAL) {
                if !file.name.starts_with(&self.own) {
                    self.remove(&file.name);
                }
                continue;
            }
            match total.checked_add(file.size).filter(|sum| *sum <= self.most) {
                Some(sum) => total = sum,
                None => self.remove(&file.name),
            }
        }
        self.bytes.store(total, Ordering::Relaxed);
    }

    fn files(&self) -> Vec<Entry> {
        let Ok(entries) = rustix::fs::Dir::read_from(&self.directory) else {
            return Vec::new();
        };
        let entries = entries.filter_map(Result::ok);
        entries
            .filter_map(|entry| {
                let name = entry.file_name().to_str().ok()?.to_owned();
                let ours = name.ends_with(PARTIAL) || hex(&format!("sha256:{name}")).is_some();
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                let stat = rustix::fs::statat(&self.directory, name.as_str(), flags).ok()?;
                ours.then(|| Entry {
                    used: (stat.st_mtime, i128::from(stat.st_mtime_nsec)),
                    size: u64::try_from(stat.st_size).unwrap_or(0),
                    name,
                })
            })
            .collect()
    }
}

/// A container's process has the same number each time, so that the time since boot is beside it.
fn own() -> String {
    let process = rustix::process::getpid().as_raw_nonzero();
    format!("{process}-{}-", crate::clock::monotonic().as_nanos())
}

struct Entry {
    name: String,
    used: (i64, i128),
    size: u64,
}

fn now() -> Timestamps {
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Kept {
        keep: Keep,
        folder: tempfile::TempDir,
    }

    impl Kept {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let keep = Keep::open(&folder.path().join("sources"), 1_000).unwrap();
            Self { keep, folder }
        }

        async fn put(&self, bytes: &[u8]) -> String {
            let digest = digest(bytes);
            self.keep.put(&digest, &Bytes::copy_from_slice(bytes)).await;
            digest
        }

        fn file(&self, digest: &str) -> std::path::PathBuf {
            let name = hex(digest).unwrap();
            self.folder.path().join("sources").join(name)
        }
    }

    #[tokio::test]
    async fn what_was_put_comes_back_also_in_the_next_process() {
        let kept = Kept::new();
        let digest = kept.put(b"component").await;
        assert_eq!(kept.keep.bytes(), 9);
        assert!(kept.keep.has(&digest) && !Keep::default().has(&digest));
        let next = Keep::open(&kept.folder.path().join("sources"), 1_000).unwrap();
        assert_eq!(next.get(&digest).await.as_deref(), Some(&b"component"[..]));
        assert_eq!(next.bytes(), 9);
    }

    #[tokio::test]
    async fn what_was_changed_on_disk_is_not_taken_and_goes() {
        let kept = Kept::new();
        let digest = kept.put(b"component").await;
        std::fs::write(kept.file(&digest), b"c0mponent").unwrap();
        assert_eq!(kept.keep.get(&digest).await, None);
        assert!(!kept.file(&digest).exists());
        assert_eq!(kept.keep.bytes(), 0);
    }

    #[tokio::test]
    async fn what_is_in_use_goes_last() {
        let kept = Kept::new();
        let used = kept.put(&[1; 400]).await;
        kept.keep.hold([used.as_str()].into_iter());
        for n in 2..20 {
            kept.put(&[n; 400]).await;
        }
        assert!(kept.file(&used).exists());
        assert_eq!(kept.keep.bytes(), 800);
        // What is larger than what is left stays away, instead of what is in use.
        let large = kept.put(&[99; 700]).await;
        assert!(kept.file(&used).exists() && !kept.keep.has(&large));
        kept.keep.hold(std::iter::empty());
        let newest = kept.put(&[100; 700]).await;
        assert!(!kept.file(&used).exists() && kept.keep.has(&newest));
    }

    #[tokio::test]
    async fn the_least_recently_used_go_first() {
        let kept = Kept::new();
        let (a, b) = (kept.put(&[1; 400]).await, kept.put(&[2; 400]).await);
        let old = |digest: &str| {
            let file = File::options().write(true).open(kept.file(digest)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH).unwrap();
        };
        // Times of files have a coarse clock: both are made old, and one is used.
        old(&a);
        old(&b);
        assert!(kept.keep.get(&a).await.is_some());
        let c = kept.put(&[3; 400]).await;
        assert!(kept.file(&a).exists() && kept.file(&c).exists());
        assert!(!kept.file(&b).exists(), "the older one is gone");
        assert_eq!(kept.keep.bytes(), 800);
        let huge = kept.put(&[4; 1_001]).await;
        assert!(!kept.file(&huge).exists());
        assert_eq!(kept.keep.bytes(), 800);
    }

    #[tokio::test]
    async fn no_name_but_a_digest_is_read_or_written() {
        let kept = Kept::new();
        kept.keep.put("../x", &Bytes::from_static(b"x")).await;
        assert!(!kept.folder.path().join("x").exists());
        std::fs::write(kept.folder.path().join("x"), b"x").unwrap();
        assert_eq!(kept.keep.get("sha256:../x").await, None);
    }
}
