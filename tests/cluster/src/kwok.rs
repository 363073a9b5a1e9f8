//! Fake nodes whose Pods become Ready.

use crate::client::Client;
use crate::component::Component;
use crate::process::Process;
use anyhow::{Context, Result};
use serde_json::json;
use std::path::Path;
use std::process::Command;

/// Starts kwok, in charge of every node.
pub(crate) fn start(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(Component::Kwok.find()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg("--manage-all-nodes=true")
        // Its own directory, so that nothing of the user's is read.
        .env("HOME", folder)
        .current_dir(folder);
    Process::start("kwok", command, folder)
}

/// Creates the fake node `name`.
pub(crate) fn add_node(client: &Client, name: &str) -> Result<()> {
    let room = json!({ "cpu": "64", "memory": "256Gi", "pods": "1000" });
    client
        .create(&json!({
            "apiVersion": "v1", "kind": "Node",
            "metadata": {
                "name": name,
                "annotations": { "kwok.x-k8s.io/node": "fake" },
                "labels": {
                    "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                    "kubernetes.io/arch": "amd64", "type": "kwok",
                },
            },
            "status": { "allocatable": room.clone(), "capacity": room },
        }))
        .with_context(|| format!("create node {name}"))?;
    Ok(())
}
