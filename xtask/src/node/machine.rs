//! Whether this machine can run a node: system, rights, packages, kernel.

use super::Places;
use crate::workspace::{Workspace, succeed};
use anyhow::{Context, Result};
use kybern_testcluster::go_is_there;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// What is called or read, and the Debian package that brings it.
const NEEDED: [(&str, &str); 16] = [
    ("unshare", "util-linux"),
    ("setpriv", "util-linux"),
    ("nsenter", "util-linux"),
    ("hostname", "hostname"),
    ("sysctl", "procps"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("jq", "jq"),
    ("openssl", "openssl"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("conntrack", "conntrack"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("buildah", "buildah"),
    ("musl-gcc", "musl-tools"),
];

/// cgroup v1 controllers that the kubelet uses.
const CONTROLLERS: [&str; 8] = [
    "blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "memory", "pids",
];

/// Why there can be no node here; installs packages that are missing where it may.
pub(crate) fn obstacle(workspace: &Workspace) -> Result<Option<String>> {
    if !cfg!(target_os = "linux") {
        return Ok(Some("it needs Linux".to_owned()));
    }
    let user = std::fs::metadata("/proc/self").context("look at /proc/self")?;
    if user.uid() != 0 {
        return Ok(Some("it needs root".to_owned()));
    }
    if !go_is_there() {
        return Ok(Some(
            "it needs Go 1.26 to build the node's programs".to_owned(),
        ));
    }
    let cgroups = Path::new("/sys/fs/cgroup");
    if let Some(controller) = CONTROLLERS.iter().find(|name| !cgroups.join(name).is_dir()) {
        return Ok(Some(format!(
            "it needs cgroup v1, and there is no controller {controller} (cgroup v2 is not prepared: own_cgroups in tests/node/parts/init.sh)"
        )));
    }
    let missing = missing_packages();
    if !missing.is_empty() {
        install(&missing);
        let still = missing_packages();
        if !still.is_empty() {
            return Ok(Some(format!("install the packages {}", still.join(" "))));
        }
    }
    refusal(workspace)
}

/// Packages of which something is not there, each once.
fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = NEEDED
        .iter()
        .filter(|(program, _)| !is_there(program))
        .map(|(_, package)| *package)
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An absolute path stays itself when it is joined.
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// With apt, where there is one; the caller looks whether it helped.
fn install(packages: &[&str]) {
    println!("node: installing {}", packages.join(" "));
    let tried = succeed(Command::new("apt-get").args(["update", "-qq"])).and_then(|()| {
        succeed(
            Command::new("apt-get")
                .args(["install", "-y", "-qq", "--no-install-recommends"])
                .args(packages)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    });
    if let Err(error) = tried {
        println!("node: {error:#}");
    }
}

/// What the kernel says to what the node does first.
fn refusal(workspace: &Workspace) -> Result<Option<String>> {
    let tried = Places::of(workspace)
        .script(workspace, "parts/try.sh")
        .output()
        .context("start bash")?;
    if tried.status.success() {
        return Ok(None);
    }
    let said = String::from_utf8_lossy(&tried.stderr);
    let last = said.trim().lines().last().unwrap_or("no reason given");
    Ok(Some(format!("this machine does not allow it: {last}")))
}
