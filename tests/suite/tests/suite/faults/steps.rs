//! What happens to a CR and its children, one thing after the other.

use super::world::Objects;
use crate::scene::Scene;
use anyhow::Result;
use serde_json::{Value, json};

/// One thing that somebody does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The CR is created.
    Create,
    /// Its size and image change.
    Grow,
    /// Its last port goes, and the Service with it.
    Close,
    /// It has a port again.
    Open,
    /// Somebody changes the Deployment.
    Drift,
    /// Somebody deletes the Service.
    Loss,
}

pub(crate) const STEPS: [Step; 6] = [
    Step::Create,
    Step::Grow,
    Step::Close,
    Step::Open,
    Step::Drift,
    Step::Loss,
];

impl Step {
    pub(crate) fn make(self, scene: &Scene, name: &str) -> Result<()> {
        let client = scene.client();
        let (app, deployment, service) = scene.app_objects(name);
        let spec = |spec: Value| client.merge_patch(&app, &json!({ "spec": spec }));
        match self {
            Self::Create => client.create(&scene.app(name, 1))?,
            Self::Grow => spec(json!({ "size": 2, "image": "nginx:2" }))?,
            Self::Close => spec(json!({ "ports": [] }))?,
            Self::Open => spec(json!({ "ports": [{ "port": 8080 }] }))?,
            Self::Drift => {
                client.merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?
            }
            Self::Loss => client.delete(&service)?,
        };
        Ok(())
    }

    /// Whether objects of this plural change, by whomever.
    pub(crate) fn changes(self, plural: &str) -> bool {
        match plural {
            "appservices" => !matches!(self, Self::Drift | Self::Loss),
            "deployments" => self != Self::Loss,
            _ => !matches!(self, Self::Grow | Self::Drift),
        }
    }
}

/// What a CR and its children lack, from the CR's own spec.
pub(crate) fn missing(objects: &Objects, name: &str) -> Option<String> {
    let none = Value::Null;
    let of = |plural: &str| {
        let key = (plural.to_owned(), name.to_owned());
        objects.get(&key).unwrap_or(&none)
    };
    let (app, deployment, service) = (of("appservices"), of("deployments"), of("services"));
    let pod = &deployment["spec"]["template"]["spec"]["containers"][0];
    let ports = |ports: &Value, key: &str| -> Vec<Value> {
        let all = ports.as_array().into_iter().flatten();
        all.map(|port| port[key].clone()).collect()
    };
    let wanted = ports(&app["spec"]["ports"], "port");
    let conditions = app["status"]["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|one| one["type"] == "Ready"));
    let owned = |child: &Value| {
        let owner = &child["metadata"]["ownerReferences"][0]["uid"];
        child.is_null() || *owner == app["metadata"]["uid"]
    };
    let checks = [
        ("a CR", !app.is_null()),
        ("a Deployment", !deployment.is_null()),
        (
            "the size",
            deployment["spec"]["replicas"] == app["spec"]["size"],
        ),
        ("the image", pod["image"] == app["spec"]["image"]),
        ("the container's ports", {
            ports(&pod["ports"], "containerPort").len() == wanted.len()
        }),
        ("the Service's ports", {
            ports(&service["spec"]["ports"], "port") == wanted
        }),
        (
            "no Service without ports",
            wanted.is_empty() == service.is_null(),
        ),
        ("the owner", owned(deployment) && owned(service)),
        ("the generation", {
            app["status"]["observedGeneration"] == app["metadata"]["generation"]
        }),
        // Nobody starts pods here.
        (
            "a reason",
            ready.is_some_and(|c| c["reason"] == "Progressing"),
        ),
    ];
    let open = checks.iter().find(|(_, holds)| !holds)?;
    Some(format!("{}: {app} {deployment} {service}", open.0))
}
