//! AppService as the benchmark `converge` has it: a Deployment, a Service of type ClusterIP, the
//! Deployment's counts as status, and one Event.
//!
//! The Service has no node ports: the API server keeps those in one object, and everybody would
//! wait for it. The Event is recorded while there is no Deployment yet, so that a restart records
//! none. The peers (tests/bench/go, tests/bench/kube-rs) write the same objects.

use kybern_sdk::{Child, DeploymentStatus, HookError, Plan, Plugin, Situation, Value, json};
use serde::Deserialize;

/// Equal pods behind one Service.
#[derive(Debug, Deserialize)]
pub struct Spec {
    size: u32,
    image: String,
    ports: Vec<Port>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    port: u16,
    target_port: u16,
}

/// Whether the Deployment is there.
#[derive(Deserialize)]
struct There {}

/// The plugin.
pub struct AppService;

type Cr = kybern_sdk::Cr<Spec, DeploymentStatus>;

#[kybern_sdk::plugin(
    name = "bench-appservice",
    crd = "crd.yaml",
    mirror = "apps/v1/Deployment",
    writes = ["apps/v1/Deployment", "v1/Service"],
)]
impl Plugin for AppService {
    type Spec = Spec;
    type Status = DeploymentStatus;

    fn decide(cr: &Cr, situation: &Situation<'_>) -> Result<Plan, HookError> {
        let plan = Plan::new()
            .apply(deployment(cr))
            .apply(service(cr))
            .status(situation.deployment()?);
        Ok(match situation.row::<There>("deployment")? {
            Some(There {}) => plan,
            None => plan.event("Created", "Deployment and Service are created"),
        })
    }
}

fn deployment(cr: &Cr) -> Child {
    let app = json!({ "app": cr.metadata.name });
    let ports = cr.spec.ports.iter();
    let ports = ports.map(|port| json!({ "containerPort": port.target_port, "protocol": "TCP" }));
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
            "targetPort": port.target_port,
            "protocol": "TCP",
        })
    });
    let child = cr.child("v1/Service");
    child.label("app", &cr.metadata.name).spec(json!({
        "type": "ClusterIP",
        "selector": { "app": cr.metadata.name },
        "ports": ports.collect::<Value>(),
    }))
}

#[cfg(test)]
mod tests;
