//! `cargo xtask bench`: builds the benchmarks and their peers, then runs them.
//!
//! The peers are programs with dependencies of their own (tests/bench/kube-rs, tests/bench/go),
//! pinned by their own lock files and kept in the cache. Without Go its peers are left out.

use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use clap::Args;
use std::path::PathBuf;
use std::process::Command;

/// `cargo xtask bench`.
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Only this benchmark; all unless told.
    name: Option<String>,
    /// One JSON object for each line, and nothing else, on standard output.
    #[arg(long)]
    json: bool,
    /// Kybern alone: builds no peers.
    #[arg(long)]
    alone: bool,
    /// What follows goes to the benchmarks; `-- --help` lists it.
    #[arg(last = true)]
    more: Vec<String>,
}

/// Builds what is needed and runs.
pub(crate) fn run(workspace: &Workspace, args: &BenchArgs) -> Result<()> {
    succeed(
        workspace
            .cargo()
            .args(["build", "--release", "--package", "kybern-bench"]),
    )?;
    let program = workspace.target().join("release").join("kybern-bench");
    let mut command = Command::new(&program);
    command.args(&args.name);
    if args.json {
        command.arg("--json");
    }
    if !args.alone {
        command.arg("--kube-rs").arg(kube_rs(workspace)?);
        if kybern_testcluster::go_is_there() {
            command.arg("--go-informer").arg(go_informer(workspace)?);
        } else {
            eprintln!("there is no Go: its informers are left out");
        }
        // Made by hand (docs/benchmarks.md): packages come from a registry of another language.
        let python = workspace.cache.join("bench").join("python");
        let python = python.join("bin").join("python");
        if python.exists() {
            command.arg("--python").arg(python);
        }
    }
    succeed(command.args(&args.more))
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests").join("bench")
}

fn kube_rs(workspace: &Workspace) -> Result<PathBuf> {
    let target = workspace.cache.join("bench").join("kube-rs");
    succeed(
        workspace
            .cargo()
            .current_dir(folder(workspace).join("kube-rs"))
            .env("CARGO_TARGET_DIR", &target)
            .args(["build", "--release", "--locked"]),
    )?;
    Ok(target.join("release").join("kybern-bench-kube-rs"))
}

fn go_informer(workspace: &Workspace) -> Result<PathBuf> {
    let kept = workspace.cache.join("bench");
    std::fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
    let program = kept.join("go-informer");
    // The environment's flags could name other modules than the pinned ones.
    succeed(
        Command::new("go")
            .current_dir(folder(workspace).join("go"))
            .env_remove("GOFLAGS")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg("."),
    )?;
    Ok(program)
}
