//! Compiled code is kept, and never believed when it is not as it was left.

use crate::guest::config;
use crate::text::{DECIDES, MANIFEST, component, decider, small, with_manifest};
use kybern_plugin::{CallLimits, Code, Plugin, Runtime, RuntimeConfig, RuntimeError};
use sha2::{Digest, Sha256};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

fn load(directory: &Path, config: RuntimeConfig) -> Plugin {
    let runtime = Runtime::new(RuntimeConfig {
        cache_dir: Some(directory.join("code")),
        instances: 4,
        ..config
    })
    .unwrap();
    let plugin = runtime.load(&small()).unwrap();
    let call = plugin.decide("{}", Vec::new(), &CallLimits::default());
    assert_eq!(call.result.unwrap(), "{}");
    plugin
}

fn files(directory: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(directory.join("code"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect()
}

#[test]
fn a_second_start_finds_the_code() {
    let directory = tempfile::tempdir().unwrap();
    let first = load(directory.path(), config());
    assert_eq!(first.code(), Code::Compiled);
    let second = load(directory.path(), config());
    assert_eq!(second.code(), Code::Cached);
    let files = files(directory.path());
    assert_eq!(files.len(), 1);
    let digest = first.code_digest().trim_start_matches("sha256:");
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(digest), "{name}");
    let mode = std::fs::metadata(&files[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_component_is_in_memory_once_while_somebody_has_it() {
    let runtime = Runtime::new(config()).unwrap();
    let first = runtime.load(&small()).unwrap();
    let second = runtime.load(&small()).unwrap();
    assert!(second.shares_code_with(&first));
    drop(first);
    let third = runtime.load(&small()).unwrap();
    assert!(third.shares_code_with(&second));
    let elsewhere = Runtime::new(config()).unwrap();
    let other = elsewhere.load(&small()).unwrap();
    assert!(!other.shares_code_with(&third));
    // Once nobody has it, it is loaded anew.
    drop((second, third));
    assert_eq!(runtime.load(&small()).unwrap().code(), Code::Compiled);
}

/// Bytes behind the code: a digest of name and code, and a mark.
const SEAL: usize = 32 + 8;

/// What a load says at the level of warnings.
fn told(load: impl FnOnce()) -> String {
    let written = Written::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_ansi(false)
        .with_writer({
            let written = written.clone();
            move || written.clone()
        })
        .finish();
    tracing::subscriber::with_default(subscriber, load);
    String::from_utf8(written.0.lock().unwrap().clone()).unwrap()
}

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The file with a seal that fits its name: what another engine of this host would have written.
fn sealed(file: &Path, code: &[u8]) -> Vec<u8> {
    let mut hash = Sha256::new();
    hash.update(file.file_name().unwrap().as_encoded_bytes());
    hash.update([0]);
    hash.update(code);
    [code, hash.finalize().as_slice(), b"kybernc2"].concat()
}

/// Changes the stored file, and loads: it is compiled again with this reason, and then is stored again.
fn recompiled(directory: &Path, reason: &str, change: impl FnOnce(&Path)) {
    let file = files(directory).remove(0);
    change(&file);
    let text = told(|| {
        let plugin = load(directory, config());
        assert_eq!(plugin.code(), Code::Compiled, "{reason}");
    });
    assert!(text.contains(reason), "{reason}: {text}");
    assert_eq!(text.lines().count(), 1, "{text}");
    let text = told(|| {
        let plugin = load(directory, config());
        assert_eq!(plugin.code(), Code::Cached, "after {reason}");
    });
    assert_eq!(text, "");
}

#[test]
fn changed_code_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    let whole = load(directory.path(), config());
    assert_eq!(whole.code(), Code::Compiled);
    let size = std::fs::metadata(files(directory.path()).remove(0)).unwrap();
    let size = usize::try_from(size.len()).unwrap();
    let (code, mark) = (size - SEAL, size - 8);
    for at in [0, 8, 2_000, size / 2, code - 1, code, mark - 1] {
        recompiled(directory.path(), "its digest does not fit", |file| {
            let mut bytes = std::fs::read(file).unwrap();
            bytes[at] ^= 0x40;
            std::fs::write(file, &bytes).unwrap();
        });
    }
    // As an older or newer host would mark it.
    recompiled(directory.path(), "another version of this host", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        *bytes.last_mut().unwrap() = b'1';
        std::fs::write(file, &bytes).unwrap();
    });
}

#[test]
fn cut_code_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), config());
    let size = std::fs::metadata(files(directory.path()).remove(0)).unwrap();
    let size = usize::try_from(size.len()).unwrap();
    for length in [0, 1, 8, SEAL - 1, SEAL, SEAL + 1, size / 2, size - 1] {
        let reason = match length {
            short if short < SEAL => "it is too short",
            _ => "it is cut",
        };
        recompiled(directory.path(), reason, |file| {
            let bytes = std::fs::read(file).unwrap();
            std::fs::write(file, &bytes[..length]).unwrap();
        });
    }
    recompiled(directory.path(), "it is cut", |file| {
        let mut bytes = std::fs::read(file).unwrap();
        bytes.push(0);
        std::fs::write(file, &bytes).unwrap();
    });
}

