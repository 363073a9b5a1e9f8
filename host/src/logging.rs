//! The log: text on a terminal, JSON otherwise, to standard error.

use crate::args::{LogArgs, LogFormat};
use anyhow::Context;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// Starts logging. A command whose output a person reads logs only warnings unless told otherwise.
pub(crate) fn start(args: &LogArgs, quiet: bool) -> anyhow::Result<()> {
    let default = if quiet { "warn" } else { "info" };
    let filter = EnvFilter::try_new(args.log.as_deref().unwrap_or(default))
        .context("--log: not a filter; write `info` or `kybern=debug,warn`")?;
    let json = match args.log_format {
        LogFormat::Auto => !quiet && !std::io::stderr().is_terminal(),
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let started = if json {
        builder.json().flatten_event(true).try_init()
    } else {
        builder
            .with_ansi(std::io::stderr().is_terminal())
            .try_init()
    };
    started.map_err(|error| anyhow::anyhow!("logging could not start: {error}"))
}
