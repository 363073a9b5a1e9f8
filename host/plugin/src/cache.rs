//! Compiled code on disk, in a directory that only this process's user can write to.
//!
//! # Contract
//! What is read back was written by this host: the directory is opened once,
//! checked (own user, mode 0700, no link), and every file is opened relative to
//! it, checked (own user, nobody else may write, no link) and compared with the
//! digest at its end, which covers the name as well. Anything that is not as
//! it should be is a miss, and a miss means: compile again.
//!
//! Code is mapped from its file, so that what no call touches takes no memory. A file is never
//! written again once it has its name: it is replaced or removed, and who has mapped it keeps it.
//!
//! A file is named after the digest of the wasm and of everything that decides
//! about its machine code: the engine's version, its settings and the processor.

use crate::runtime::RuntimeError;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, Timestamps};
use rustix::io::Errno;
use sha2::{Digest, Sha256};
use std::fs::{DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use wasmtime::Engine;

const MAGIC: &[u8; 8] = b"kybernc2";
/// The digest, and what says that it is one.
const SEAL: usize = 32 + MAGIC.len();
/// Bytes read at once while a file is compared with its digest.
const CHUNK: usize = 64 * 1024;
const SUFFIX: &str = ".cwasm";
const PARTIAL: &str = ".partial";
const PRIVATE: u32 = 0o700;

/// Machine code that this host stored earlier; see the contract above.
pub(crate) struct StoredCode {
    file: File,
}

impl StoredCode {
    /// A name of the open file itself, whatever happens to its name in the directory meanwhile.
    pub(crate) fn path(&self) -> PathBuf {
        let folder = if cfg!(target_os = "linux") {
            "/proc/self/fd"
        } else {
            "/dev/fd"
        };
        Path::new(folder).join(self.file.as_raw_fd().to_string())
    }

    /// Code that this process got from its compiler and that is kept nowhere: in a file without a
    /// name, which nobody else can open. It goes when the last that maps it does.
    pub(crate) fn unnamed(code: &[u8]) -> std::io::Result<Self> {
        let mut file = unnamed()?;
        file.write_all(code)?;
        Ok(Self { file })
    }

    /// What is in the file, its seal included.
    pub(crate) fn bytes(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(self.path())
    }
}

/// A file in memory.
#[cfg(target_os = "linux")]
fn unnamed() -> std::io::Result<File> {
    use rustix::fs::{MemfdFlags, memfd_create};
    Ok(File::from(memfd_create(
        "kybern-code",
        MemfdFlags::CLOEXEC,
    )?))
}

/// A file of a private directory, without its name once it is open.
#[cfg(not(target_os = "linux"))]
fn unnamed() -> std::io::Result<File> {
    let private = std::env::temp_dir().join(own().map_err(std::io::Error::other)?);
    DirBuilder::new().mode(PRIVATE).create(&private)?;
    let path = private.join("code");
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&path);
    // What cannot be removed is of no use to anybody.
    let _ = std::fs::remove_file(&path).and_then(|()| std::fs::remove_dir(&private));
    file
}

/// Compiled code on disk.
#[derive(Debug)]
pub(crate) struct Cache {
    directory: OwnedFd,
    max_bytes: u64,
    /// What the names of this process's unfinished files begin with: process ids come again.
    own: String,
    /// Makes those names unique within this process.
    partials: AtomicU64,
}