#[test]
fn code_of_another_component_or_engine_is_never_run_under_this_name() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    load(directory.path(), config());
    // Valid code, stored by this host, of a component that answers otherwise.
    let runtime = Runtime::new(RuntimeConfig {
        cache_dir: Some(elsewhere.path().join("code")),
        instances: 4,
        ..config()
    })
    .unwrap();
    let other = with_manifest(component(DECIDES, &decider(0, 1024, 2, "[]", "")), MANIFEST);
    runtime.load(&other).unwrap();
    let other = std::fs::read(files(elsewhere.path()).remove(0)).unwrap();
    recompiled(directory.path(), "its digest does not fit", |file| {
        std::fs::write(file, &other).unwrap();
    });
    // What the engine itself refuses: an ELF file of another version of it, and no ELF file at all.
    recompiled(directory.path(), "compiling a plugin again", |file| {
        let stored = std::fs::read(file).unwrap();
        let mut code = stored[..stored.len() - SEAL].to_vec();
        // Its format, and the engine's version with its length before it.
        let version = b"\x00\x0248";
        let at = code.windows(version.len()).position(|part| part == version);
        code[at.unwrap() + 2] = b'3';
        std::fs::write(file, sealed(file, &code)).unwrap();
    });
    recompiled(directory.path(), "compiling a plugin again", |file| {
        std::fs::write(file, sealed(file, b"no machine code")).unwrap();
    });
}

#[test]
fn files_that_others_can_have_written_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), config());
    let away = directory.path().join("away");
    recompiled(directory.path(), "others can write to it", |file| {
        std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o622)).unwrap();
    });
    recompiled(directory.path(), "it is a link", |file| {
        std::fs::rename(file, &away).unwrap();
        std::os::unix::fs::symlink(&away, file).unwrap();
    });
    recompiled(directory.path(), "it has another name", |file| {
        std::fs::hard_link(file, directory.path().join("second")).unwrap();
    });
    recompiled(directory.path(), "it is no regular file", |file| {
        std::fs::remove_file(file).unwrap();
        assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
    });
    // Only root can give a file away.
    if std::fs::metadata(directory.path()).unwrap().uid() == 0 {
        recompiled(directory.path(), "another user owns it", |file| {
            std::os::unix::fs::chown(file, Some(65_534), None).unwrap();
        });
    }
}

#[test]
fn an_engine_with_other_settings_has_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), config());
    let runtime = Runtime::new(RuntimeConfig {
        cache_dir: Some(directory.path().join("code")),
        // Without room for a pool memories are checked in another way.
        instances: 100_000,
        ..config()
    })
    .unwrap();
    assert_eq!(runtime.load(&small()).unwrap().code(), Code::Compiled);
    assert_eq!(files(directory.path()).len(), 2);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let open = directory.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = Runtime::new(RuntimeConfig {
        cache_dir: Some(open),
        ..config()
    })
    .unwrap_err();
    assert!(matches!(error, RuntimeError::Cache { .. }), "{error:?}");
}
