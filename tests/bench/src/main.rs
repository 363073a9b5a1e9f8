//! The benchmarks: what Kybern costs, beside its peers, on the same data in the same run.
//!
//! # Contract
//! Every number that is printed is the median of `n` runs. A system runs in a process of its own
//! ([`child`]), so that allocators do not mix, and in each round all systems have their turn.
//! Machines are noisy: processor time and bytes are counted, not seconds on the wall, but for
//! `sql`, where the time of one answer is the point.
//!
//! # To add one
//! A file with a `run` function and a line in [`bench::BENCHES`].

mod args;
mod bench;
mod call;
mod child;
mod clock;
mod converge;
mod ingest;
mod lines;
mod listing;
mod live;
mod memory;
mod operate;
mod operator;
mod pass;
mod proc;
mod recording;
mod render;
mod report;
mod ring;
mod rolebindings;
mod server;
mod sql;
mod startup;
mod subject;
mod swap;
mod systems;
mod world;

use clap::Parser;
use std::process::ExitCode;

/// As in the product: the store's bytes are counted with the allocator that it runs on.
#[cfg(target_os = "linux")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> anyhow::Result<()> {
    let args = args::Args::parse();
    match args.subject {
        Some(subject) => subject::run(&subject),
        None => bench::run(&args.options),
    }
}
