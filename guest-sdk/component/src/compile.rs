//! Runs cargo for a plugin's crate.

use crate::ComponentError;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// What plugins are compiled for: no WASI, so that nothing is imported but what they use.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// What plugins are compiled for whose Cargo.toml asks for WASI.
pub const WASI_TARGET: &str = "wasm32-wasip2";

/// One crate to compile.
#[derive(Debug, Clone, Copy)]
pub struct Build<'a> {
    /// The folder in which cargo is run.
    pub folder: &'a Path,
    /// The package.
    pub package: &'a str,
    /// The target directory.
    pub target: &'a Path,
    /// [`TARGET`] or [`WASI_TARGET`].
    pub triple: &'a str,
    /// What the folder is called in messages of panics, so that no local path is in the component.
    pub called: &'a str,
    /// Other folders with sources, and what they are called.
    pub local: &'a [(PathBuf, String)],
    /// Whether cargo tells nothing but errors.
    pub quiet: bool,
}

/// `cargo build` for one package alone, so that the features of two plugins are not merged; gives
/// the module.
///
/// # Errors
/// Cargo cannot be started or fails; it has said why.
pub fn compile(build: &Build<'_>) -> Result<PathBuf, ComponentError> {
    ensure_target(build.folder, build.triple)?;
    let mut cargo = Command::new("cargo");
    cargo.current_dir(build.folder).arg("build");
    if build.quiet {
        cargo.arg("--quiet");
    }
    cargo
        .args([
            "--release",
            "--lib",
            "--target",
            build.triple,
            "--package",
            build.package,
        ])
        .arg("--target-dir")
        .arg(build.target)
        .arg("--config")
        .arg(format!(
            "target.{}.rustflags=[{}]",
            build.triple,
            remaps(build)
        ))
        // Flags for the host's linker are no flags for a guest.
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_BUILD_TARGET")
        // Arrow's hash maps take a seed while compiling: the same one each time.
        .env("CONST_RANDOM_SEED", "kybern")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_LTO", "true")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        // Names stay, for the stack of a trap.
        .env("CARGO_PROFILE_RELEASE_STRIP", "debuginfo")
        // Standard output is for whoever started this.
        .stdout(Stdio::null());
    let status = cargo.status().map_err(|source| ComponentError::Start {
        program: "cargo",
        source,
    })?;
    if !status.success() {
        return Err(ComponentError::Failed {
            command: format!("cargo build --target {}", build.triple),
            status,
        });
    }
    let file = build.package.replace('-', "_");
    let release = build.target.join(build.triple).join("release");
    Ok(release.join(format!("{file}.wasm")))
}

/// Local paths, mapped away.
fn remaps(build: &Build<'_>) -> String {
    let home = std::env::home_dir().unwrap_or_default();
    // The last that matches wins, and the folder may lie in the home directory.
    let local = build.local.iter().map(|(path, name)| (&**path, &**name));
    let remaps = [(home.as_path(), "home")].into_iter().chain(local);
    let remaps = remaps
        .chain([(build.folder, build.called)])
        .filter(|(from, _)| !from.as_os_str().is_empty());
    let flag = |(from, to): (&Path, &str)| {
        let from = from.display();
        format!("\"--remap-path-prefix={from}=/{to}\"")
    };
    remaps.map(flag).collect::<Vec<_>>().join(",")
}

/// Adds a target to the toolchain if it is missing: rustup does it by itself only where
/// automatic installation is on. Without rustup the compiler says what is missing.
///
/// # Errors
/// Rustup fails; it has said why.
pub fn ensure_target(folder: &Path, target: &str) -> Result<(), ComponentError> {
    let rustup = |arguments: &[&str]| {
        let mut command = Command::new("rustup");
        command.current_dir(folder).arg("target").args(arguments);
        command
    };
    let Ok(installed) = rustup(&["list", "--installed"]).output() else {
        return Ok(());
    };
    if !installed.status.success() || lists(&installed, target) {
        return Ok(());
    }
    eprintln!("rustup target add {target}");
    let added = rustup(&["add", target]).stdout(Stdio::null()).status();
    let status = added.map_err(|source| ComponentError::Start {
        program: "rustup",
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(ComponentError::Failed {
        command: format!("rustup target add {target}"),
        status,
    })
}

fn lists(output: &Output, target: &str) -> bool {
    let listed = String::from_utf8_lossy(&output.stdout);
    listed.lines().any(|line| line.trim() == target)
}
