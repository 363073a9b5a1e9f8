//! Whose objects are, and what becomes of them, on a real API server: children elsewhere, fields
//! that cannot change, a namespace that goes in the middle of a pass.

use crate::scene::{SOON, Scene};
use anyhow::{Context, Result};
use kybern_testcluster::{Object, guest};
use serde_json::{Value, json};

const API: &str = "planner.example.com/v1";

/// A host with the guest that plans what its CR says, which may write in every namespace.
pub(crate) fn with_planner(name: &str) -> Result<(Scene, Object)> {
    let mut scene = Scene::new(name)?;
    let registration = json!({
        "apiVersion": "kybern.dev/v1alpha1",
        "kind": "Plugin",
        "metadata": { "name": scene.namespace },
        "spec": {
            "class": scene.class,
            "resources": [{
                "group": "planner.example.com", "version": "v1", "kind": "Planned",
                "selector": { "matchLabels": { "corner": scene.namespace } },
            }],
            "source": { "file": guest("kybern-planner")? },
            "grants": { "write": [
                { "group": "", "kinds": ["ConfigMap"], "verbs": ["apply", "delete"], "scope": "Cluster" },
                { "group": "apps", "kinds": ["Deployment"], "verbs": ["apply", "delete"], "scope": "Cluster" },
                { "group": "scheduling.k8s.io", "kinds": ["PriorityClass"], "verbs": ["apply", "delete"], "scope": "Cluster" },
            ] },
        },
    });
    scene.grant(std::slice::from_ref(&registration))?;
    scene.start_host_everywhere(&[])?;
    let plugin = scene.register(&registration)?;
    Ok((scene, plugin))
}

fn planned(scene: &Scene, actions: &[Value]) -> Value {
    json!({
        "apiVersion": API, "kind": "Planned",
        "metadata": {
            "name": "it", "namespace": scene.namespace, "labels": { "corner": scene.namespace },
        },
        "spec": { "actions": Value::from(actions).to_string() },
    })
}

pub(crate) fn plan(scene: &Scene, actions: &[Value]) -> Result<Object> {
    let planned = planned(scene, actions);
    let object = Object::of(&planned)?;
    match scene.client().find(&object)? {
        Some(_) => scene
            .client()
            .merge_patch(&object, &json!({ "spec": planned["spec"] }))?,
        None => scene.client().create(&planned)?,
    };
    Ok(object)
}

fn map(namespace: &str, name: &str) -> Value {
    json!({ "type": "apply", "object": {
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": name, "namespace": namespace }, "data": { "a": "b" },
    } })
}

fn deployment(name: &str, app: &str, policy: &str) -> Value {
    let labels = json!({ "app": app });
    json!({ "type": "apply", "onImmutable": policy, "object": {
        "apiVersion": "apps/v1", "kind": "Deployment", "metadata": { "name": name },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": "nginx:1.27" }] },
            },
        },
    } })
}

fn uid(value: &Value) -> Result<String> {
    let uid = value.pointer("/metadata/uid").and_then(Value::as_str);
    Ok(uid.context("it has a uid")?.to_owned())
}

#[test]
fn children_that_the_garbage_collector_cannot_reach_go_with_their_resource() -> Result<()> {
    let (mut scene, _) = with_planner("elsewhere")?;
    let beyond = scene.plane.namespace("far")?;
    let class = format!("{}-class", scene.namespace);
    let priority = json!({ "type": "apply", "object": {
        "apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": { "name": class }, "value": 7,
    } });
    let resource = plan(&scene, &[map(&beyond, "far"), priority])?;
    let far = Object::new("v1", "ConfigMap", &beyond, "far");
    let class = Object::new("scheduling.k8s.io/v1", "PriorityClass", "", &class);
    for child in [&far, &class] {
        let child = scene.wait(child, |_| true)?;
        assert_eq!(
            child.pointer("/metadata/ownerReferences"),
            None,
            "it would be illegal"
        );
    }
    let held = scene.wait(&resource, |cr| cr["metadata"]["finalizers"].is_array())?;
    let finalizer = format!("{}.finalizers.kybern.dev/cleanup", scene.namespace);
    assert_eq!(held["metadata"]["finalizers"], json!([finalizer]));
    scene.converged()?;

    // One goes with the plan; the finalizer stays for the other.
    plan(&scene, &[map(&beyond, "far")])?;
    scene.client().wait_gone(&class, SOON)?;
    // Deleted while no host runs: the next one finds what there is to clean up.
    scene.stop_host()?;
    scene.client().delete(&resource)?;
    assert!(scene.client().find(&far)?.is_some());
    scene.start_host_everywhere(&[])?;
    scene.client().wait_gone(&far, SOON)?;
    scene.client().wait_gone(&resource, SOON)?;
    Ok(())
}

