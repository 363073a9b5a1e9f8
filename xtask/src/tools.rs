//! Cargo's helpers that CI needs, installed once into the cache.

use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use std::path::PathBuf;
use std::process::Command;

/// A program of the default registry, by version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
}

/// Licences, bans and sources of dependencies.
pub(crate) const DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};
/// One feature set for each dependency.
pub(crate) const HAKARI: Tool = Tool {
    name: "cargo-hakari",
    version: "0.9.39",
};

impl Tool {
    /// The tool in the checkout, its subcommand given; installed if this version is not there.
    pub(crate) fn command(self, workspace: &Workspace) -> Result<Command> {
        let program = self.install(workspace)?;
        let mut command = Command::new(program);
        command
            .current_dir(&workspace.root)
            .arg(self.name.trim_start_matches("cargo-"));
        Ok(command)
    }

    fn install(self, workspace: &Workspace) -> Result<PathBuf> {
        let root = workspace.cache.join("tools");
        let program = root.join("bin").join(self.name);
        if program.is_file() && self.is_listed(&root) {
            return Ok(program);
        }
        // Built apart from the workspace, and only once: what is built on the way is not kept.
        let target = workspace.cache.join("tools-target");
        eprintln!("{} {}: installing (once)", self.name, self.version);
        succeed(
            workspace
                .cargo()
                .args(["install", "--locked", "--quiet", self.name])
                .args(["--version", self.version, "--root"])
                .arg(&root)
                .env("CARGO_TARGET_DIR", &target)
                // What is saved at run time is lost many times over while compiling.
                .env("CARGO_PROFILE_RELEASE_LTO", "off")
                .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
                .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
        )
        .with_context(|| format!("install {} {}", self.name, self.version))?;
        let _ = std::fs::remove_dir_all(target);
        Ok(program)
    }

    /// Whether cargo installed this very version into `root`.
    fn is_listed(self, root: &std::path::Path) -> bool {
        let listed = format!("\"{} {} ", self.name, self.version);
        std::fs::read_to_string(root.join(".crates.toml")).is_ok_and(|list| list.contains(&listed))
    }
}
