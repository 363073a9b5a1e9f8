//! What a plugin's author does with `kybern plugin`, as a user runs it; no cluster.

mod inspecting;

use anyhow::Result;
use kybern_testcluster::guest;
use std::process::Command;

/// What a command printed, and how it ended.
struct Ran {
    code: i32,
    out: String,
}

/// Runs `kybern plugin COMMAND FILE ...` on a guest.
fn plugin(command: &str, name: &str, more: &[&str]) -> Result<Ran> {
    let output = Command::new(kybern_testcluster::kybern()?)
        .args(["plugin", command])
        .arg(guest(name)?)
        .args(more)
        .output()?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)?,
    })
}
