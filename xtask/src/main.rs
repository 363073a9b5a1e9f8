//! What developers run: `cargo xtask demo`, `test`, `ci` and the rest.

mod bench;
mod ci;
mod cluster;
mod demo;
mod docs;
mod guests;
mod helm_engine;
mod image;
mod languages;
mod node;
mod programs;
mod published;
mod test;
mod tools;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
use workspace::Workspace;

/// Builds, tests and shows Kybern.
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    arg_required_else_help = true
)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Shows the main job: a custom resource becomes running Pods on a real API server.
    Demo(demo::DemoArgs),
    /// Runs all tests; what follows `--` goes to the test programs.
    Test(test::TestArgs),
    /// What CI runs: format, lints, docs, dependency policy, tests.
    Ci(ci::CiArgs),
    /// Runs benchmarks.
    Bench(bench::BenchArgs),
    /// A throw-away control plane.
    #[command(subcommand)]
    Cluster(cluster::ClusterCommand),
    /// A real single-node cluster on this machine (Linux, root), and the tests that need one.
    #[command(subcommand)]
    Node(node::NodeCommand),
    /// Builds the guests (plugins as wasm components) and Helm's engine into the cache.
    Guests,
    /// Builds Helm's engine alone.
    HelmEngine,
    /// Builds and tests the examples in Go, Python and JavaScript.
    Languages(languages::LanguagesArgs),
    /// Builds the host's image, FROM scratch, as an OCI archive.
    Image(image::ImageArgs),
    /// Writes the published schemas and the Plugin CRD to wit/schema.
    Crd,
    /// Builds the documentation.
    Docs(docs::DocsArgs),
}

fn main() -> ExitCode {
    match run(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    let workspace = Workspace::find()?;
    match command {
        Command::Demo(args) => demo::run(&workspace, &args)?,
        Command::Test(args) => test::run(&workspace, &args)?,
        Command::Ci(args) => return ci::run(&workspace, &args),
        Command::Bench(args) => bench::run(&workspace, &args)?,
        Command::Cluster(command) => return cluster::run(&workspace, &command),
        Command::Node(command) => return node::run(&workspace, &command),
        Command::Languages(args) => {
            languages::run(&workspace, &args)?;
        }
        Command::Guests => {
            programs::guests(&workspace)?;
            helm_engine::build(&workspace)?;
        }
        Command::HelmEngine => {
            helm_engine::build(&workspace)?;
        }
        Command::Image(args) => image::run(&workspace, &args)?,
        Command::Crd => published::run(&workspace)?,
        Command::Docs(args) => docs::run(&workspace, &args)?,
    }
    Ok(ExitCode::SUCCESS)
}
