//! Where things are, and how cargo is called.

use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The checkout and the cache.
#[derive(Debug, Clone)]
pub(crate) struct Workspace {
    /// The checkout.
    pub(crate) root: PathBuf,
    /// `${KYBERN_CACHE:-$HOME/.cache/kybern}`.
    pub(crate) cache: PathBuf,
}

impl Workspace {
    pub(crate) fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask lies in the checkout")?;
        Ok(Self {
            root: root.to_owned(),
            cache: kybern_testcluster::cache()?,
        })
    }

    /// One target directory for every checkout and for CI: a cold build takes long.
    pub(crate) fn target(&self) -> PathBuf {
        self.cache.join("target")
    }

    /// cargo, in the checkout, with the shared target directory.
    pub(crate) fn cargo(&self) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .current_dir(&self.root)
            .env("CARGO_TARGET_DIR", self.target())
            .env("KYBERN_CACHE", &self.cache);
        command
    }
}

/// Runs `command` and fails if it does.
pub(crate) fn succeed(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("start {}", command.get_program().display()))?;
    ensure!(status.success(), "`{}` failed ({status})", words(command));
    Ok(())
}

/// The command as one would type it.
pub(crate) fn words(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name();
    let program = program.unwrap_or_else(|| command.get_program());
    std::iter::once(program)
        .chain(command.get_args())
        .map(std::ffi::OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
