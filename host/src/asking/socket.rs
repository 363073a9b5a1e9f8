//! The socket of a host: made for its user alone, and only one host's.
//!
//! # Contract
//! A file beside it, `PATH.lock`, is locked as long as the host lives, so that a socket whose lock
//! is free is left over and is replaced, and one whose lock is held is refused. It appears at its
//! path with mode 0600: it is made in a directory that only the user can enter and then moved.

use rustix::fs::OFlags;
use std::fs::{DirBuilder, File, OpenOptions, Permissions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use tokio::net::UnixListener;

/// A socket that cannot be listened on. None of these is cured by a retry.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    /// A living host has it.
    #[error(
        "{0}: another host that runs listens there; end it, or name another path with --socket"
    )]
    Taken(PathBuf),
    /// Something else has the name.
    #[error("{0}: is no socket and is not replaced; name another path with --socket")]
    NoSocket(PathBuf),
    /// The file system says no.
    #[error("{path}: cannot be listened on: {error}; name another path with --socket")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A place for a socket that no other host has as long as this lives.
pub(crate) struct Claim {
    path: PathBuf,
    lock: File,
}

/// A socket that is listened on; goes with this.
pub(crate) struct Socket {
    path: PathBuf,
    listener: UnixListener,
    /// Held as long as the socket is ours.
    _lock: File,
}

impl Claim {
    /// Takes the place, or that of a host that has ended.
    pub(crate) fn of(path: &Path) -> Result<Self, SocketError> {
        let lock = lock(path)?;
        match std::fs::symlink_metadata(path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(SocketError::NoSocket(path.to_owned()));
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(path, error));
            }
            Ok(_) | Err(_) => {}
        }
        Ok(Self {
            path: path.to_owned(),
            lock,
        })
    }

    /// Makes the socket. Whoever connects waits until somebody accepts.
    pub(crate) fn listen(self) -> Result<Socket, SocketError> {
        let listener = listen(&self.path).map_err(|error| failed(&self.path, error))?;
        Ok(Socket {
            path: self.path,
            listener,
            _lock: self.lock,
        })
    }
}

fn failed(path: &Path, error: io::Error) -> SocketError {
    SocketError::Io {
        path: path.to_owned(),
        error,
    }
}

impl Socket {
    #[cfg(test)]
    pub(crate) fn bind(path: &Path) -> Result<Self, SocketError> {
        Claim::of(path)?.listen()
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Who connects.
    pub(super) fn listener(&self) -> &UnixListener {
        &self.listener
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // One that is left over hurts nobody.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The lock that says whose the socket is.
fn lock(path: &Path) -> Result<File, SocketError> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".lock");
    let beside = PathBuf::from(beside);
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    let opened = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow)
        .open(&beside);
    let lock = opened.map_err(|error| failed(&beside, error))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(SocketError::Taken(path.to_owned())),
        Err(TryLockError::Error(error)) => Err(failed(&beside, error)),
    }
}

/// Listens in a private directory and moves the socket to its place.
fn listen(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().unwrap_or(Path::new(""));
    let private = parent.join(format!(".k{:x}", std::process::id()));
    let made = private.join("s");
    clear(&private, &made);
    DirBuilder::new().mode(0o700).create(&private)?;
    let moved = UnixListener::bind(&made).and_then(|listener| {
        std::fs::set_permissions(&made, Permissions::from_mode(0o600))?;
        std::fs::rename(&made, path)?;
        Ok(listener)
    });
    clear(&private, &made);
    moved
}

/// What is left of this one, or of a process with this number before it.
fn clear(private: &Path, made: &Path) {
    let _ = std::fs::remove_file(made);
    let _ = std::fs::remove_dir(private);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_its_users_alone_and_goes_with_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(mode(&dir.path().join("k.sock.lock")), 0o600);
        UnixStream::connect(&path).unwrap();
        drop(socket);
        assert!(!path.exists());
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().flatten().collect();
        assert_eq!(left.len(), 1, "the lock alone: {left:?}");
    }

    #[tokio::test]
    async fn a_living_hosts_socket_is_refused_and_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        let _first = Socket::bind(&path).unwrap();
        let error = Socket::bind(&path).err().unwrap().to_string();
        assert!(error.contains("another host that runs"), "{error}");
        UnixStream::connect(&path).unwrap();
    }

    #[tokio::test]
    async fn the_socket_of_a_killed_host_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        // A kill leaves both files, and the lock free.
        let dead = std::os::unix::net::UnixListener::bind(&path).unwrap();
        std::fs::write(dir.path().join("k.sock.lock"), "").unwrap();
        drop(dead);
        assert!(UnixStream::connect(&path).is_err());
        let _socket = Socket::bind(&path).unwrap();
        UnixStream::connect(&path).unwrap();
        assert_eq!(mode(&path), 0o600);
    }

    #[tokio::test]
    async fn what_is_no_socket_stays_and_what_cannot_be_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("k.sock");
        std::fs::write(&path, "mine").unwrap();
        let error = Socket::bind(&path).err().unwrap().to_string();
        assert!(error.contains("is no socket"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
        let error = Socket::bind(&dir.path().join("no/k.sock")).err().unwrap();
        assert!(error.to_string().contains("no/k.sock.lock"), "{error}");
        let long = dir.path().join("x".repeat(100)).join("k.sock");
        std::fs::create_dir(long.parent().unwrap()).unwrap();
        let error = Socket::bind(&long).err().unwrap().to_string();
        assert!(error.contains("cannot be listened on"), "{error}");
        let left = std::fs::read_dir(long.parent().unwrap()).unwrap().count();
        assert_eq!(left, 1, "the lock alone");
    }
}
