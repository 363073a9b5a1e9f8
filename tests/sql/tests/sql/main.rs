//! Runs every `*.slt` of this package and prints a line for each.
//!
//! `cargo test -p kybern-sql-tests -- joins` runs those whose name contains `joins`. With `--write`
//! the expected answers are replaced by what the engine answers now: read the difference.

mod asker;
mod cells;
mod run;
mod schema;
mod script;
mod world;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

fn main() -> anyhow::Result<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let write = args.iter().any(|arg| arg == "--write");
    let wanted: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<PathBuf> = scripts(here)?
        .into_iter()
        .filter(|file| wanted.is_empty() || wanted.iter().any(|part| stem(file).contains(*part)))
        .collect();
    if args.iter().any(|arg| arg == "--list") {
        files
            .iter()
            .for_each(|file| println!("{}: test", stem(file)));
        return Ok(ExitCode::SUCCESS);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let askers = asker::Askers::read(&here.join("world"))?;
    let (mut records, mut failed) = (0, 0);
    for file in &files {
        let report = runtime
            .block_on(run::file(file, &askers, write))
            .with_context(|| file.display().to_string())?;
        println!("{}", report.line(&stem(file)));
        report
            .failures
            .iter()
            .for_each(|failure| println!("{failure}"));
        records += report.records;
        failed += report.failures.len();
    }
    println!(
        "{records} records in {} files, {failed} failed",
        files.len()
    );
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The scripts of a directory by name.
fn scripts(directory: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "slt") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn stem(file: &Path) -> String {
    let stem = file.file_stem().unwrap_or_default();
    stem.to_string_lossy().into_owned()
}
