//! The node's test programs, built before there is a node and run without cargo.
//!
//! *Why.* cargo waits for whoever builds in the same target directory; a node that idles meanwhile helps nobody.

use super::TESTS;
use crate::workspace::{Workspace, words};
use anyhow::{Context, Result, ensure};
use cargo_metadata::Message;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::Stdio;

/// Builds the programs and returns where they are.
pub(super) fn build(workspace: &Workspace) -> Result<Vec<PathBuf>> {
    let mut cargo = workspace.cargo();
    cargo
        .args(["test", "--no-run", "--package", TESTS])
        .arg("--message-format=json-render-diagnostics")
        .stdout(Stdio::piped());
    let mut child = cargo.spawn().context("start cargo")?;
    let output = child.stdout.take().context("cargo has an output")?;
    let mut programs = Vec::new();
    for message in Message::parse_stream(BufReader::new(output)) {
        if let Message::CompilerArtifact(artifact) = message.context("read cargo's messages")?
            && artifact.profile.test
            && let Some(program) = artifact.executable
        {
            programs.push(program.into_std_path_buf());
        }
    }
    let status = child.wait().context("wait for cargo")?;
    ensure!(status.success(), "`{}` failed ({status})", words(&cargo));
    ensure!(!programs.is_empty(), "{TESTS} has no test programs");
    Ok(programs)
}
