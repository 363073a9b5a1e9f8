//! `cargo xtask docs`: the documentation, in which a broken link is an error.

use crate::workspace::{Workspace, succeed};
use anyhow::Result;
use clap::Args;

/// `cargo xtask docs`.
#[derive(Debug, Default, Args)]
pub(crate) struct DocsArgs {
    /// Opens it in a browser.
    #[arg(long)]
    open: bool,
}

/// Builds the documentation of the workspace's crates.
pub(crate) fn run(workspace: &Workspace, args: &DocsArgs) -> Result<()> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["doc", "--workspace", "--no-deps"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if args.open {
        cargo.arg("--open");
    }
    succeed(&mut cargo)
}
