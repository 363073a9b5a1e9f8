//! A running operator's objects, taken over in place.

use crate::scene::{Language, SOON, Scene};
use anyhow::Result;
use kybern_testcluster::{Method, Object};
use serde_json::{Value, json};

crate::scene::in_each_language! {
    a_running_operators_objects_are_taken_over_and_nothing_is_restarted,
}

/// The field manager of the operator that was there before.
const OLD: &str = "old-operator";

/// Writes an object as a program made with controller-runtime does: whole, under one name.
fn write(scene: &Scene, method: &Method, plural: &str, object: &Value) -> Result<Value> {
    let version = object["apiVersion"].as_str().unwrap();
    let base = if version == "v1" { "api" } else { "apis" };
    let mut path = format!("/{base}/{version}/namespaces/{}/{plural}", scene.namespace);
    if *method == Method::PUT {
        path.push('/');
        path.push_str(object["metadata"]["name"].as_str().unwrap());
    }
    path.push_str(&format!("?fieldManager={OLD}"));
    Ok(scene
        .client()
        .request(method, &path, "application/json", Some(object))?)
}

/// The Deployment and Service that an operator made for a CR, without a label of ours.
fn children(scene: &Scene, app: &Value) -> [(&'static str, Value); 2] {
    let name = app["metadata"]["name"].as_str().unwrap();
    let labels = json!({ "app": name });
    let metadata = json!({
        "name": name, "namespace": scene.namespace, "labels": { "app": name, "old": "yes" },
        "annotations": { "old.example.com/hash": "7" },
        "ownerReferences": [{
            "apiVersion": app["apiVersion"], "kind": app["kind"], "name": name,
            "uid": app["metadata"]["uid"], "controller": true, "blockOwnerDeletion": true,
        }],
    });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata,
        "spec": {
            "replicas": app["spec"]["size"],
            "selector": { "matchLabels": labels },
            // As Go's types are written.
            "strategy": {},
            "template": {
                "metadata": { "creationTimestamp": null, "labels": labels },
                "spec": { "containers": [{
                    "name": "app", "image": app["spec"]["image"], "resources": {},
                    "ports": [{ "containerPort": 80 }],
                }] },
            },
        },
        "status": {},
    });
    let service = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": metadata,
        "spec": {
            "type": "NodePort", "selector": labels,
            "ports": [{ "name": "port-80", "port": 80, "targetPort": 80 }],
        },
    });
    [("deployments", deployment), ("services", service)]
}

fn a_running_operators_objects_are_taken_over_and_nothing_is_restarted(
    language: Language,
) -> Result<()> {
    let mut scene = Scene::new("takeover")?;
    let client = scene.client();
    let mut registration = scene.appservice_in(language)?;
    registration["spec"]["paused"] = json!(true);
    registration["spec"]["formerFieldManagers"] = json!([OLD]);
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host()?;
    let plugin = scene.register(&registration)?;
    let app = client.create(&scene.app("web", 2))?;
    let mut before = Vec::new();
    for (plural, child) in children(&scene, &app) {
        let mut made = write(&scene, &Method::POST, plural, &child)?;
        // It went on to change what it had made.
        made["metadata"]["labels"]["changed"] = json!("yes");
        before.push(write(&scene, &Method::PUT, plural, &made)?);
    }
    let resume = json!({ "spec": { "paused": false } });
    client.merge_patch(&plugin, &resume)?;
    let (_, deployment, service) = scene.app_objects("web");
    for (object, before) in [&deployment, &service].into_iter().zip(&before) {
        let after = scene.wait(object, |o| {
            let ours = o["metadata"]["annotations"].get("kybern.dev/intent");
            ours.is_some() && !o.to_string().contains(OLD)
        })?;
        assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
        // A Deployment's generation counts its annotations too; Pods follow from the template.
        assert_eq!(after["spec"], before["spec"], "{after}");
        // What only the old operator said goes with it.
        let labels = &after["metadata"]["labels"];
        assert_eq!((labels.get("old"), labels.get("changed")), (None, None));
        assert_eq!(labels["app"], "web");
    }
    scene.converged()?;
    // From now on what the plan drops is dropped.
    let ports = json!({ "spec": { "ports": [] } });
    client.merge_patch(&Object::of(&app)?, &ports)?;
    client.wait_gone(&service, SOON)?;
    scene.wait(&deployment, |d| {
        let container = &d["spec"]["template"]["spec"]["containers"][0];
        container.get("ports").is_none()
    })?;
    Ok(())
}
