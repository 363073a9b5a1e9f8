//! `cargo xtask crd`: the schemas that others build on, as files in the repository.

use crate::workspace::Workspace;
use anyhow::{Context, Result, ensure};
use clap::Args;
use kybern_interface::schema;
use serde_json::Value;
use std::path::PathBuf;

/// `cargo xtask crd`.
#[derive(Debug, Default, Args)]
pub(crate) struct CrdArgs {
    /// Writes nothing; fails if a file is not as it would be written.
    #[arg(long)]
    pub(crate) check: bool,
}

/// Writes or checks `wit/schema`.
pub(crate) fn run(workspace: &Workspace, args: &CrdArgs) -> Result<()> {
    let folder = workspace.root.join("wit").join("schema");
    let mut stale = Vec::new();
    for (path, text) in files(&folder)? {
        let current = std::fs::read_to_string(&path).unwrap_or_default();
        if current == text {
            continue;
        }
        if args.check {
            stale.push(path.display().to_string());
            continue;
        }
        std::fs::create_dir_all(&folder)
            .and_then(|()| std::fs::write(&path, &text))
            .with_context(|| format!("write {}", path.display()))?;
        println!("wrote {}", path.display());
    }
    ensure!(
        stale.is_empty(),
        "not as the types say: {}; run `cargo xtask crd` and commit",
        stale.join(", ")
    );
    Ok(())
}

fn files(folder: &std::path::Path) -> Result<Vec<(PathBuf, String)>> {
    let mut documents = schema::documents();
    documents.push(("plugins.kybern.dev.json", schema::plugin_crd()));
    documents
        .into_iter()
        .map(|(name, value)| Ok((folder.join(name), pretty(&value)?)))
        .collect()
}

fn pretty(value: &Value) -> Result<String> {
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}
