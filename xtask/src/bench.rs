//! `cargo xtask bench`: builds the benchmarks and their peers, then runs them.
//!
//! The peers are programs with dependencies of their own (tests/bench/kube-rs, tests/bench/go),
//! pinned by their own lock files and kept in the cache. Without Go its peers are left out.

use crate::workspace::{Workspace, succeed};
use crate::{helm_engine, programs};
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
    if args.name.as_deref().is_none_or(|name| name == "render") {
        helm_engine::build(workspace)?;
    }
    if hosted(args) {
        command.arg("--kybern").arg(kybern(workspace)?);
        command.env("KYBERN_GUESTS", programs::guests_folder(workspace));
    }
    if !args.alone {
        command.arg("--kube-rs").arg(kube_rs(workspace)?);
        if kybern_testcluster::go_is_there() {
            let informer = go(workspace, ".", "go-informer")?;
            command.arg("--go-informer").arg(informer);
            let operator = go(workspace, "./appservice", "controller-runtime")?;
            command.arg("--controller-runtime").arg(operator);
        } else {
            eprintln!("there is no Go: its informers and controller-runtime are left out");
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

/// Whether the host itself is measured, and nobody said which.
fn hosted(args: &BenchArgs) -> bool {
    let names = ["converge", "live", "operate", "ring"];
    let asked = args
        .name
        .as_deref()
        .is_none_or(|name| names.contains(&name));
    asked && !args.more.iter().any(|word| word.starts_with("--kybern"))
}

/// The host, as users run it, and the guests that it is given.
fn kybern(workspace: &Workspace) -> Result<PathBuf> {
    programs::guests(workspace)?;
    succeed(
        workspace
            .cargo()
            .args(["build", "--release", "--package", "kybern"]),
    )?;
    Ok(workspace.target().join("release").join("kybern"))
}

/// A peer in Go: a package of its module.
fn go(workspace: &Workspace, package: &str, name: &str) -> Result<PathBuf> {
    let kept = workspace.cache.join("bench");
    std::fs::create_dir_all(&kept).with_context(|| format!("create {}", kept.display()))?;
    let program = kept.join(name);
    // The environment's flags could name other modules than the pinned ones.
    succeed(
        Command::new("go")
            .current_dir(folder(workspace).join("go"))
            .env_remove("GOFLAGS")
            .env("GOWORK", "off")
            .args(["build", "-trimpath", "-buildvcs=false", "-o"])
            .arg(&program)
            .arg(package),
    )?;
    Ok(program)
}
