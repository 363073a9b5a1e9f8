//! The Kybern operator host: parse, run, exit code.

mod args;
mod asking;
mod bounds;
mod budget;
mod charts;
mod clock;
mod cluster;
mod commands;
mod compiler;
mod environment;
#[cfg(test)]
mod fake_api;
mod kinds;
mod logging;
mod memory;
mod metrics;
mod offline;
mod operate;
mod outgoing;
mod registration;
mod rights;
mod server;
mod simulator;
mod source;
mod tables;
mod terminal;
mod values;
mod wiring;

use std::process::ExitCode;

/// Gives memory back to the system, keeps apart what threads do, and can say what it holds.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let args = args::Args::from_command_line(std::env::args_os());
    if matches!(args.command, args::Command::Compile) {
        return compiler::serve();
    }
    if let Err(error) = logging::start(&args.log, args.command.writes_to_terminal()) {
        eprintln!("error: {error:#}");
        return ExitCode::from(2);
    }
    match commands::run(args) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
