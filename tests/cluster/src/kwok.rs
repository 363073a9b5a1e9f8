//! Fake nodes whose Pods become Ready.

use crate::client::Client;
use crate::component::Component;
use crate::process::Process;
use crate::wait::{Progress, until};
use anyhow::{Context, Result};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const STAGES: &str = include_str!("../control-plane/kwok/stages.yaml");
const READY: Duration = Duration::from_secs(60);

/// Starts kwok in charge of every node.
pub(crate) fn start(folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let stages = folder.join("kwok-stages.yaml");
    std::fs::write(&stages, STAGES).context("write kwok's stages")?;
    let mut command = Command::new(Component::Kwok.find()?);
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--config={}", stages.display()))
        .arg("--manage-all-nodes=true")
        .arg("--node-lease-duration-seconds=40")
        // Its own directory, so that nothing of the user's is read.
        .env("HOME", folder)
        .current_dir(folder);
    Process::start("kwok", command, folder)
}

/// Creates `count` fake nodes, `node-0` and so on, and waits until they are Ready.
pub(crate) fn add_nodes(client: &Client, count: u32, kwok: &mut Process) -> Result<()> {
    for number in 0..count {
        add_node(client, &format!("node-{number}"))?;
    }
    until("the nodes are Ready", READY, || {
        kwok.alive()?;
        let nodes = client.list("v1", "Node", None)?;
        let waiting = nodes.iter().filter(|node| !is_ready(node)).count();
        Ok(match waiting {
            0 => Progress::Done(()),
            waiting => Progress::Waiting(format!("{waiting} of {count} are not")),
        })
    })
}

fn add_node(client: &Client, name: &str) -> Result<()> {
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

/// Ready, and without the taint that new nodes have until a controller sees it.
fn is_ready(node: &Value) -> bool {
    let conditions = node.pointer("/status/conditions").and_then(Value::as_array);
    let ready = conditions.into_iter().flatten().any(|condition| {
        let is = |key: &str, value: &str| condition.get(key).and_then(Value::as_str) == Some(value);
        is("type", "Ready") && is("status", "True")
    });
    let taints = node.pointer("/spec/taints").and_then(Value::as_array);
    ready && taints.is_none_or(Vec::is_empty)
}
