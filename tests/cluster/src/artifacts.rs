//! What `cargo xtask` builds before tests run: the host and the guests.

use crate::cache::cache;
use anyhow::{Context, Result, ensure};
use std::path::PathBuf;

/// The built host: `KYBERN_BIN`, else the one beside this program.
///
/// # Errors
/// There is none; the message says how to build it.
pub fn kybern() -> Result<PathBuf> {
    let path = match std::env::var_os("KYBERN_BIN") {
        Some(set) => PathBuf::from(set),
        None => {
            // target/debug/deps/suite-0123 or target/debug/xtask.
            let this = std::env::current_exe().context("find this program")?;
            let mut folder = this.parent().context("a program has a folder")?;
            if folder.ends_with("deps") {
                folder = folder.parent().context("deps has a folder")?;
            }
            folder.join("kybern")
        }
    };
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo build -p kybern`, or the tests with `cargo xtask test`",
        path.display()
    );
    Ok(path)
}

/// Where the built guests are: `KYBERN_GUESTS`, else `<cache>/guests`.
///
/// # Errors
/// There is no cache directory.
pub fn guests() -> Result<PathBuf> {
    match std::env::var_os("KYBERN_GUESTS") {
        Some(set) => Ok(PathBuf::from(set)),
        None => Ok(cache()?.join("guests")),
    }
}

/// The built guest `name`, such as `appservice`.
///
/// # Errors
/// There is none; the message says how to build it.
pub fn guest(name: &str) -> Result<PathBuf> {
    let path = guests()?.join(format!("{}.wasm", name.replace('-', "_")));
    ensure!(
        path.is_file(),
        "{} is not there: run `cargo xtask guests`",
        path.display()
    );
    Ok(path)
}
