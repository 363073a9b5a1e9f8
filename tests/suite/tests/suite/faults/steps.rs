//! What happens to an AppService and its children, one thing after the other.

use super::operator::{Kind, Step};
use super::world::Objects;
use crate::scene::{APP, Scene};
use anyhow::Result;
use serde_json::{Value, json};

pub(crate) const KINDS: [Kind; 3] = [
    Kind::new(APP, "AppService", "app.example.com", "appservices"),
    Kind::new("apps/v1", "Deployment", "apps", "deployments"),
    Kind::new("v1", "Service", "", "services"),
];

pub(super) fn make(step: Step, scene: &Scene, name: &str) -> Result<()> {
    let client = scene.client();
    let (app, deployment, service) = scene.app_objects(name);
    let spec = |spec: Value| client.merge_patch(&app, &json!({ "spec": spec }));
    match step {
        Step::Create => client.create(&scene.app(name, 1))?,
        Step::Grow => spec(json!({ "size": 2, "image": "nginx:2" }))?,
        Step::Close => spec(json!({ "ports": [] }))?,
        Step::Open => spec(json!({ "ports": [{ "port": 8080 }] }))?,
        Step::Drift => client.merge_patch(&deployment, &json!({ "spec": { "replicas": 9 } }))?,
        Step::Loss => client.delete(&service)?,
    };
    Ok(())
}

pub(super) fn changes(step: Step, plural: &str) -> bool {
    match plural {
        "appservices" => !matches!(step, Step::Drift | Step::Loss),
        "deployments" => step != Step::Loss,
        _ => !matches!(step, Step::Grow | Step::Drift),
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