#[test]
fn a_field_that_cannot_change_is_explained_and_recreated_only_when_the_plan_says_so() -> Result<()>
{
    let (scene, _) = with_planner("immutable")?;
    let resource = plan(&scene, &[deployment("web", "one", "fail")])?;
    let web = scene.object("apps/v1", "Deployment", "web");
    let first = uid(&scene.wait(&web, |_| true)?)?;

    plan(
        &scene,
        &[
            deployment("web", "two", "fail"),
            map(&scene.namespace, "beside"),
        ],
    )?;
    let event = scene.event("it", "ImmutableField")?;
    let note = event["note"].as_str().unwrap_or_default();
    assert!(
        note.contains("Deployment") && note.contains("web"),
        "{note}"
    );
    assert!(
        note.contains("delete it to have it created again"),
        "{note}"
    );
    // The rest of the plan goes on.
    scene.wait(&scene.object("v1", "ConfigMap", "beside"), |_| true)?;
    let live = scene.client().get(&web)?;
    assert_eq!(uid(&live)?, first);
    assert_eq!(live["spec"]["selector"]["matchLabels"]["app"], "one");

    plan(
        &scene,
        &[
            deployment("web", "two", "recreate"),
            map(&scene.namespace, "beside"),
        ],
    )?;
    let live = scene.wait(&web, |d| {
        d["spec"]["selector"]["matchLabels"]["app"] == "two"
    })?;
    assert_ne!(uid(&live)?, first);
    scene.converged()?;
    scene.client().delete(&resource)?;
    scene.client().wait_gone(&resource, SOON)
}

#[test]
fn a_namespace_that_goes_in_the_middle_of_a_pass_ends_it_and_keeps_nothing() -> Result<()> {
    let (scene, _) = with_planner("going")?;
    let far = scene.plane.namespace("beyond")?;
    let mut first = deployment("web", "one", "fail");
    first["ready"] = json!(true);
    let mut last = map(&scene.namespace, "last");
    last["wave"] = json!(2);
    let resource = plan(&scene, &[map(&far, "far"), first, last])?;
    let web = scene.object("apps/v1", "Deployment", "web");
    scene.wait(&web, |_| true)?;
    let far = Object::new("v1", "ConfigMap", &far, "far");
    scene.wait(&far, |_| true)?;

    // The pass waits for the Deployment. Its namespace goes, then the Deployment is ready.
    scene
        .client()
        .delete(&Object::new("v1", "Namespace", "", &scene.namespace))?;
    let status = json!({ "status": {
        "observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "conditions": [{ "type": "Available", "status": "True", "reason": "x", "message": "" }],
    } });
    scene.client().merge_patch_status(&web, &status)?;
    // What the second wave wants is refused: no failure, no hot loop.
    let refused = kybern_testcluster::until("the last wave to be refused", SOON, || {
        let text = scene.host().metrics()?;
        let wrote = text.lines().any(|line| {
            line.starts_with("kybern_writes_total")
                && line.contains("create")
                && line.contains("4xx")
        });
        Ok(wrote.then_some(text).into())
    })?;
    let failed =
        |line: &&str| line.starts_with("kybern_passes_total") && line.contains("result=\"failed\"");
    assert!(
        refused
            .lines()
            .filter(failed)
            .all(|line| line.ends_with(" 0.0"))
    );
    let passes = scene.writes_within(std::time::Duration::from_secs(5))?;
    assert!(passes.len() <= 4, "{passes:?}");

    // What the namespace's controller does: everything in it is deleted. Nothing is held for ever.
    scene.client().delete(&resource)?;
    scene.client().wait_gone(&resource, SOON)?;
    scene.client().wait_gone(&far, SOON)?;
    Ok(())
}
