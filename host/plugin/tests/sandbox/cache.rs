//! Compiled code is kept, and never believed when it is not as it was left.

use crate::text::small;
use kybern_plugin::{CallLimits, Code, Plugin, Runtime, RuntimeConfig, RuntimeError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

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
    let first = load(directory.path(), RuntimeConfig::default());
    assert_eq!(first.code(), Code::Compiled);
    let second = load(directory.path(), RuntimeConfig::default());
    assert_eq!(second.code(), Code::Cached);
    let files = files(directory.path());
    assert_eq!(files.len(), 1);
    let digest = first.digest().trim_start_matches("sha256:").to_owned();
    let name = files[0].file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with(&digest), "{name}");
    let mode = std::fs::metadata(&files[0]).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_component_is_in_memory_once_while_somebody_has_it() {
    let runtime = Runtime::new(RuntimeConfig::default()).unwrap();
    let first = runtime.load(&small()).unwrap();
    let second = runtime.load(&small()).unwrap();
    assert!(second.shares_code_with(&first));
    drop(first);
    let third = runtime.load(&small()).unwrap();
    assert!(third.shares_code_with(&second));
    let elsewhere = Runtime::new(RuntimeConfig::default()).unwrap();
    let other = elsewhere.load(&small()).unwrap();
    assert!(!other.shares_code_with(&third));
    // Once nobody has it, it is loaded anew.
    drop((second, third));
    assert_eq!(runtime.load(&small()).unwrap().code(), Code::Compiled);
}

#[test]
fn changed_code_is_compiled_again() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), RuntimeConfig::default());
    let file = files(directory.path()).remove(0);
    for change in [0, 20, 2_000] {
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[change] ^= 0x40;
        std::fs::write(&file, &bytes).unwrap();
        let plugin = load(directory.path(), RuntimeConfig::default());
        assert_eq!(plugin.code(), Code::Compiled, "byte {change}");
    }
    let plugin = load(directory.path(), RuntimeConfig::default());
    assert_eq!(plugin.code(), Code::Cached);
}

#[test]
fn an_engine_with_other_settings_has_code_of_its_own() {
    let directory = tempfile::tempdir().unwrap();
    load(directory.path(), RuntimeConfig::default());
    let runtime = Runtime::new(RuntimeConfig {
        cache_dir: Some(directory.path().join("code")),
        // Without room for a pool memories are checked in another way.
        instances: 100_000,
        ..RuntimeConfig::default()
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
        ..RuntimeConfig::default()
    })
    .unwrap_err();
    assert!(matches!(error, RuntimeError::Cache { .. }), "{error:?}");
}
