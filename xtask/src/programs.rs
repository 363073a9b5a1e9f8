//! The host and the guests, built.

use crate::guests::{self, Guest};
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, TargetKind};
use std::path::PathBuf;

/// Builds the host and returns the program.
pub(crate) fn kybern(workspace: &Workspace) -> Result<PathBuf> {
    succeed(
        workspace
            .cargo()
            .args(["build", "--package", "kybern", "--bin", "kybern"]),
    )?;
    Ok(workspace.target().join("debug").join("kybern"))
}

/// Builds every guest of the workspace.
pub(crate) fn guests(workspace: &Workspace) -> Result<Vec<Guest>> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("read the workspace's metadata")?;
    let names: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|package| {
            let mut targets = package.targets.iter();
            targets.any(|target| target.kind.contains(&TargetKind::CDyLib))
        })
        .map(|package| package.name.as_str())
        .collect();
    guests::build(&workspace.cache, &names)
}

/// Where the guests are.
pub(crate) fn guests_folder(workspace: &Workspace) -> PathBuf {
    workspace.cache.join("guests")
}
