//! `cargo xtask cluster run -- CMD`: a command with a control plane of its own.

use crate::programs;
use crate::workspace::Workspace;
use anyhow::{Context, Result};
use clap::Subcommand;
use kybern_testcluster::{Component, ControlPlane, Options};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

/// `cargo xtask cluster`.
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Starts a fresh, isolated control plane, runs a command, tears everything down.
    ///
    /// The command sees KUBECONFIG (an administrator's), KYBERN_GUESTS (a directory of plugins), and
    /// on its PATH kybern and, where they are, kwok, kubectl and helm. Its exit code is passed on.
    Run(RunArgs),
}

/// `cargo xtask cluster run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Also the built-in controllers: Deployments get Pods, namespaces end.
    #[arg(long)]
    controllers: bool,
    /// Also this many fake nodes and the scheduler: Pods become Ready.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    nodes: u32,
    /// Builds helm too if it is not there.
    #[arg(long)]
    helm: bool,
    /// Takes the host and the guests as they were last built.
    #[arg(long)]
    no_build: bool,
    /// The command and its arguments.
    #[arg(last = true, required = true, value_name = "CMD")]
    command: Vec<String>,
}

/// Runs the command; its exit code is the result.
pub(crate) fn run(workspace: &Workspace, command: &ClusterCommand) -> Result<ExitCode> {
    let ClusterCommand::Run(args) = command;
    if !args.no_build {
        programs::kybern(workspace)?;
        programs::guests(workspace)?;
    }
    let path = search_path(workspace, args)?;

    let mut options = Options::new();
    if args.controllers {
        options = options.with_controller_manager();
    }
    let plane = ControlPlane::start(options.with_kwok(args.nodes))?;
    let kubeconfig = plane.admin_kubeconfig()?;

    let (program, arguments) = args.command.split_first().context("no command")?;
    let status = Command::new(program)
        .args(arguments)
        .env("PATH", path)
        .env("KUBECONFIG", kubeconfig)
        .env("KYBERN_GUESTS", programs::guests_folder(workspace))
        .env("KYBERN_CACHE", &workspace.cache)
        .status()
        .with_context(|| format!("start {program}"))?;
    drop(plane);
    // As shells do: 128 and the number of the signal.
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .map_or(ExitCode::FAILURE, ExitCode::from))
}

/// The built programs before everything else on the PATH.
fn search_path(workspace: &Workspace, args: &RunArgs) -> Result<std::ffi::OsString> {
    let mut folders: Vec<PathBuf> = vec![workspace.target().join("debug")];
    for (component, build) in [
        (Component::Kwok, kybern_testcluster::go_is_there()),
        (Component::Helm, args.helm),
    ] {
        let program = if build {
            Some(component.find()?)
        } else {
            component.present()?
        };
        let folder = program.as_deref().and_then(std::path::Path::parent);
        folders.extend(folder.map(PathBuf::from));
    }
    // kubectl is among the ready-made programs, if there are such.
    folders.extend(std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from));
    if let Some(path) = std::env::var_os("PATH") {
        folders.extend(std::env::split_paths(&path));
    }
    std::env::join_paths(folders).context("a directory's name holds a colon")
}
