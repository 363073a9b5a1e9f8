//! What a plugin's author does with `kybern plugin`, as a user runs it; without a cluster, but for the last step.

mod building;
mod inspecting;
mod registering;
mod running;
mod tutorial;

use anyhow::Result;
use kybern_testcluster::guest;
use std::io::Write;
use std::process::{Command, Stdio};

/// What a command printed, and how it ended.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

/// Runs `kybern plugin COMMAND FILE ...` on a guest, with this on standard input.
fn plugin_with(command: &str, name: &str, more: &[&str], input: &str) -> Result<Ran> {
    let mut child = Command::new(kybern_testcluster::kybern()?)
        .args(["plugin", command])
        .arg(guest(name)?)
        .args(more)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    // Whoever does not read it has gone by then.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output()?;
    Ok(Ran {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout)?,
        err: String::from_utf8(output.stderr)?,
    })
}

fn plugin(command: &str, name: &str, more: &[&str]) -> Result<Ran> {
    plugin_with(command, name, more, "")
}
