//! `cargo xtask crd`: writes the schemas that others build on, as files in the repository.
//!
//! The crate of the interface owns them and compares them in its tests.

use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};

/// Writes `wit/schema`: the documents' JSON Schemas and the Plugin CRD; and the chart's copy of that.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    succeed(
        workspace
            .cargo()
            .args(["test", "--quiet", "--package", "kybern-interface"])
            .args(["--features", "schema", "--test", "golden"])
            .env("KYBERN_BLESS", "1"),
    )?;
    // helm packs no files of other folders.
    let published = workspace.root.join("wit/schema/plugin-crd.yaml");
    let copy = workspace.root.join("charts/kybern/files/plugin-crd.yaml");
    std::fs::copy(&published, &copy).with_context(|| format!("write {}", copy.display()))?;
    succeed(
        std::process::Command::new("git")
            .current_dir(&workspace.root)
            .args(["status", "--short", "--", "wit/schema", "charts"]),
    )
}
