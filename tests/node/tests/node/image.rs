//! What is in the image, as containerd unpacked it.

use anyhow::{Context, Result};
use kybern_node_tests::{node, run};
use std::path::PathBuf;
use std::process::Command;

/// Path, owner and mode of all that is in the image.
const FILES: [&str; 10] = [
    "/ 0:0 755",
    "/kybern 0:0 755",
    "/usr 0:0 755",
    "/usr/share 0:0 755",
    "/usr/share/kybern 0:0 755",
    // What renders charts, in the sandbox; nobody starts it.
    "/usr/share/kybern/helm-engine.licenses.txt 0:0 644",
    "/usr/share/kybern/helm-engine.wasm 0:0 644",
    "/var 0:0 755",
    "/var/cache 0:0 755",
    // The one folder that the user may write to.
    "/var/cache/kybern 65532:65532 755",
];

#[test]
fn holds_one_program_the_engine_of_charts_and_one_folder_of_the_users() -> Result<()> {
    let node = node()?;
    let image = format!("localhost/kybern:{}", env!("CARGO_PKG_VERSION"));
    let at = "/run/kybern-image";
    node.shell(&["mkdir", "-p", at])?;
    node.containerd(&["images", "mount", &image, at])?;
    let found = node.shell(&["find", at, "-printf", "/%P %U:%G %m\n"]);
    node.containerd(&["images", "unmount", "--rm", at])?;
    let found = found?;
    let mut found: Vec<&str> = found.lines().collect();
    found.sort_unstable();
    assert_eq!(found, FILES);
    Ok(())
}

#[test]
fn names_no_folder_of_whoever_built_it() -> Result<()> {
    let cargo = match std::env::var_os("CARGO_HOME") {
        Some(folder) => PathBuf::from(folder),
        None => std::env::home_dir().context("HOME")?.join(".cargo"),
    };
    let program = kybern_testcluster::kybern()?;
    let lines = |text: &std::ffi::OsStr| -> Result<String> {
        let mut grep = Command::new("grep");
        grep.args(["--text", "--count", "--fixed-strings", "--"]);
        Ok(run(grep.arg(text).arg(&program))?.stdout)
    };
    // As the compiler was told to call it: else this would look in vain.
    assert_ne!(lines("/cargo/registry/".as_ref())?.trim(), "0");
    assert_eq!(lines(cargo.as_os_str())?.trim(), "0");
    Ok(())
}
