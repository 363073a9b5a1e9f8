//! `cargo xtask bench`: the benchmarks, or that there are none.

use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use cargo_metadata::{MetadataCommand, TargetKind};

/// Says which benchmarks there are and runs them.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let metadata = MetadataCommand::new()
        .manifest_path(workspace.root.join("Cargo.toml"))
        .no_deps()
        .exec()
        .context("read the workspace's metadata")?;
    let mut found = Vec::new();
    for package in &metadata.packages {
        for target in &package.targets {
            if target.kind.contains(&TargetKind::Bench) {
                found.push((package.name.to_string(), target.name.clone()));
            }
        }
    }
    if found.is_empty() {
        println!(
            "There are no benchmarks yet. One is a [[bench]] target of the crate that it measures; \
             this command then finds and runs it in the release profile."
        );
        return Ok(());
    }
    for (package, bench) in found {
        println!("{package}: {bench}");
        succeed(
            workspace
                .cargo()
                .args(["bench", "--package", &package, "--bench", &bench]),
        )?;
    }
    Ok(())
}