impl Cache {
    /// Opens the directory, making it if it is absent.
    pub(crate) fn open(path: &Path, max_bytes: u64) -> Result<Self, RuntimeError> {
        let wrong = |reason: String| RuntimeError::Cache {
            path: path.to_owned(),
            reason,
        };
        DirBuilder::new()
            .recursive(true)
            .mode(PRIVATE)
            .create(path)
            .map_err(|error| wrong(format!("cannot make it: {error}")))?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory = rustix::fs::open(path, flags, Mode::empty())
            .map_err(|error| wrong(format!("cannot open it: {error}")))?;
        let stat = rustix::fs::fstat(&directory)
            .map_err(|error| wrong(format!("cannot look at it: {error}")))?;
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(wrong(format!(
                "user {} owns it; compiled code is only taken from a directory of the own user",
                stat.st_uid
            )));
        }
        if stat.st_mode & 0o077 != 0 {
            return Err(wrong(format!(
                "its mode is {:o}, so others can get at it: `chmod 700` it",
                stat.st_mode & 0o7777
            )));
        }
        let cache = Self {
            directory,
            max_bytes,
            own: own()
                .map_err(|error| wrong(format!("no random number for names in it: {error}")))?,
            partials: AtomicU64::new(0),
        };
        cache.sweep();
        Ok(cache)
    }

    /// What was stored under this key, unless anything is wrong with it, which is told.
    pub(crate) fn get(&self, key: &Key) -> Option<StoredCode> {
        match self.read(key) {
            Ok(code) => Some(code),
            Err(Miss::Absent) => None,
            Err(Miss::Wrong(reason)) => {
                tracing::warn!(
                    file = key.file(),
                    reason,
                    "stored code of a plugin is not what this host stored; it is compiled again"
                );
                self.forget(key);
                None
            }
        }
    }

    fn read(&self, key: &Key) -> Result<StoredCode, Miss> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = match rustix::fs::openat(&self.directory, key.file(), flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(Miss::Absent),
            Err(Errno::LOOP) => return Err(Miss::Wrong("it is a link")),
            Err(_) => return Err(Miss::Wrong("it cannot be opened")),
        };
        let unread = |_| Miss::Wrong("it cannot be read");
        let size = self.vouch(&rustix::fs::fstat(&file).map_err(unread)?)?;
        let file = File::from(file);
        sealed(key, &file, size)?;
        // The least recently used go first. It does no harm if this fails.
        let _ = rustix::fs::futimens(&file, &now());
        Ok(StoredCode { file })
    }

    /// The size of a file, if nobody but the own user can have written it.
    fn vouch(&self, stat: &Stat) -> Result<u64, Miss> {
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Miss::Wrong("it is no regular file"));
        }
        if stat.st_uid != rustix::process::geteuid().as_raw() {
            return Err(Miss::Wrong("another user owns it"));
        }
        if stat.st_mode & 0o022 != 0 {
            return Err(Miss::Wrong("others can write to it"));
        }
        // None: somebody has replaced or removed it since, and it is still what was opened.
        if stat.st_nlink > 1 {
            return Err(Miss::Wrong("it has another name beside this one"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        match size <= self.max_bytes {
            true => Ok(size),
            false => Err(Miss::Wrong("it is larger than all that is kept")),
        }
    }

    /// Removes what is stored under this key: it is of no use.
    pub(crate) fn forget(&self, key: &Key) {
        self.remove(key.file());
    }

    fn remove(&self, name: &str) {
        // What cannot be removed stays a miss, or goes with the next sweep.
        let _ = rustix::fs::unlinkat(&self.directory, name, AtFlags::empty());
    }

    /// Whether something is stored under this key, whatever it is.
    pub(crate) fn has(&self, key: &Key) -> bool {
        rustix::fs::statat(&self.directory, key.file(), AtFlags::SYMLINK_NOFOLLOW).is_ok()
    }

    /// Stores code that this process, or the child that it started for it, compiled. A reader sees all of it or nothing.
    pub(crate) fn put(&self, key: &Key, code: &[u8]) -> Result<(), Errno> {
        let size = u64::try_from(code.len()).unwrap_or(u64::MAX);
        if size.saturating_add(64) > self.max_bytes {
            return Ok(());
        }
        let number = self.partials.fetch_add(1, Ordering::Relaxed);
        let partial = format!("{}{number}{PARTIAL}", self.own);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = rustix::fs::openat(&self.directory, partial.as_str(), flags, mode)?;
        let mut file = File::from(file);
        let written = file
            .write_all(code)
            .and_then(|()| file.write_all(&Seal::of(key).and(code).end()))
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            .and_then(|()| {
                rustix::fs::renameat(
                    &self.directory,
                    partial.as_str(),
                    &self.directory,
                    key.file(),
                )
            });
        if written.is_err() {
            self.remove(&partial);
        }
        self.sweep();
        written
    }

    /// Removes unfinished files of processes that are gone, and what is over the size.
    fn sweep(&self) {
        let Ok(mut files) = self.list() else {
            return;
        };
        files.sort_by_key(|file| std::cmp::Reverse(file.used));
        let mut total = 0_u64;
        for file in files {
            let partial = file.name.ends_with(PARTIAL);
            if !partial {
                total = total.saturating_add(file.size);
            }
            if total > self.max_bytes || (partial && !file.name.starts_with(&self.own)) {
                self.remove(&file.name);
            }
        }
    }

    fn list(&self) -> Result<Vec<Entry>, Errno> {
        let mut files = Vec::new();
        for entry in rustix::fs::Dir::read_from(&self.directory)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().to_str() else {
                continue;
            };
            if !name.ends_with(SUFFIX) && !name.ends_with(PARTIAL) {
                continue;
            }
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            let Ok(stat) = rustix::fs::statat(&self.directory, name, flags) else {
                continue;
            };
            files.push(Entry {
                name: name.to_owned(),
                used: (stat.st_mtime, i128::from(stat.st_mtime_nsec)),
                size: u64::try_from(stat.st_size).unwrap_or(0),
            });
        }
        Ok(files)
    }
}

