//! AppService, app.example.com/v1: equal pods behind a Service with node ports.

use kybern_sdk::{Cr, HookError, Plan, Plugin, Situation, Value, json};
use serde::Deserialize;
use std::collections::BTreeSet;

/// What the author of an AppService wants; `crd.yaml` describes each field.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AppServiceSpec {
    size: u32,
    image: String,
    #[serde(default)]
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    port: u16,
    target_port: Option<u16>,
    node_port: Option<u16>,
}

/// The row of the Deployment; what is zero is null, as in its status.
#[derive(Debug, Default, Deserialize)]
struct Counts {
    replicas: Option<u32>,
    ready: Option<u32>,
    available: Option<u32>,
    updated: Option<u32>,
    unavailable: Option<u32>,
}

/// The plugin.
pub struct AppService;

#[kybern_sdk::plugin(
    crd = "crd.yaml",
    query(
        name = "deployment",
        sql = "SELECT status.replicas AS replicas, status.readyReplicas AS ready, \
               status.availableReplicas AS available, status.updatedReplicas AS updated, \
               status.unavailableReplicas AS unavailable \
               FROM apps.deployments WHERE namespace = $1 AND name = $2",
        params = ["metadata.namespace", "metadata.name"],
    ),
    reads = ["apps/v1/Deployment"],
    writes = ["apps/v1/Deployment", "v1/Service"],
)]
impl Plugin for AppService {
    type Spec = AppServiceSpec;

    fn decide(cr: &Cr<AppServiceSpec>, situation: &Situation<'_>) -> Result<Plan, HookError> {
        check(cr)?;
        let counts: Counts = situation.row("deployment")?.unwrap_or_default();
        let plan = Plan::new().apply(deployment(cr)).status(json!({
            "replicas": counts.replicas.unwrap_or(0),
            "readyReplicas": counts.ready.unwrap_or(0),
            "availableReplicas": counts.available.unwrap_or(0),
            "updatedReplicas": counts.updated.unwrap_or(0),
            "unavailableReplicas": counts.unavailable.unwrap_or(0),
        }));
        // The API server refuses a Service without ports.
        Ok(if cr.spec.ports.is_empty() {
            plan
        } else {
            plan.apply(service(cr))
        })
    }
}

/// What the schema lets through but no child can be made of.
fn check(cr: &Cr<AppServiceSpec>) -> Result<(), HookError> {
    let name = &cr.metadata.name;
    let starts_well = name.starts_with(|c: char| c.is_ascii_lowercase());
    if name.len() > 63 || name.contains('.') || !starts_well {
        return Err(HookError::invalid(
            "metadata.name",
            format!(
                "`{name}` cannot name a Service: at most 63 small letters, digits and dashes, \
                 the first a letter; create the AppService under another name"
            ),
        ));
    }
    if cr.spec.image.trim() != cr.spec.image || cr.spec.image.is_empty() {
        return Err(HookError::invalid(
            "spec.image",
            "is empty or has spaces around it",
        ));
    }
    let (mut ports, mut node_ports) = (BTreeSet::new(), BTreeSet::new());
    for (at, port) in cr.spec.ports.iter().enumerate() {
        let field = |name: &str| format!("spec.ports[{at}].{name}");
        let zero = [
            ("port", Some(port.port)),
            ("targetPort", port.target_port),
            ("nodePort", port.node_port),
        ];
        if let Some((name, _)) = zero.iter().find(|(_, number)| *number == Some(0)) {
            return Err(HookError::invalid(&field(name), "0 is no port: 1 to 65535"));
        }
        if !ports.insert(port.port) {
            return Err(HookError::invalid(
                &field("port"),
                format!("{} is named twice", port.port),
            ));
        }
        if let Some(node_port) = port.node_port
            && !node_ports.insert(node_port)
        {
            return Err(HookError::invalid(
                &field("nodePort"),
                format!("{node_port} is named twice"),
            ));
        }
    }
    Ok(())
}

fn deployment(cr: &Cr<AppServiceSpec>) -> Value {
    let name = &cr.metadata.name;
    // Two Service ports may lead to one container port.
    let targets: BTreeSet<u16> = cr.spec.ports.iter().map(Port::target).collect();
    let ports = targets
        .iter()
        .map(|target| json!({ "containerPort": target, "protocol": "TCP" }));
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "replicas": cr.spec.size,
            "selector": { "matchLabels": { "app": name } },
            "template": {
                "metadata": { "labels": { "app": name } },
                "spec": { "containers": [{
                    "name": "app",
                    "image": cr.spec.image,
                    "ports": ports.collect::<Vec<_>>(),
                }] },
            },
        },
    })
}

fn service(cr: &Cr<AppServiceSpec>) -> Value {
    let name = &cr.metadata.name;
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": { "name": name, "labels": { "app": name } },
        "spec": {
            "type": "NodePort",
            "selector": { "app": name },
            "ports": cr.spec.ports.iter().map(Port::service_port).collect::<Vec<_>>(),
        },
    })
}

impl Port {
    fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }

    fn service_port(&self) -> Value {
        let mut port = json!({
            "name": format!("port-{}", self.port),
            "port": self.port,
            "targetPort": self.target(),
            "protocol": "TCP",
        });
        if let (Some(node_port), Value::Object(port)) = (self.node_port, &mut port) {
            port.insert("nodePort".to_owned(), json!(node_port));
        }
        port
    }
}

#[cfg(test)]
mod tests;
