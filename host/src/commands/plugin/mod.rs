//! `kybern plugin`: what a plugin's author does, without a cluster.
//!
//! Exit codes: 0 all is well; 1 the plugin is not right, and what is wrong is printed; 2 the command
//! line or a file that it names cannot be used.

mod component;
mod document;
mod inspect;
pub(super) mod registration;

use crate::args::PluginCommand;
use std::process::ExitCode;

/// Runs one of them.
pub(super) async fn run(command: PluginCommand) -> anyhow::Result<ExitCode> {
    let done = match command {
        PluginCommand::Inspect(args) => inspect::run(&args),
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
