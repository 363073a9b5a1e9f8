//! AppService, app.example.com/v1: equal pods behind a Service with node ports.

use kybern_sdk::{
    Child, DeploymentStatus, HookError, Plan, Plugin, Schema, Situation, Value, json,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// A number of equal pods behind one Service with node ports.
#[derive(Debug, Deserialize, Schema)]
pub struct AppServiceSpec {
    /// How many pods.
    #[schema(column = "Size")]
    size: u32,
    /// The container image, like nginx:1.7.9.
    #[schema(trimmed, column = "Image")]
    image: String,
    /// What the Service offers; without ports there is no Service.
    #[serde(default)]
    #[schema(unique = ["port", "nodePort"], max_items = 32)]
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize, Schema)]
#[serde(rename_all = "camelCase")]
struct Port {
    /// The Service's port.
    #[schema(min = 1)]
    port: u16,
    /// The container's port; the same as port if it is left out.
    #[schema(min = 1)]
    target_port: Option<u16>,
    /// The port on every node, from the cluster's node port range (30000-32767
    /// unless changed); chosen by the cluster if it is left out.
    #[schema(min = 1)]
    node_port: Option<u16>,
}

/// The plugin.
pub struct AppService;

type Cr = kybern_sdk::Cr<AppServiceSpec, DeploymentStatus>;

#[kybern_sdk::plugin(
    crd(
        kind = "app.example.com/v1/AppService",
        // A Service is named like it.
        names = "dns-1035-label",
        short_names = ["appsvc"],
        categories = ["all"],
        scale = ["spec.size", "status.replicas"],
    ),
    mirror = "apps/v1/Deployment",
    writes = ["apps/v1/Deployment", "v1/Service"],
)]
impl Plugin for AppService {
    type Spec = AppServiceSpec;
    type Status = DeploymentStatus;

    fn decide(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let plan = Plan::new()
            .apply(deployment(cr))
            .status(situation.deployment()?);
        // The API server refuses a Service without ports.
        Ok(if cr.spec.ports.is_empty() {
            plan
        } else {
            plan.apply(service(cr))
        })
    }
}

fn deployment(cr: &Cr) -> Child {
    let app = json!({ "app": cr.metadata.name });
    // Two Service ports may lead to one container port.
    let targets: BTreeSet<u16> = cr.spec.ports.iter().map(Port::target).collect();
    let ports = targets
        .iter()
        .map(|target| json!({ "containerPort": target, "protocol": "TCP" }));
    let container = json!({
        "name": "app",
        "image": cr.spec.image,
        "ports": ports.collect::<Value>(),
    });
    let child = cr.child("apps/v1/Deployment");
    child.label("app", &cr.metadata.name).spec(json!({
        "replicas": cr.spec.size,
        "selector": { "matchLabels": app },
        "template": { "metadata": { "labels": app }, "spec": { "containers": [container] } },
    }))
}

fn service(cr: &Cr) -> Child {
    let ports = cr.spec.ports.iter().map(|port| {
        json!({
            "name": format!("port-{}", port.port),
            "port": port.port,
            "targetPort": port.target(),
            "nodePort": port.node_port,
            "protocol": "TCP",
        })
    });
    let child = cr.child("v1/Service");
    child.label("app", &cr.metadata.name).spec(json!({
        "type": "NodePort",
        "selector": { "app": cr.metadata.name },
        "ports": ports.collect::<Value>(),
    }))
}

impl Port {
    fn target(&self) -> u16 {
        self.target_port.unwrap_or(self.port)
    }
}

#[cfg(test)]
mod tests;
