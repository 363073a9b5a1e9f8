//! One module per command.

mod crd;
mod dry;
mod explain;
mod kinds;
mod manifests;
mod plugin;
mod rbac;
mod run;
mod simulate;
mod sql;
mod uninstall;

pub(crate) use uninstall::Deployment;

use crate::args::{Args, Command};
use std::process::ExitCode;

/// Runs the command on a runtime of its own.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_name("kybern-io")
        .enable_all()
        .build()?;
    let done = runtime.block_on(async {
        match args.command {
            Command::Run(args) => run::run(*args).await,
            Command::Sql(args) => sql::run(args).await,
            Command::Simulate(args) => simulate::run(args).await,
            Command::Explain(args) => explain::run(args).await,
            Command::Rbac(args) => rbac::run(args).await,
            Command::Kinds(args) => kinds::run(args).await,
            Command::Crd => crd::run(),
            Command::Uninstall(args) => uninstall::run(args).await,
            Command::Plugin(command) => plugin::run(command).await,
            // Needs nothing of this; see `main`.
            Command::Compile => Ok(crate::compiler::serve()),
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    done
}
