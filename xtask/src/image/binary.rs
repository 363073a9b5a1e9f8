//! The host as one static program.

use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use kybern_component::ensure_target;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

/// How the program is compiled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Profile {
    /// As tests are: minutes on a clean machine.
    #[default]
    Dev,
    /// As it is released and measured: more than an hour on a clean machine.
    Dist,
}

impl Profile {
    /// cargo's name for it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Dist => "dist",
        }
    }

    /// The image's program below cargo's folder of a target.
    fn program(self) -> &'static str {
        match self {
            Self::Dev => "debug/kybern-stripped",
            Self::Dist => "dist/kybern",
        }
    }
}

/// This machine's architecture, with a C library that is linked in.
fn target() -> String {
    format!("{}-unknown-linux-musl", std::env::consts::ARCH)
}

/// Builds the program for the image.
pub(super) fn build(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let target = target();
    need("musl-gcc", "musl-tools")?;
    ensure_target(&workspace.root, &target)?;
    let mut cargo = workspace.cargo();
    cargo
        .args([
            "build",
            "--locked",
            "--profile",
            profile.name(),
            "--target",
            &target,
        ])
        .args(["--package", "kybern", "--bin", "kybern"])
        // Hash maps of dependencies take a seed while compiling: the same one each time.
        .env("CONST_RANDOM_SEED", "kybern")
        // Flags of the developer's would make another program, and so would the way to the
        // dependencies, which is in the text of their panics.
        .env_remove("RUSTFLAGS")
        .env("CARGO_ENCODED_RUSTFLAGS", without_home(cargo_home()?));
    if std::env::consts::ARCH == "aarch64" {
        // There are kernels with pages of 64 KiB; jemalloc must be told the largest.
        cargo.env("JEMALLOC_SYS_WITH_LG_PAGE", "16");
    }
    succeed(&mut cargo)?;
    if profile == Profile::Dev {
        let folder = workspace.target().join(target).join("debug");
        strip(&folder.join("kybern"), &folder.join("kybern-stripped"))?;
    }
    as_built(workspace, profile)
}

/// Leaves debug information out, as cargo does for `dist`: it names folders of this machine.
fn strip(program: &Path, into: &Path) -> Result<()> {
    let mut strip = Command::new("strip");
    strip.arg("--strip-debug").arg("-o").args([into, program]);
    succeed(&mut strip)
}

/// The compiler's flag that makes each machine's folder of dependencies the same one.
fn without_home(cargo_home: PathBuf) -> OsString {
    let mut flag = OsString::from("--remap-path-prefix=");
    flag.push(cargo_home);
    flag.push("=/cargo");
    flag
}

/// Where cargo keeps the sources of dependencies.
fn cargo_home() -> Result<PathBuf> {
    match std::env::var_os("CARGO_HOME") {
        Some(folder) => Ok(folder.into()),
        None => std::env::home_dir()
            .map(|home| home.join(".cargo"))
            .context("neither CARGO_HOME nor HOME is set"),
    }
}

/// The program that was built last.
pub(super) fn as_built(workspace: &Workspace, profile: Profile) -> Result<PathBuf> {
    let program = workspace.target().join(target()).join(profile.program());
    ensure!(
        program.is_file(),
        "there is no {}: build it once, without --no-build",
        program.display()
    );
    Ok(program)
}

/// Makes sure that a program is there: installed with apt by root, else named with its package.
pub(super) fn need(program: &str, package: &str) -> Result<()> {
    if is_there(program) {
        return Ok(());
    }
    if is_there("apt-get") && is_root() {
        println!("image: {program} is missing, installing {package}");
        let apt = || {
            let mut command = Command::new("apt-get");
            command.env("DEBIAN_FRONTEND", "noninteractive");
            command
        };
        succeed(apt().args(["update", "-qq"]))?;
        let install = ["install", "-y", "-qq", "--no-install-recommends", package];
        succeed(apt().args(install))?;
        if is_there(program) {
            return Ok(());
        }
    }
    bail!("{program} is missing: install {package} (Debian's name for it)")
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}
