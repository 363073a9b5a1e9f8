//! A field that a child had from its plan becomes an autoscaler's, on a real API server: its value
//! never passes through a default, and is nobody's drift.

use crate::ownership::{plan, with_planner};
use crate::scene::Scene;
use anyhow::{Context, Result};
use kybern_testcluster::{Method, Object};
use serde_json::{Value, json};

/// A Deployment with this image; its replicas only if the plan says them.
fn web(image: &str, replicas: Option<u32>) -> Value {
    let labels = json!({ "app": "web" });
    let mut action = json!({ "type": "apply", "object": {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    } });
    match replicas {
        Some(replicas) => action["object"]["spec"]["replicas"] = json!(replicas),
        None => action["ignorePaths"] = json!(["spec.replicas"]),
    }
    action
}

/// What an autoscaler does: reads `/scale`, and writes it.
fn autoscale(scene: &Scene, deployment: &Object, replicas: u32) -> Result<()> {
    let path = format!("{}/scale", scene.client().path(deployment)?);
    let path = path + "?fieldManager=kube-controller-manager";
    let json = "application/json";
    let mut scale = scene.client().request(&Method::GET, &path, json, None)?;
    scale["spec"]["replicas"] = json!(replicas);
    scene
        .client()
        .request(&Method::PUT, &path, json, Some(&scale))?;
    Ok(())
}

fn image(scene: &Scene, deployment: &Object, image: &str) -> Result<()> {
    scene.wait(deployment, |d| {
        d["spec"]["template"]["spec"]["containers"][0]["image"] == image
    })?;
    scene.converged()
}

/// The values that `spec.replicas` went through since the Deployment was made.
fn history(scene: &Scene, since: &str) -> Result<Vec<Value>> {
    let of = format!("/apis/apps/v1/namespaces/{}/deployments", scene.namespace);
    let watch = format!("{of}?watch=1&timeoutSeconds=1&resourceVersion={since}");
    let mut values = Vec::new();
    for line in scene.client().text(&watch)?.lines() {
        let event: Value = serde_json::from_str(line)?;
        values.push(event["object"]["spec"]["replicas"].clone());
    }
    values.dedup();
    Ok(values)
}

/// The managers of `spec.replicas`.
fn managers(scene: &Scene, deployment: &Object) -> Result<Vec<String>> {
    let live = scene.client().get(deployment)?;
    let entries = live["metadata"]["managedFields"].as_array();
    let has = |entry: &&Value| entry["fieldsV1"]["f:spec"].get("f:replicas").is_some();
    let entries = entries.context("it has managers")?.iter().filter(has);
    let name = |entry: &Value| entry["manager"].as_str().unwrap_or_default().to_owned();
    Ok(entries.map(name).collect())
}

#[test]
fn replicas_become_an_autoscalers_and_never_pass_through_a_default() -> Result<()> {
    let (mut scene, _) = with_planner("handover")?;
    let namespace = scene.namespace.clone();
    let list = format!("/apis/apps/v1/namespaces/{namespace}/deployments");
    let list = scene
        .client()
        .request(&Method::GET, &list, "application/json", None)?;
    let since = list["metadata"]["resourceVersion"].as_str().unwrap();
    let deployment = scene.object("apps/v1", "Deployment", "web");
    let ours = format!("kybern/{namespace}");

    plan(&scene, &[web("i:1", Some(3))])?;
    image(&scene, &deployment, "i:1")?;
    // What was created becomes applied, replicas with it.
    plan(&scene, &[web("i:2", Some(3))])?;
    image(&scene, &deployment, "i:2")?;
    assert_eq!(managers(&scene, &deployment)?, [ours.as_str()]);
    // From now on the plan says nothing of them. Nobody else has said anything yet.
    plan(&scene, &[web("i:3", None)])?;
    image(&scene, &deployment, "i:3")?;
    assert_eq!(managers(&scene, &deployment)?, [ours.as_str()]);
    autoscale(&scene, &deployment, 8)?;
    scene.converged()?;
    plan(&scene, &[web("i:4", None)])?;
    image(&scene, &deployment, "i:4")?;
    assert_eq!(managers(&scene, &deployment)?, ["kube-controller-manager"]);
    // The host knows none of that after a start, and the autoscaler went on meanwhile.
    scene.kill_host();
    autoscale(&scene, &deployment, 2)?;
    scene.start_host_everywhere(&[])?;
    plan(&scene, &[web("i:5", None)])?;
    image(&scene, &deployment, "i:5")?;
    assert_eq!(history(&scene, since)?, [3, 8, 2]);

    // And back: the plan says them again, and takes them.
    plan(&scene, &[web("i:6", Some(4))])?;
    image(&scene, &deployment, "i:6")?;
    assert_eq!(history(&scene, since)?, [3, 8, 2, 4]);
    assert!(managers(&scene, &deployment)?.contains(&ours));
    Ok(())
}

#[test]
fn an_autoscaler_that_comes_before_the_first_apply_is_left_alone() -> Result<()> {
    let (scene, _) = with_planner("handover-first")?;
    let deployment = scene.object("apps/v1", "Deployment", "web");
    plan(&scene, &[web("i:1", None)])?;
    image(&scene, &deployment, "i:1")?;
    let made = scene.client().get(&deployment)?;
    let since = made["metadata"]["resourceVersion"].as_str().unwrap();
    assert_eq!(
        made["spec"]["replicas"], 1,
        "the default, since nobody said"
    );
    autoscale(&scene, &deployment, 5)?;
    plan(&scene, &[web("i:2", None)])?;
    image(&scene, &deployment, "i:2")?;
    assert_eq!(history(&scene, since)?, [5]);
    assert_eq!(managers(&scene, &deployment)?, ["kube-controller-manager"]);
    Ok(())
}