/// Why there is no stored code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Miss {
    /// Nothing was stored.
    Absent,
    /// What is there cannot be vouched for.
    Wrong(&'static str),
}

/// What no other process's names begin with.
fn own() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:x}-", u64::from_le_bytes(bytes)))
}

struct Entry {
    name: String,
    used: (i64, i128),
    size: u64,
}

fn now() -> Timestamps {
    let now = rustix::fs::Timespec {
        tv_sec: 0,
        tv_nsec: rustix::fs::UTIME_NOW,
    };
    Timestamps {
        last_access: now,
        last_modification: now,
    }
}

/// The end of a file: a digest of its name and of all that is before.
struct Seal(Sha256);

impl Seal {
    fn of(key: &Key) -> Self {
        Self(Sha256::new_with_prefix(key.file()).chain_update([0]))
    }

    fn and(self, code: &[u8]) -> Self {
        Self(self.0.chain_update(code))
    }

    fn end(self) -> Vec<u8> {
        [self.0.finalize().as_slice(), MAGIC].concat()
    }
}

/// A file of this size ends with the seal of what is in it.
fn sealed(key: &Key, file: &File, size: u64) -> Result<(), Miss> {
    let seal = u64::try_from(SEAL).unwrap_or_default();
    let code = size
        .checked_sub(seal)
        .ok_or(Miss::Wrong("it is too short"))?;
    let unread = |_| Miss::Wrong("it cannot be read");
    let mut seal = Seal::of(key);
    let mut left = file.take(code);
    let mut chunk = vec![0; CHUNK];
    loop {
        match left.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => seal = seal.and(chunk.get(..read).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
    let mut end = Vec::new();
    file.take(size).read_to_end(&mut end).map_err(unread)?;
    if !end.ends_with(MAGIC) {
        return Err(Miss::Wrong(
            "it is cut, or another version of this host wrote it",
        ));
    }
    if end != seal.end() {
        return Err(Miss::Wrong("its digest does not fit"));
    }
    Ok(())
}

/// The name of some wasm's code for one engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Key(String);

impl Key {
    /// `digest` is `sha256:` and the hex digest of the wasm.
    pub(crate) fn new(digest: &str, engine: &Engine) -> Self {
        // Version, settings, target and processor features of the engine.
        let mut hasher = Sha256Hasher(Sha256::new());
        engine.precompile_compatibility_hash().hash(&mut hasher);
        let wasm = digest.trim_start_matches("sha256:");
        Self(format!("{wasm}-{:x}{SUFFIX}", hasher.0.finalize()))
    }

    fn file(&self) -> &str {
        &self.0
    }
}

/// Collects what is hashed, because a `u64` would be too short for a name.
struct Sha256Hasher(Sha256);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, symlink};

    fn cache(directory: &Path) -> Cache {
        Cache::open(&directory.join("code"), 1_000).unwrap()
    }

    fn key(name: &str) -> Key {
        Key(format!("{name}{SUFFIX}"))
    }

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> = std::fs::read_dir(directory.join("code"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn gives_back_what_was_put() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        assert!(cache.get(&key("a")).is_none());
        cache.put(&key("a"), b"code").unwrap();
        let stored = std::fs::read(cache.get(&key("a")).unwrap().path()).unwrap();
        assert!(stored.starts_with(b"code"));
        assert_eq!(stored.len(), b"code".len() + SEAL);
        let mode = std::fs::metadata(directory.path().join("code"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o700);
    }

    #[test]
    fn what_was_changed_renamed_or_linked_is_a_miss_and_goes() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let file = |name: &str| {
            directory
                .path()
                .join("code")
                .join(format!("{name}{SUFFIX}"))
        };
        for name in ["changed", "cut", "renamed", "linked", "open", "hard"] {
            cache.put(&key(name), b"code").unwrap();
        }
        let mut bytes = std::fs::read(file("changed")).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(file("changed"), bytes).unwrap();
        std::fs::write(file("cut"), b"kyb").unwrap();
        std::fs::rename(file("renamed"), file("other")).unwrap();
        std::fs::rename(file("linked"), directory.path().join("away")).unwrap();
        symlink(directory.path().join("away"), file("linked")).unwrap();
        std::fs::set_permissions(file("open"), std::fs::Permissions::from_mode(0o666)).unwrap();
        std::fs::hard_link(file("hard"), directory.path().join("second")).unwrap();
        for name in ["changed", "cut", "other", "open", "hard"] {
            assert!(cache.get(&key(name)).is_none(), "{name}");
            assert!(!file(name).exists(), "{name}");
        }
        assert!(cache.get(&key("linked")).is_none());
    }

    #[test]
    fn a_directory_of_others_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let open = directory.path().join("open");
        std::fs::create_dir(&open).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Cache::open(&open, 1_000).unwrap_err().to_string();
        assert!(error.contains("chmod 700"), "{error}");
        let link = directory.path().join("link");
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o700)).unwrap();
        symlink(&open, &link).unwrap();
        assert!(Cache::open(&link, 1_000).is_err());
        assert!(Cache::open(&open, 1_000).is_ok());
    }

    #[test]
    fn the_least_recently_used_go_first() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(directory.path());
        let code = [0; 300];
        cache.put(&key("a"), &code).unwrap();
        cache.put(&key("b"), &code).unwrap();
        // Times of files have a coarse clock: make b clearly older.
        let old = File::options()
            .write(true)
            .open(directory.path().join("code").join("b.cwasm"))
            .unwrap();
        old.set_modified(std::time::UNIX_EPOCH).unwrap();
        cache.put(&key("c"), &code).unwrap();
        assert_eq!(names(directory.path()), ["a.cwasm", "c.cwasm"]);
        cache.put(&key("huge"), &[0; 2_000]).unwrap();
        assert_eq!(names(directory.path()), ["a.cwasm", "c.cwasm"]);
    }

    #[test]
    fn unfinished_files_go_when_the_next_process_starts() {
        let directory = tempfile::tempdir().unwrap();
        drop(cache(directory.path()));
        std::fs::write(directory.path().join("code/1-0.partial"), b"half").unwrap();
        std::fs::write(directory.path().join("code/note.txt"), b"not ours").unwrap();
        drop(cache(directory.path()));
        assert_eq!(names(directory.path()), ["note.txt"]);
    }
}
