//! `kybern plugin`: what a plugin's author does, without a cluster.
//!
//! Exit codes: 0 all is well; 1 the plugin is not right, and what is wrong is printed; 2 the command
//! line or a file that it names cannot be used.

mod bench;
mod build;
mod bundle;
mod cases;
mod component;
mod document;
mod inspect;
mod lint;
mod manifest;
mod minimal;
mod new;
mod plan;
mod pull;
mod push;
mod record;
pub(super) mod registration;
mod render;
mod replay;
mod rows;
mod situation;
mod subject;
mod tables;
mod test;
mod whole;

use crate::args::PluginCommand;
use std::process::ExitCode;

/// Runs one of them.
pub(super) async fn run(command: PluginCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        PluginCommand::New(args) => new::run(&args),
        PluginCommand::Build(args) => build::run(&args).await,
        PluginCommand::Inspect(args) => inspect::run(&args).await,
        PluginCommand::Lint(args) => lint::run(&args).await,
        PluginCommand::Render(args) => render::run(&args).await,
        PluginCommand::Test(args) => test::run(&args).await,
        PluginCommand::Record(args) => record::run(args).await,
        PluginCommand::Replay(args) => replay::run(&args).await,
        PluginCommand::Bench(args) => bench::run(&args).await,
        PluginCommand::Push(args) => push::run(args).await,
        PluginCommand::Pull(args) => pull::run(args).await,
    };
    Ok(done.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    }))
}

/// Says why the component is no plugin for this host.
fn refused(component: &component::Component, why: &dyn std::error::Error) -> ExitCode {
    eprintln!("error: {}: {}", component.path.display(), chain(why));
    ExitCode::FAILURE
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        text.push_str(&format!(": {source}"));
        cause = source.source();
    }
    text
}
